"""The table of a network's layers, as torchsummary prints it."""

import contextlib
import copy
import io
import warnings

import torch

from flags import Config
from networks import Detector


def layer_table(network: Detector, config: Config) -> str:
    """torchsummary's table of layers, output shapes and parameters, for one batch."""
    from torchsummary import summary as print_table

    size = config.input_size
    shape = (config.model.in_channels, size.height, size.width)
    text = io.StringIO()
    # A copy: its hooks stay away from the network that is tested.
    with contextlib.redirect_stdout(text), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        print_table(copy.deepcopy(network.backbone), shape, config.batch_size, device="cpu")
    return text.getvalue()
