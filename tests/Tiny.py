"""A network of a few parameters, as a user would drop one into networks/: tests train it fast."""

from torch import nn

from networks import Options

VARIANTS = ("8", "16")


def backbone(options: Options) -> nn.Module:
    width = int(options.variant)
    return nn.Sequential(
        nn.Conv2d(options.in_channels, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(options.dropout_rate),
        nn.Linear(width, options.num_outputs),
    )


def heatmap_layer(network: nn.Module) -> nn.Module:
    return network[2]
