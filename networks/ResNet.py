"""ResNet (He et al., Deep Residual Learning for Image Recognition, CVPR 2016), from timm."""

from torch import nn

from networks import Options
from networks.backbones import from_timm

VARIANTS = ("18", "34", "50", "101", "152")


def backbone(options: Options) -> nn.Module:
    """ResNet with global average pooling and a linear head; 11,177,538 parameters for 18."""
    return from_timm(f"resnet{options.variant}", options)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last residual block: 7 x 7 for an input of 224 px."""
    return network.layer4[-1]
