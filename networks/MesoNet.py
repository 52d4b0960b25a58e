"""MesoNet (Afchar et al., a Compact Facial Video Forgery Detection Network, WIFS 2018).

Meso4 and MesoInception4 as published, for 256 px, values 0..1 and dropout .5; no library has them.
"""

import torch
from torch import nn

from networks import Options
from utils import UserError

VARIANTS = ("Meso4", "MesoInception4")


class Inception(nn.Module):
    """Four parallel convolutions of growing reach (dilation 1, 1, 2, 3), beside each other."""

    def __init__(self, channels: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, *others = widths
        self.point = nn.Conv2d(channels, first, 1)
        self.wide = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation),
            )
            for dilation, width in enumerate(others, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.point(x), *(branch(x) for branch in self.wide)], dim=1)


def backbone(options: Options) -> nn.Module:
    """Meso4 has 27,977 parameters with one output at 256 px, MesoInception4 28,615."""
    if options.pretrained:
        raise UserError("MesoNet has no ImageNet weights: set model.pretrained to False")
    channels, rate = options.in_channels, options.dropout_rate
    first: list[nn.Module] = [Inception(channels, (1, 4, 4, 2)), Inception(11, (2, 4, 4, 2))]
    widths = (11, 12)
    if options.variant == "Meso4":
        first = [nn.Conv2d(channels, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2)]
        widths = (8, 8)
    last = [nn.Conv2d(widths[1], 16, 5, padding=2), nn.Conv2d(16, 16, 5, padding=2)]
    blocks = zip((*first, *last), (*widths, 16, 16), (2, 2, 2, 4), strict=True)
    layers = [
        nn.Sequential(layer, nn.ReLU(), nn.BatchNorm2d(width), nn.MaxPool2d(pool))
        for layer, width, pool in blocks
    ]
    positions = 16 * (options.height // 32) * (options.width // 32)
    head = [nn.Flatten(), nn.Dropout(rate), nn.Linear(positions, 16), nn.LeakyReLU(0.1)]
    network = nn.Sequential(*layers, *head, nn.Dropout(rate), nn.Linear(16, options.num_outputs))
    network.pretrained_cfg = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return network


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last norm before pooling: 32 x 32 for an input of 256 px."""
    return network[3][2]
