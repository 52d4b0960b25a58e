"""DenseNet (Huang et al., Densely Connected Convolutional Networks, CVPR 2017), from timm."""

from torch import nn

from networks import Options
from networks.backbones import from_timm

VARIANTS = ("121", "161", "169", "201")


def backbone(options: Options) -> nn.Module:
    """DenseNet with a linear head; 6,955,906 parameters for 121 with 2 classes."""
    return from_timm(f"densenet{options.variant}", options)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last norm with its activation: 7 x 7 for an input of 224 px."""
    return network.features.norm5
