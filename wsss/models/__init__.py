"""Networks: backbones come from timm, segmentation architectures from segmentation-models-pytorch."""

from wsss.models.without_compiler import import_packages

import_packages("torchvision", "timm")
