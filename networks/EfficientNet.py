"""EfficientNet (Tan & Le, ICML 2019), from timm, and the DeepFake-Detect project's head on B0."""

from torch import nn

from networks import Options
from networks.backbones import WithHead, features_from_timm, from_timm

VARIANTS = ("b0", "b1", "b2", "b3", "b4", "deepfake-detect")


def backbone(options: Options) -> nn.Module:
    """EfficientNet with a linear head: 4,010,110 parameters for B0 with 2 classes.

    deepfake-detect: B0, global maximum pooling, 512, dropout .5, 128, output; made for 128 px.
    """
    if options.variant != "deepfake-detect":
        return from_timm(f"efficientnet_{options.variant}", options)
    features = features_from_timm("efficientnet_b0", options, pool="max")
    head = nn.Sequential(
        nn.Linear(1280, 512),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(512, 128),
        nn.ReLU(),
        nn.Linear(128, options.num_outputs),
    )
    return WithHead(features, head)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The last convolution with its norm and activation: 7 x 7 for an input of 224 px."""
    return (network.features if isinstance(network, WithHead) else network).bn2
