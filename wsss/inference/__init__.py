"""Networks applied to images: class activation maps, saliency, random walk, segmentation."""
