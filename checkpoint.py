"""Checkpoints: save, load, describe. A checkpoint says all that is needed to use it.

    python checkpoint.py log/quickstart/checkpoints/best.pth

Keys (frozen in CONTRIBUTING.md): what a reader of scores must know (labels, crop recipe,
normalisation, thresholds), the weights, the configuration, and the state of the training.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import ValidationError

import manifest
from flags import Config, dump
from metrics import Thresholds
from networks import Detector, build, variant_of
from utils import UserError, atomic_path, run_command, sha256_file, sha256_text

FORMAT = 1
"""Version of the keys below; a later version reads all earlier ones."""

KEYS = (
    "format", "network", "labels", "input", "crop", "thresholds", "weights", "config", "epoch",
    "history", "best", "data", "training", "versions",
)  # fmt: skip

ROWS_FILE = "rows.csv"
"""Hashes of the rows that a run trained and validated on; lies beside its checkpoints."""


# ----------------------------------------------------------------------------------- save


def describe_network(network: Detector, config: Config) -> dict[str, Any]:
    """The parts of a checkpoint that say how its scores come about."""
    return {
        "format": FORMAT,
        "network": {
            "name": config.network,
            "variant": variant_of(config.network, config.model),
            "num_classes": config.data.num_classes,
            "weights_from": network.weights_from,
            "parameters": network.parameter_count(),
        },
        "labels": {"real": manifest.REAL, "fake": manifest.FAKE},
        "input": {
            "height": config.input_size.height,
            "width": config.input_size.width,
            "channels": config.model.in_channels,
            **network.normalisation,
        },
        "crop": {"faces": config.data.crop, **config.face.model_dump()},
    }


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside `path` and rename it: `path` is never half a file."""
    with atomic_path(path) as beside:
        torch.save(state, beside)


def same_file(path: Path, new_name: Path) -> None:
    """Give a checkpoint a second name, in one step and without a second copy where possible."""
    if new_name.exists() and new_name.samefile(path):
        return  # renaming one name of a file onto another does nothing, and both would stay
    with atomic_path(new_name) as beside:
        beside.unlink()
        try:
            os.link(path, beside)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, beside)


# ----------------------------------------------------------------------------------- load


def load(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint, on the CPU; only tensors and plain values are ever unpickled.

    Raises UserError for what is not there, damaged, not ours, or of a later version.
    """
    path = Path(path)
    if not path.is_file():
        others = sorted(str(p) for p in path.parent.glob("*.pth")) if path.parent.is_dir() else []
        there = f"there are {', '.join(others)}" if others else f"{path.parent} holds no .pth file"
        raise UserError(f"{path}: no such checkpoint; {there}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and storage errors have no common class
        reason = str(error).split("\n")[0][:120]
        raise UserError(
            f"{path}: not a checkpoint that can be read safely ({type(error).__name__}: {reason})"
        ) from None
    if not isinstance(state, dict) or "format" not in state or "weights" not in state:
        raise UserError(f"{path}: not a checkpoint of this project (it has no format and weights)")
    if not isinstance(state["format"], int) or state["format"] > FORMAT:
        raise UserError(
            f"{path}: format {state['format']!r} is later than this version's {FORMAT}: update"
        )
    missing = [key for key in KEYS if key not in state]
    if missing:
        raise UserError(f"{path}: incomplete, without {', '.join(missing)}")
    return state


def config_of(state: dict[str, Any]) -> Config:
    """The configuration that a checkpoint was written with; UserError where it is damaged."""
    try:
        return Config.model_validate(state["config"])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"the checkpoint's configuration is damaged: {key}: {first['msg']}"
        ) from None


def network_of(state: dict[str, Any]) -> Detector:
    """The checkpoint's network with its weights, in evaluation mode, on the CPU."""
    config = config_of(state)
    # The weights are here: whatever they started from need not be had again.
    model = config.model.model_copy(update={"pretrained": False})
    network = build(config.network, model, config.data.num_classes, config.dropout_rate)
    stored = state["input"]
    network.set_normalisation(stored["mean"], stored["std"])
    network.weights_from = state["network"]["weights_from"]
    network.load_state_dict(state["weights"])
    return network.eval()


def thresholds_of(state: dict[str, Any]) -> Thresholds:
    return Thresholds(**state["thresholds"])


def contradictions(state: dict[str, Any], config: Config) -> list[str]:
    """How a configuration contradicts what the checkpoint was trained with, one line each."""
    stored = config_of(state)
    pairs = {
        "network": (stored.network, config.network),
        "model.variant": (state["network"]["variant"], config.model.variant or None),
        "model.in_channels": (stored.model.in_channels, config.model.in_channels),
        "data.num_classes": (stored.data.num_classes, config.data.num_classes),
        "data.crop": (stored.data.crop, config.data.crop),
        "input_size.height": (stored.input_size.height, config.input_size.height),
        "input_size.width": (stored.input_size.width, config.input_size.width),
    }
    for key, value in stored.face.model_dump().items():
        pairs[f"face.{key}"] = (value, getattr(config.face, key))
    return [
        f"{key}: trained with {old!r}, configured {new!r}"
        for key, (old, new) in pairs.items()
        if old != new and new is not None
    ]


# -------------------------------------------------------------------------------- overlap


def row_hashes(rows: pd.DataFrame) -> pd.DataFrame:
    """What identifies rows without naming them: hashes of content, original, video, identity."""
    contents = {path: sha256_file(path) for path in set(rows["path"]) if Path(path).is_file()}
    originals = {
        path: sha256_file(path)
        for path in set(rows["source_path"])
        if path and path not in contents and Path(path).is_file()
    }
    known = contents | originals
    return pd.DataFrame(
        {
            "split": rows["split"],
            "content": [known.get(path, "")[:32] for path in rows["path"]],
            "original": [known.get(path, "")[:32] for path in rows["source_path"]],
            "video": [_name_hash(name) for name in manifest.scoped(rows, "video")],
            "identity": [_name_hash(name) for name in manifest.scoped(rows, "identity")],
        }
    )


def overlap(checkpoint: Path, rows: pd.DataFrame) -> list[str]:
    """What `rows` share with the rows that the checkpoint was trained and validated on.

    Empty where nothing; raises FileNotFoundError where the list does not lie beside it.
    """
    seen = pd.read_csv(checkpoint.parent / ROWS_FILE, dtype=str, keep_default_na=False)
    mine = row_hashes(rows)
    found = []
    for what, columns in (
        ("picture or its original", ("content", "original")),
        ("video", ("video",)),
        ("identity", ("identity",)),
    ):
        known = {value for column in columns for value in seen[column]} - {""}
        hit = mine[list(columns)].isin(known).any(axis=1)
        if hit.any():
            examples = ", ".join(rows["path"][hit.to_numpy()].head(3))
            found.append(f"{int(hit.sum())} rows share a {what} with it, as {examples}")
    return found


def _name_hash(name: str) -> str:
    return sha256_text(name)[:32] if name else ""


# ------------------------------------------------------------------------------- describe


def describe(path: Path) -> str:
    """What a checkpoint is, for a person."""
    state = load(path)
    network, size, crop = state["network"], state["input"], state["crop"]
    limits, best = state["thresholds"], state["best"]
    last = state["history"][-1] if state["history"] else {}
    lines = [
        f"{path}",
        f" SHA-256        : {sha256_file(path)}",
        f" Network        : {network['name']} {network['variant']}".rstrip()
        + f", {network['parameters']:,} parameters, started from {network['weights_from']}",
        f" Input          : {size['channels']} x {size['height']} x {size['width']}, "
        f"mean {size['mean']}, std {size['std']}",
        f" Labels         : real = {state['labels']['real']}, fake = {state['labels']['fake']}; "
        "a score says how fake, 0..1",
        f" Faces          : {_crop_sentence(crop)}",
        f" Trained on     : {state['data']['train']}",
        f" Validated on   : {state['data']['valid']}",
        f" Epoch          : {state['epoch']}, best so far {best['epoch']} "
        f"(validation loss {best['valid_loss']:.5f})",
        f" Thresholds     : {limits['threshold']:.4f}; inconclusive between "
        f"{limits['t_low']:.4f} and {limits['t_high']:.4f} (from {limits['data']})",
    ]
    if last:
        figures = ", ".join(f"{k} {v:.5f}" for k, v in last.items() if k.startswith("valid_"))
        lines.append(f" This epoch     : {figures}")
    versions = ", ".join(f"{name} {version}" for name, version in state["versions"].items())
    config = dump(config_of(state))
    indented = "".join(f"   {line}\n" for line in config.splitlines())
    return "\n".join([*lines, f" Written with   : {versions}", " Configuration  :", indented])


def _crop_sentence(crop: dict[str, Any]) -> str:
    if not crop["faces"]:
        return "pictures taken whole"
    return (
        f"{crop['detector']}, confidence {crop['confidence']:g}, margin {crop['margin']}, "
        f"stored crop {crop['grow']:g} boxes wide"
    )


def main(argv: list[str]) -> int:
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        print("usage: python checkpoint.py FILE.pth   (says what a checkpoint is)")
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    print(describe(Path(argv[0])))
    return 0


if __name__ == "__main__":
    run_command(main)
