"""ConvNeXt (Liu et al., A ConvNet for the 2020s, CVPR 2022), from timm."""

from torch import nn

from networks import Options
from networks.backbones import from_timm

VARIANTS = ("tiny", "small", "base")


def backbone(options: Options) -> nn.Module:
    """ConvNeXt with a linear head; 27,821,666 parameters for tiny with 2 classes."""
    return from_timm(f"convnext_{options.variant}", options)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last stage: 7 x 7 for an input of 224 px."""
    return network.stages[-1]
