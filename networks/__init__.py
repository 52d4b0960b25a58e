"""The networks: a file's name is the name in the YAML, and each file is about its network alone.

A file defines
    VARIANTS                  names of its sizes, the first is the default
    backbone(options)         -> the timm or torchvision network with its head
    heatmap_layer(backbone)   -> the layer that Grad-CAM reads
    heatmap_reshape(backbone, output)   only where that layer's output is no map [n, c, h, w]
A file of your own dropped into this folder is found by its name.
"""

import difflib
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from flags import InputSize, Model
from utils import UserError

PARTS = ("VARIANTS", "backbone", "heatmap_layer")
"""What every network file defines."""

SHARED = frozenset({"__init__", "backbones"})
"""Files of this folder that are no network."""


@dataclass(frozen=True)
class Options:
    """What a network file needs to know to build its network."""

    variant: str
    num_outputs: int
    in_channels: int
    dropout_rate: float
    pretrained: bool
    height: int
    width: int


PUBLISHED = ("timm's ", "ImageNet, ")
"""How `weights_from` begins where a network started from weights that somebody published."""


class Detector(nn.Module):
    """A network that normalises its own input, so that nobody can forget to.

    forward: uint8 or float [batch, channels, height, width], values 0..255 -> logits
    [batch, num_outputs], float. With two outputs the second is FAKE, with one it is the logit of
    FAKE.
    """

    mean: torch.Tensor
    std: torch.Tensor
    tta: str = "none"
    """How scores.py scores a face with it; a checkpoint's own, so that nobody can forget it."""

    def __init__(
        self,
        backbone: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        heatmap_layer: nn.Module,
        weights_from: str,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.set_normalisation(mean, std)
        self.weights_from = weights_from
        self._heatmap_layer = [heatmap_layer]  # a list, so that it is not registered twice
        self.heatmap_reshape: Callable[[torch.Tensor], torch.Tensor] | None = None

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.backbone((pictures.float() - self.mean) / self.std)

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Mean and standard deviation of each channel, for values 0..1."""
        shape = (1, len(mean), 1, 1)
        # Not in the state: the checkpoint names them in its `input`, once.
        self.register_buffer("mean", torch.tensor(mean).view(shape) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(shape) * 255, persistent=False)

    def freeze_features(self, frozen: bool) -> None:
        """Let the head alone learn, or the whole network again, in training mode.

        Frozen batch norm keeps its statistics and frozen dropout is off.
        """
        from networks.backbones import head_of

        self.backbone.train(not frozen).requires_grad_(not frozen)
        head_of(self.backbone).train().requires_grad_(True)

    def freeze_all_but_norms(self) -> None:
        """Let the normalisation layers and the head alone learn.

        A large backbone that was trained on very many pictures keeps what it knows, and a few
        thousand parameters adapt it (LN-tuning: Yermakov et al., GenD, 2025).
        """
        from networks.backbones import head_of

        norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
        self.backbone.requires_grad_(False)
        for module in self.backbone.modules():
            if isinstance(module, norms):
                module.requires_grad_(True)
        head_of(self.backbone).requires_grad_(True)

    @contextmanager
    def features(self) -> Iterator[list[torch.Tensor]]:
        """Collect the last features of every batch that the network sees inside the block.

        One tensor [batch, d] a call, float32 on the CPU: what the head (its classifier) is given,
        averaged over the map where that is one. None of a network without a head.
        """
        from networks.backbones import head_of

        seen: list[torch.Tensor] = []

        def keep(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            values = given[0].detach().float()
            if values.ndim > 2:
                values = values.flatten(2).mean(2)
            seen.append(values.cpu())

        try:
            head = head_of(self.backbone)
        except UserError:  # somebody's own network without a linear layer
            yield seen
            return
        handle = head.register_forward_pre_hook(keep)
        try:
            yield seen
        finally:
            handle.remove()

    @property
    def heatmap_layer(self) -> nn.Module:
        """The layer whose activations Grad-CAM weighs."""
        return self._heatmap_layer[0]

    @property
    def normalisation(self) -> dict[str, list[float]]:
        """Mean and standard deviation of each channel, for values 0..1."""
        return {
            "mean": [round(v, 6) for v in (self.mean / 255).flatten().tolist()],
            "std": [round(v, 6) for v in (self.std / 255).flatten().tolist()],
        }

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def build(
    name: str,
    model: Model,
    num_outputs: int,
    dropout_rate: float,
    size: InputSize | None = None,
) -> Detector:
    """Build the network `name` (a file of this folder) for `num_outputs` classes.

    size: of the pictures it will see, where the network must know (224 px unless given).

    Raises UserError for an unknown name or variant (with those that exist), and where pretrained
    weights cannot be had.
    """
    module = find(name)
    variant = variant_of(name, model)
    size = size or InputSize()
    options = Options(
        variant=variant,
        num_outputs=num_outputs,
        in_channels=model.in_channels,
        dropout_rate=dropout_rate,
        pretrained=model.pretrained,
        height=size.height,
        width=size.width,
    )
    try:
        backbone = module.backbone(options)
        if not model.init_weights and not model.pretrained:
            reset_to_layer_defaults(backbone)
        if model.weights:
            from networks.backbones import load_file

            load_file(backbone, Path(model.weights))
        mean, std = input_statistics(backbone, model.in_channels)
        weights = getattr(backbone, "weights_from", "random")
        network = Detector(backbone, mean, std, module.heatmap_layer(backbone), weights)
        if hasattr(module, "heatmap_reshape"):
            network.heatmap_reshape = partial(module.heatmap_reshape, backbone)
        pictures = torch.zeros(2, model.in_channels, size.height, size.width)
        with torch.no_grad():
            shape = tuple(network.eval()(pictures).shape)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"networks/{name}.py does not work: {_words(error)}") from error
    if shape != (2, num_outputs):
        raise UserError(
            f"networks/{name}.py answers {shape} for two pictures, expected (2, {num_outputs})"
        )
    return network.train()


def _words(error: Exception) -> str:
    """An error of somebody's file in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def variant_of(name: str, model: Model) -> str:
    """The size that is meant: `model.variant`, or the network's first where that is empty."""
    known = find(name).VARIANTS
    variant = model.variant or known[0]
    if variant not in known:
        raise UserError(f"model.variant {variant!r}: {name} has the variants {', '.join(known)}")
    return variant


def find(name: str) -> ModuleType:
    """The module of networks/NAME.py; an unknown name lists the known ones."""
    if name in known_networks():
        try:
            module = importlib.import_module(f"networks.{name}")
        except Exception as error:  # a user's own file may fail in any way
            raise UserError(f"networks/{name}.py cannot be imported: {_words(error)}") from error
        missing = [part for part in PARTS if not hasattr(module, part)]
        if missing:
            raise UserError(f"networks/{name}.py does not define {', '.join(missing)}")
        return module
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in known_networks()], n=1)
    match = next((n for n in known_networks() if near and n.lower() == near[0]), None)
    hint = f"; did you mean {match}?" if match else ""
    raise UserError(f"network {name!r}: known are {', '.join(known_networks())}{hint}")


def known_networks() -> list[str]:
    """Names of the networks: the files of this folder that are not shared code."""
    stems = {file.stem for file in Path(__file__).parent.glob("*.py")}
    return sorted(stem for stem in stems - SHARED if stem.isidentifier())


def input_statistics(backbone: nn.Module, channels: int) -> tuple[list[float], list[float]]:
    """Mean and std of the network's training, from timm's configuration of it (0..1).

    ImageNet's where a network names none; their means over colour where it sees grey.
    """
    config = getattr(backbone, "pretrained_cfg", None) or {}
    mean = list(config.get("mean", (0.485, 0.456, 0.406)))
    std = list(config.get("std", (0.229, 0.224, 0.225)))
    if channels == 1:
        return [sum(mean) / 3], [sum(std) / 3]
    return mean, std


def reset_to_layer_defaults(backbone: nn.Module) -> None:
    """PyTorch's own initialisation of each layer in place of the paper's (`init_weights`)."""
    for module in backbone.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
