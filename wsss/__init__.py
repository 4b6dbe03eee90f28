"""wsss: from images with tags to pixel masks (weakly supervised semantic segmentation)."""

__version__ = "0.1.0"
