"""Networks: backbones come from timm, segmentation architectures from segmentation-models-pytorch."""
