"""Several checkpoints of one kind -> one, whose network has theirs side by side.

    ensemble.join([Path("log/one/checkpoints/best.pth"), Path("log/other/checkpoints/best.pth")])

Networks of one recipe that were trained on other fakes, or from another seed, err in other places,
and the mean of their logits errs less (Lakshminarayanan, Pritzel and Blundell, NeurIPS 2017).
`calibrate.py --members` writes such a checkpoint, with limits that are fitted to the mean.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import checkpoint
import networks
import splits
from flags import Face
from networks.backbones import Weights, head_name, side_by_side
from thresholds import NO_THRESHOLDS
from utils import UserError, sha256_file

State = dict[str, Any]
"""What a checkpoint holds (checkpoint.load)."""

ALIKE = ("labels", "input", "rule")
"""Keys in which members must agree, beside `crop` and `tta`: the faces that they see, and how
scores come about.
"""

KEPT = ("format", "versions", "crop", *ALIKE)
"""Keys that are the first member's."""

BACKBONE = "backbone."
"""What the names of a checkpoint's weights begin with."""


def join(files: Sequence[Path], tta: str = "") -> State:
    """One checkpoint of several, without limits, and with `members`: what each of them was.

    tta: how it scores; empty: as they do, and then they must agree. Raises UserError where they
    are not of one kind, or one twice, or where no network has them side by side.
    """
    states = [checkpoint.load(file) for file in files]
    first = states[0]
    members = [_member(*one) for one in zip(states, files, strict=True)]
    if len({one["checkpoint_sha256"] for one in members}) < len(members):
        raise UserError(f"{', '.join(map(str, files))}: one checkpoint twice is no second member")
    for file, state in zip(files[1:], states[1:], strict=True):
        if differ := _differences(first, state, tta):
            raise UserError(f"{file} is no member beside {files[0]}: {', '.join(differ)} differ")
    about = first["network"] | {
        "variant": _variant(first["network"], len(states)),
        "weights_from": _together(s["network"]["weights_from"] for s in states),
    }
    head = head_name(checkpoint.network_of(first).backbone)
    own = [{k.removeprefix(BACKBONE): v for k, v in s["weights"].items()} for s in states]
    weights = {BACKBONE + key: value for key, value in side_by_side(own, head).items()}
    state = {key: first[key] for key in KEPT if key in first} | {
        "network": about,
        "thresholds": vars(NO_THRESHOLDS),
        "weights": weights,
        "config": {},
        "epoch": 0,
        "history": [],
        "best": {"epoch": 0, "valid_loss": float("nan")},
        "data": _data(states),
        "training": {},
        "tta": tta or _tta(first),
        "members": members,
    }
    about["parameters"] = checkpoint.network_of(state).parameter_count()
    return state


def in_half(weights: Weights, name: str) -> Weights:
    """Weights as float16, which take half the room. UserError where one is too large for that."""
    half = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    for key, value in half.items():
        if not torch.isfinite(value).all() and torch.isfinite(weights[key]).all():
            raise UserError(f"half: {name} has weights that float16 cannot hold, as {key}")
    return half


# --------------------------------------------------------------------------- small pieces


def _differences(one: State, other: State, tta: str) -> list[str]:
    """Keys in which two checkpoints differ that would have to be alike."""
    about, beside = one["network"], other["network"]
    names = ("name", "variant", "num_classes")
    differ = [f"network.{name}" for name in names if about[name] != beside[name]]
    differ += [key for key in ALIKE if one[key] != other[key]]
    older = Face().model_dump()  # what a key means to a checkpoint that is older than it
    crops = (older | one["crop"], older | other["crop"])
    differ += [f"crop.{key}" for key in crops[0] if crops[0][key] != crops[1].get(key)]
    return differ + (["tta"] if not tta and _tta(one) != _tta(other) else [])


def _tta(state: State) -> str:
    return state.get("tta", "none")  # the first versions had no other


def _variant(about: dict[str, Any], count: int) -> str:
    name, variant = about["name"], f"{about['variant']}x{count}"
    known = networks.find(name).VARIANTS
    if variant not in known:
        raise UserError(
            f"{count} of {name} {about['variant']} side by side: {name} has no variant {variant}, "
            f"it has {', '.join(known)}"
        )
    return variant


def _data(states: Sequence[State]) -> dict[str, str]:
    names = {key: _together(state["data"][key] for state in states) for key in ("train", "valid")}
    unsafe = [value for state in states if (value := state["data"].get(splits.UNSAFE))]
    return names | {"rows": "", splits.UNSAFE: unsafe[0] if unsafe else ""}


def _together(names: Any) -> str:
    """Each name once, in order."""
    return " + ".join(dict.fromkeys(names))


def _member(state: State, file: Path) -> dict[str, Any]:
    """What a member was before."""
    kept = {key: state[key] for key in ("epoch", "history", "best", "data")}
    return kept | {"checkpoint_sha256": sha256_file(file)}
