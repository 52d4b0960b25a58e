"""Sharpness-aware minimisation: gradients from the worst place near the weights.

Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021, algorithm 1. A step looks at its batch twice: the
first gradient says where within `rho` the loss rises most, the second, taken there, is the one that
the optimiser uses. Any optimiser can use it; a step takes about twice as long.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def uphill(network: nn.Module, rho: float) -> Iterator[None]:
    """The weights moved by `rho` along the gradients that they hold, and put back at the end.

    The length is that of all gradients together, so their scale (float16's) does not matter. Batch
    norm's statistics are put back too: they belong to the weights that are tested. Where a gradient
    is not finite nothing useful comes out, and whoever looks at gradients sees it again.
    """
    learning = [(p, p.grad) for p in network.parameters() if p.grad is not None]
    before = [weight.detach().clone() for weight, _ in learning]
    norms = [i for i in network.modules() if isinstance(i, _BatchNorm)]
    # A momentum of 0 would not do: 0 times what is not a number is not a number.
    statistics = [(held, held.clone()) for norm in norms for held in norm.buffers()]
    try:
        with torch.no_grad():
            length = nn.utils.get_total_norm([grad for _, grad in learning])
            for weight, grad in learning:
                weight.add_(grad * (rho / (length + 1e-12)))
        yield
    finally:
        with torch.no_grad():
            for (weight, _), kept in zip(learning, before, strict=True):
                weight.copy_(kept)
            for held, known in statistics:
                held.copy_(known)
