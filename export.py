"""A checkpoint for others: ONNX, which runs without PyTorch, or safetensors, which runs no code.

    python checkpoint.py log/quickstart/checkpoints/best.pth --export detector.onnx

Both carry, as text, what the checkpoint says of its scores (frozen in CONTRIBUTING.md).
"""

import importlib.util
import json
import math
import warnings
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from networks import PUBLISHED, Detector
from utils import UserError, atomic_path, sha256_file, without_nan

SUFFIXES = (".onnx", ".safetensors")

NOT_CARRIED = ("weights", "config", "training")
"""Keys of a checkpoint that are not in an exported file's text: it is for use, not to go on."""

UNDEFINED = ("thresholds", "video_thresholds", "best", "history", "members")
"""Groups whose numbers may be NaN, for which JSON has no word but null."""

NORMALISATION = {
    ".onnx": "inside the graph: give uint8 values 0..255",
    ".safetensors": "not inside: before the network, values 0..1 minus input.mean, over input.std",
}

TYPES: dict[str, Any] = {
    "format": int,
    "network": {
        "name": str, "variant": str, "num_classes": (1, 2), "weights_from": str, "parameters": int,
    },
    "labels": {"real": int, "fake": int},
    "input": {
        "height": (16, 8192), "width": (16, 8192), "channels": (1, 3),
        "mean": [Real], "std": [Real],
    },
    "crop": {"faces": bool, "detector": str, "confidence": Real, "margin": str, "grow": Real},
    "rule": str,
    "tta": str,
    "thresholds": {"threshold": Real, "t_low": Real, "t_high": Real, "data": str},
    "video_thresholds": {"threshold": Real, "t_low": Real, "t_high": Real, "data": str},
    "features": {
        "mean": str, "basis": str, "variances": str, "rest": Real, "limit": Real, "n": int,
        "data": str,
    },
    "epoch": int,
    "history": [dict],
    "members": [
        {"epoch": int, "history": [dict], "best": {"epoch": int}, "checkpoint_sha256": str},
    ],
    "best": {"epoch": int, "valid_loss": Real},
    "data": {"train": str, "valid": str, "rows": str},
    "versions": dict,
}  # fmt: skip
"""What the text of a file must be, since a stranger's may hold anything: types, (least, most)."""

OPTIONAL = ("video_thresholds", "features", "tta", "members")
"""Keys that not every checkpoint has."""

OPSET = 18
"""Version of ONNX's operators; runtimes since 2023 know it."""

LARGEST_DIFFERENCE = 1e-4
"""How far an ONNX file's answers may be from PyTorch's: scores, and logits in parts of theirs."""


class Scored(nn.Module):
    """A detector that answers with the fake score [n], 0..1, beside its logits [n, outputs].

    With the detector's `tta` flip the score is the mean of a picture's and its mirror image's, as
    its thresholds want it; the logits are the picture's.
    """

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.network, self.flips = network, network.tta == "flip"

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.network(pictures)
        score = _score(logits)
        if self.flips:
            score = (score + _score(self.network(pictures.flip(-1)))) / 2
        return score, logits


def _score(logits: torch.Tensor) -> torch.Tensor:
    one = logits.shape[1] == 1
    return torch.sigmoid(logits[:, 0] if one else logits[:, 1] - logits[:, 0])


def write(path: Path, network: Detector, state: dict[str, Any], sha256: str) -> str:
    """Write a checkpoint to `path` as its suffix says, and say what was written and checked.

    network: the checkpoint's, in evaluation mode, on the CPU. state: the checkpoint. sha256: of
    its file. Raises UserError where `path` cannot be written, or where the file would not answer
    as the checkpoint does; then there is no file.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"--export {path}: the name must end in {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"--export {path}: there is no folder {path.parent}: create it")
    about = description(network, state, sha256) | {"normalisation": NORMALISATION[path.suffix]}
    with atomic_path(path) as beside:
        if path.suffix == ".onnx":
            lines = write_onnx(beside, network, state["input"], about)
        else:
            lines = write_safetensors(beside, state["weights"], about)
    if path.suffix == ".onnx" and state.get("tta", "none") not in ("none", "flip"):
        lines.append(
            f" One view       : of a face; the checkpoint's scores are by tta {state['tta']}"
        )
    head = [f"{path}", f" SHA-256        : {sha256_file(path)}"]
    return "\n".join([*head, f" Size           : {path.stat().st_size / 1e6:.1f} MB", *lines])


def description(network: Detector, state: dict[str, Any], sha256: str) -> dict[str, str]:
    """What an exported file says of itself: a checkpoint's keys as JSON, and where it is from."""
    kept = {key: value for key, value in state.items() if key not in NOT_CARRIED}
    about = {key: json.dumps(without_nan(value), allow_nan=False) for key, value in kept.items()}
    about["checkpoint_sha256"] = sha256
    licence = (getattr(network.backbone, "pretrained_cfg", None) or {}).get("license")
    began_from = network.weights_from.split(" + ")  # of several side by side each is named
    if licence and any(one.startswith(PUBLISHED) for one in began_from):
        about["weights_licence"] = f"{licence}, of the weights that training started from"
    return about


# ----------------------------------------------------------------------------------- ONNX


def write_onnx(
    path: Path, network: Detector, size: dict[str, Any], about: dict[str, str]
) -> list[str]:
    """One file for any ONNX runtime, with any number of pictures; what it is, in lines.

    Takes `pictures`, uint8 [batch, channels, height, width], RGB; gives `score`, float32 [batch],
    1 = fake, and `logits`, float32 [batch, outputs].
    """
    needed = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"ONNX needs {', '.join(missing)}: python -m pip install -r requirements.txt"
        )
    model, shape = Scored(network).eval(), (size["channels"], size["height"], size["width"])
    example = torch.zeros(2, *shape, dtype=torch.uint8)  # of one it would learn that it is one
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own insides
            program = torch.onnx.export(
                model,
                (example,),
                input_names=["pictures"],
                output_names=["score", "logits"],
                dynamic_shapes={"pictures": {0: torch.export.Dim("batch")}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        assert program is not None  # None is for the older exporter
        program.model.metadata_props.update(about)
        program.save(str(path), external_data=False)
    except Exception as error:  # a user's own network may fail in any way
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"this network cannot be written as ONNX ({type(error).__name__}: {reason})"
        ) from error
    largest = difference(path, model, shape)
    if not largest <= LARGEST_DIFFERENCE:  # NaN is no agreement
        raise UserError(
            f"the ONNX file's answers differ from PyTorch's by {largest:.1e}, more than "
            f"{LARGEST_DIFFERENCE:.0e}, and it was removed: export to .safetensors"
        )
    channels, height, width = shape
    return [
        f" Input          : pictures, uint8 [batch, {channels}, {height}, {width}], values 0..255; "
        "normalises them itself",
        " Outputs        : score, float32 [batch], 0..1, 1 = fake; logits, float32",
        " Checked        : random pictures, one and three at once: largest difference from "
        f"PyTorch {largest:.1e}",
    ]


def difference(path: Path, model: nn.Module, shape: tuple[int, ...]) -> float:
    """The largest difference between an ONNX file's answers and a module's, on random pictures.

    Batches of one and three. Differences of logits above 1 count in parts of the largest: float32
    has seven digits.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    dice, found = np.random.default_rng(0), []
    for count in (1, 3):
        pictures = dice.integers(0, 256, (count, *shape), dtype=np.uint8)
        with torch.no_grad():
            answers = model(torch.from_numpy(pictures))
        for theirs, ours in zip(session.run(None, {"pictures": pictures}), answers, strict=True):
            apart = np.abs(theirs - ours.numpy()).max() / max(1.0, float(ours.abs().max()))
            found.append(float(apart))
    return float(np.max(found))


# ---------------------------------------------------------------------------- safetensors


def write_safetensors(
    path: Path, weights: dict[str, torch.Tensor], about: dict[str, str]
) -> list[str]:
    """The weights to the bit with a description; what was checked, in lines."""
    # Copies: the format knows neither channels-last nor tensors that share their memory.
    plain = {k: v.clone(memory_format=torch.contiguous_format) for k, v in weights.items()}
    save_file(plain, path, about)
    back = read_safetensors(path)["weights"]
    if back.keys() != weights.keys() or not all(_same(back[k], v) for k, v in weights.items()):
        raise UserError("the file does not hold what was written, and was removed: try again")
    return [f" Checked        : {len(back)} tensors read back, each the same to the bit"]


def read_safetensors(path: Path) -> dict[str, Any]:
    """The checkpoint's keys that `write_safetensors` wrote: all but `config` and `training`.

    Nothing in it is executed. Raises UserError for what is damaged or not ours; `misfits` says
    what in it is not as it should be.
    """
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a .safetensors file that can be read: {error}") from None
    if not {"format", "network"} <= texts.keys():
        raise UserError(
            f"{path}: weights that do not say what they are, so no checkpoint of this project; to "
            f"start from them, set model.weights to {path}"
        )
    state = {key: _decoded(text, key in UNDEFINED) for key, text in texts.items()}
    return state | {"weights": weights}


def misfits(state: dict[str, Any]) -> list[str]:
    """Keys of a state that are missing, or not what those who read them expect."""
    expected = {key: kind for key, kind in TYPES.items() if key in state or key not in OPTIONAL}
    wrong = [key for key, kind in expected.items() if not _is(state.get(key), kind)]
    if "input" not in wrong:
        size = state["input"]
        fits = len(size["mean"]) == len(size["std"]) == size["channels"] != 2
        wrong += [] if fits else ["input (a mean and a std for each of 1 or 3 channels)"]
    if "history" not in wrong:
        values = [v for row in state["history"] for k, v in row.items() if k.startswith("valid_")]
        wrong += [] if _is(values, [Real]) else ["history"]
    return wrong


# --------------------------------------------------------------------------- small pieces


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, within bounds, a list of such, or a group with these keys."""
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(_is(value.get(k), v) for k, v in kind.items())
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(item, kind[0]) for item in value)
    if isinstance(kind, tuple):
        return isinstance(value, int) and kind[0] <= value <= kind[1]
    return isinstance(value, kind)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    # As bytes: a NaN among the weights is to come back too, and equals nothing.
    return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()


def _decoded(text: str, nan: bool) -> Any:
    """JSON as values, null as NaN where asked for; other text as it stands."""
    try:
        return _with_nan(json.loads(text)) if nan else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_nan(inner) for inner in value]
    return math.nan if value is None else value
