"""VGG (Simonyan & Zisserman, Very Deep Convolutional Networks, ICLR 2015), from timm."""

from torch import nn

from networks import Options
from networks.backbones import from_timm

VARIANTS = ("16", "19", "16_bn", "19_bn")


def backbone(options: Options) -> nn.Module:
    """VGG with its two hidden layers of 4096; 134,268,738 parameters for 16 with 2 classes."""
    return from_timm(f"vgg{options.variant}", options)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last pooling: 7 x 7 for an input of 224 px."""
    return network.features[-1]
