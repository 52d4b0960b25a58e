"""NASNet (Zoph et al., Learning Transferable Architectures, CVPR 2018).

mobile: NASNet-A 4 @ 1056 from pytorchcv, at 224 px; large: NASNet-A 6 @ 4032 from timm, at 331 px.
"""

from torch import nn

from networks import Options
from networks.backbones import from_timm
from utils import UserError

VARIANTS = ("mobile", "large")


def backbone(options: Options) -> nn.Module:
    """mobile has 4,232,978 parameters before its head, and 36,738 running statistics.

    (Keras counts both: 4,269,716.)
    """
    if options.variant == "large":
        return from_timm("nasnetalarge", options)
    if options.pretrained:
        raise UserError("NASNet mobile has no weights here: set model.pretrained to False")
    from pytorchcv.models.nasnet import nasnet_4a1056

    network = nasnet_4a1056(num_classes=options.num_outputs, in_channels=options.in_channels)
    network.features.final_pool = nn.AdaptiveAvgPool2d(1)  # its own wants 224 px
    network.output.dropout.p = options.dropout_rate
    network.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return network


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The activation before pooling: 7 x 7 for mobile at 224 px."""
    return network.features.activ if hasattr(network, "features") else network.act
