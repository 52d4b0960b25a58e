"""Inception-ResNet-v2 (Szegedy et al., AAAI 2017), from timm, with the DFDC notebooks' head.

flatten: all positions, 512, dropout .5, output, made for 160 px; pooled: timm's own linear head.
"""

import torch
from torch import nn

from networks import Options
from networks.backbones import WithHead, features_from_timm, from_timm

VARIANTS = ("flatten", "pooled")


def backbone(options: Options) -> nn.Module:
    """61,385,377 parameters for flatten with one output at 160 px."""
    if options.variant == "pooled":
        return from_timm("inception_resnet_v2", options)
    features = features_from_timm("inception_resnet_v2", options, pool="")
    with torch.no_grad():  # how many positions there are, the features know best
        picture = torch.zeros(1, options.in_channels, options.height, options.width)
        positions = features.eval()(picture).numel()
    head = nn.Sequential(
        nn.Flatten(),
        nn.Linear(positions, 512),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(512, options.num_outputs),
    )
    return WithHead(features.train(), head)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last convolution: 3 x 3 for an input of 160 px."""
    return (network.features if isinstance(network, WithHead) else network).conv2d_7b
