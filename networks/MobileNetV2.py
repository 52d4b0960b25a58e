"""MobileNetV2 (Sandler et al., Inverted Residuals, CVPR 2018), from timm."""

from torch import nn

from networks import Options
from networks.backbones import from_timm

VARIANTS = ("100", "050", "140")


def backbone(options: Options) -> nn.Module:
    """MobileNetV2 with a linear head; 2,226,434 parameters for width 1.00 with 2 classes."""
    return from_timm(f"mobilenetv2_{options.variant}", options)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last convolution with its norm and activation: 7 x 7 for an input of 224 px."""
    return network.bn2
