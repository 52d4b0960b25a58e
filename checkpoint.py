"""Checkpoints: save, load, describe. A checkpoint says all that is needed to use it.

    python checkpoint.py log/quickstart/checkpoints/best.pth
    python checkpoint.py log/quickstart/checkpoints/best.pth --export detector.onnx
    python checkpoint.py log/quickstart/checkpoints/best.pth --export detector.safetensors

Keys (frozen in CONTRIBUTING.md): what a reader of scores must know (labels, crop recipe,
normalisation, thresholds), the weights, the configuration, and the state of the training.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

import export
import manifest
import splits
from flags import Config, Face, InputSize, Model
from networks import Detector, build, variant_of
from settings import dump
from utils import UserError, atomic_path, refuse_over, run_command, sha256_file

FORMAT = 1
"""Version of the keys below; a later version reads all earlier ones."""

KEYS = (
    "format", "network", "labels", "input", "crop", "rule", "thresholds", "weights", "config",
    "epoch", "history", "best", "data", "training", "versions",
)  # fmt: skip

INNER_KEYS = {
    "network": ("name", "variant", "num_classes", "weights_from", "parameters"),
    "labels": ("real", "fake"),
    "input": ("height", "width", "channels", "mean", "std"),
    "crop": ("faces",),
    "thresholds": ("threshold", "t_low", "t_high", "data"),
    "best": ("epoch", "valid_loss"),
    "data": ("train", "valid", "rows"),
    "training": ("optimizer", "scheduler", "scaler", "random", "batch", "lr", "sums"),
    "weights": (),
    "config": (),
}
"""What the groups among the keys must hold."""


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
        "rule": config.rule,
        "tta": network.tta,
    }


def versions() -> dict[str, str]:
    """Versions of what the weights were trained with."""
    import timm  # two seconds; verdict.py has its network built beside the search for faces

    return {
        "torch": str(torch.__version__),
        "timm": timm.__version__,
        "python": sys.version.split()[0],
    }


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside `path` and rename it: `path` is never half a file."""
    try:
        with atomic_path(path) as beside:
            torch.save(state, beside)
    except RuntimeError as error:  # what PyTorch's zip writer makes of a full disk
        raise UserError(f"{path} cannot be written ({error}): is the disk full?") from None


def same_file(path: Path, new_name: Path) -> None:
    """Give a checkpoint a second name, in one step and without a second copy where possible."""
    if new_name.exists() and new_name.samefile(path):
        return  # renaming one name of a file onto another does nothing, and both would stay
    with atomic_path(new_name) as beside:
        beside.unlink()
        try:
            os.link(path.resolve(), beside)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, beside)


def keep_newest(folder: Path, count: int) -> None:
    """Remove all numbered checkpoints but the newest `count`; 0 keeps all."""
    if count:
        numbered = sorted(file for file in folder.glob("*.pth") if file.stem.isdecimal())
        for file in numbered[:-count]:
            file.unlink()


# ----------------------------------------------------------------------------------- load


def adopt(state: dict[str, Any], began_from: Path, folder: Path) -> None:
    """Let last.pth and best.pth in `folder` be those of a run that goes on from `began_from`."""
    # Else one that is stopped before its next save would go on from what it left behind.
    same_file(began_from, folder / "last.pth")
    best = state["best"]["epoch"]
    if not best:
        return  # no epoch was validated yet: 0000.pth is the start, and nothing to test
    for file in (began_from.with_name(f"{best:04d}.pth"), began_from.with_name("best.pth")):
        if file.is_file() and load(file)["epoch"] == best:
            same_file(file, folder / "best.pth")
            return


def load(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint, on the CPU; only tensors and plain values are ever unpickled.

    A .safetensors file that was exported from one is read too: it has everything but `config` and
    `training`, which are empty then. Raises UserError for what is not there, damaged, not ours, or
    of a later version.
    """
    path = Path(path)
    if not path.is_file():
        folders = (path, path / "checkpoints", path.parent)
        others = [sorted(str(p) for p in folder.glob("*.pth")) for folder in folders]
        found = next(filter(None, others), [])
        there = f"there are {', '.join(found)}" if found else f"{path.parent} holds no .pth file"
        raise UserError(f"{path}: no such checkpoint; {there}")
    exported = path.suffix == ".safetensors"
    state = export.read_safetensors(path) if exported else _unpickled(path)
    if not isinstance(state, dict) or "format" not in state or "weights" not in state:
        raise UserError(f"{path}: not a checkpoint of this project (it has no format and weights)")
    if not isinstance(state["format"], int) or state["format"] > FORMAT:
        raise UserError(
            f"{path}: format {state['format']!r} is later than this version's {FORMAT}: update"
        )
    if exported:
        if wrong := export.misfits(state):
            raise UserError(f"{path}: its description is incomplete or wrong in {', '.join(wrong)}")
        return state | {"config": {}, "training": {}}
    missing = [key for key in KEYS if key not in state]
    for group, inner in INNER_KEYS.items():
        holds = state.get(group, {})
        if isinstance(holds, dict):
            missing += [f"{group}.{key}" for key in inner if group in state and key not in holds]
        else:
            missing.append(f"{group} as a group")
    if missing:
        raise UserError(f"{path}: incomplete, without {', '.join(missing)}")
    return state


def load_to_continue(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint that a run goes on from; an exported file has no training to go on with."""
    state = load(path)
    if not state["training"]:
        raise UserError(
            f"{path} holds the weights and not the state of the training: continue from the run's "
            f".pth, or start a new run from these weights by --model.weights {path}"
        )
    return state


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and storage errors have no common class
        reason = f"{type(error).__name__}: {str(error).split(chr(10))[0][:120]}"
        if not zipfile.is_zipfile(path):  # of such PyTorch speaks as of an older version's
            reason = "not what PyTorch writes"
        raise UserError(f"{path}: not a checkpoint that can be read safely ({reason})") from None


def network_of(state: dict[str, Any]) -> Detector:
    """The checkpoint's network with its weights, in evaluation mode, on the CPU.

    Built from the checkpoint's own description, not from its configuration: keys of that may
    change their names in later versions.
    """
    about, size = state["network"], state["input"]
    model = Model(variant=about["variant"], in_channels=size["channels"])
    input_size = InputSize(height=size["height"], width=size["width"])
    try:
        network = build(about["name"], model, about["num_classes"], 0.0, input_size)
        network.set_normalisation(size["mean"], size["std"])
        network.load_state_dict(state["weights"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the weights do not fit networks/{about['name']}.py: {reason}") from None
    network.weights_from = about["weights_from"]
    network.tta = state.get("tta", "none")  # the first versions had no other
    return network.eval()


def contradictions(state: dict[str, Any], config: Config) -> list[str]:
    """How a configuration contradicts what the checkpoint was trained with, one line each."""
    about, size, crop = state["network"], state["input"], state["crop"]
    pairs = {
        "network": (about["name"], config.network),
        "model.variant": (about["variant"], _variant_meant(state, config)),
        "model.in_channels": (size["channels"], config.model.in_channels),
        "data.num_classes": (about["num_classes"], config.data.num_classes),
        "data.crop": (crop["faces"], config.data.crop),
        "input_size.height": (size["height"], config.input_size.height),
        "input_size.width": (size["width"], config.input_size.width),
    }
    older = Face().model_dump()  # what a key means to a checkpoint that is older than it
    for key, value in config.face.model_dump().items():
        pairs[f"face.{key}"] = (crop.get(key, older[key]), value)
    return [
        f"{key}: trained with {old!r}, configured {new!r}"
        for key, (old, new) in pairs.items()
        if old != new
    ]


def _variant_meant(state: dict[str, Any], config: Config) -> str:
    """The variant that a configuration means for a checkpoint: its own where it names none, and
    so many side by side where it names that of the checkpoint's members.
    """
    stored, named = state["network"]["variant"], config.model.variant
    side_by_side = f"{named}x{len(state.get('members', []))}"
    return stored if not named or stored == side_by_side else named


# ------------------------------------------------------------------------------- describe


def describe(path: Path) -> str:
    """What a checkpoint is, for a person."""
    state = load(path)
    network, size, crop = state["network"], state["input"], state["crop"]
    limits = state["thresholds"]
    band = limits["t_low"], limits["t_high"]
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
        *([f" WARNING        : {splits.UNSAFE_NOTE}"] if state["data"].get(splits.UNSAFE) else []),
        f" Epoch          : {_epoch_words(state)}",
        f" Threshold      : {limits['threshold']:.4f}; inconclusive between "
        f"{min(band):.4f} and {max(band):.4f} (from {limits['data']})",
        *_films_line(state.get("video_thresholds")),
        f" Temperature    : {limits.get('temperature', 1):.4g}, "
        f"{limits.get('calibration', 'not fitted')}; a face is scored by tta "
        f"{state.get('tta', 'none')}",
    ]
    if last:
        figures = ", ".join(f"{k} {v:.5f}" for k, v in last.items() if k.startswith("valid_"))
        lines.append(f" This epoch     : {figures}")
    versions = ", ".join(f"{name} {version}" for name, version in state["versions"].items())
    lines.append(f" Written with   : {versions}")
    if state["config"]:  # an exported file has none
        indented = "".join(f"   {line}\n" for line in dump(state["config"]).splitlines())
        lines += [" Configuration  :", indented]
    return "\n".join(lines)


def epochs(state: dict[str, Any]) -> str:
    """Which epoch the weights are of; of several networks side by side ("6 and 7") each one's."""
    return " and ".join(str(one["epoch"]) for one in state.get("members", [state]))


def _epoch_words(state: dict[str, Any]) -> str:
    if members := state.get("members"):
        each = [f"{one['epoch']}{_value_of_best(one['best'])}" for one in members]
        return f"{' and '.join(each)}, {len(members)} networks side by side"
    best = state["best"]
    return (
        f"{epochs(state)}, best so far {best['epoch']} (validation loss {best['valid_loss']:.5f})"
    )


def _value_of_best(best: dict[str, Any]) -> str:
    value, metric = best.get("value"), str(best.get("metric"))
    measured = isinstance(value, float) and metric.startswith("valid_")
    return f" ({metric} {value:.5f})" if measured else ""


def _films_line(limits: dict[str, Any] | None) -> list[str]:
    if not limits:
        return []
    band, made = sorted((limits["t_low"], limits["t_high"])), limits.get("made")
    return [
        f" Films          : {limits['threshold']:.4f}; inconclusive between {band[0]:.4f} and "
        f"{band[1]:.4f} (from {limits['data']}{f'; {made}' if made else ''})"
    ]


def _crop_sentence(crop: dict[str, Any]) -> str:
    if not crop["faces"]:
        return "pictures taken whole"
    trim = crop.get("trim", 0)  # an older checkpoint has none
    return (
        f"{crop['detector']}, confidence {crop['confidence']:g}, margin {crop['margin']}, "
        f"stored crop {crop['grow']:g} boxes wide"
        + (f", without {trim:.2g} of the picture at each edge" if trim else "")
    )


USAGE = """usage: python checkpoint.py FILE                            says what a checkpoint is
       python checkpoint.py FILE --export NAME.onnx         for runtimes without PyTorch
       python checkpoint.py FILE --export NAME.safetensors  the weights, for PyTorch
FILE is a checkpoint: a .pth, or a .safetensors that was exported from one."""


def main(argv: list[str]) -> int:
    match argv:
        case ["-h" | "--help"]:
            print(USAGE)
        case [file] if file != "--export":
            print(describe(Path(file)))
        case [file, "--export", target] | ["--export", target, file]:
            refuse_over(target, [file])
            state = load(file)
            print(export.write(Path(target), network_of(state), state, sha256_file(file)))
        case _:
            print(USAGE)
            return 2
    return 0


if __name__ == "__main__":
    run_command(main)
