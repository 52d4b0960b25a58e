"""Xception (Chollet, Depthwise Separable Convolutions, CVPR 2017), from timm.

The usual baseline of the field since FaceForensics++ (Roessler et al., ICCV 2019), at 299 px.
"""

from torch import nn

from networks import Options
from networks.backbones import from_timm

VARIANTS = ("original",)


def backbone(options: Options) -> nn.Module:
    """Xception with a linear head; 20,811,050 parameters with 2 classes."""
    return from_timm("legacy_xception", options)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last separable convolution with its norm: 10 x 10 for an input of 299 px."""
    return network.bn4
