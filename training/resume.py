"""How a run continues: from which checkpoint, with which settings, at which random state."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import checkpoint
from flags import Config
from settings import load
from utils import UserError

FREE_TO_CHANGE = (
    "device", "num_workers", "print_epochs", "checkpoint", "test_checkpoint", "prefix", "bootstrap",
    "cam", "heatmaps", "layer_table", "tracking", "data.test", "data.cache", "data.max_bad",
    "EARLY_STOPPING_EPOCH",
)  # fmt: skip
"""Keys that do not change what is learned, so that a run may continue with other values."""


@dataclass
class Progress:
    """How far a run has come. `batch`, `sums` and `lr` describe an epoch that is under way."""

    epoch: int = 0  # the last finished one; the first is 1
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    batch: int = 0
    lr: float = 0.0
    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(5, dtype=torch.float64))

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Progress":
        """The progress that a checkpoint was written at."""
        training, best = state["training"], state["best"]
        return cls(
            epoch=state["epoch"],
            history=list(state["history"]),
            best_epoch=best["epoch"],
            best_loss=best["valid_loss"],
            batch=training["batch"],
            lr=training["lr"],
            sums=training["sums"],
        )


def resume_state(config: Config, run: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint to continue from, if any; a run folder of other settings is refused."""
    last = run / "checkpoints" / "last.pth"
    written = run / "config.yaml"
    before = load(Config, str(written)) if written.is_file() else None
    if last.is_file() and (not config.checkpoint or _began_from(before, config.checkpoint)):
        chosen = last
    elif config.checkpoint:
        chosen = Path(config.checkpoint)
        if last.is_file() and chosen.absolute().parent != last.absolute().parent:
            raise UserError(
                f"{run} holds a run already, and {chosen} is of another one: choose a new --prefix"
            )
    elif before is not None:  # stopped before its first checkpoint
        refuse_other(config, before.model_dump(), f"{run} holds a run")
        return None
    else:
        return None
    state = checkpoint.load(chosen)
    refuse_other(config, state["config"], f"{chosen} comes from a run")
    return chosen, state


def _began_from(before: Config | None, file: str) -> bool:
    """Whether the run in the folder was itself begun with `checkpoint: file`."""
    return before is not None and before.checkpoint == file


def refuse_other(config: Config, other: dict[str, Any], what: str) -> None:
    """Raise UserError where settings that decide what is learned differ from those of before.

    A key that is new since `other` was written had its default then.
    """
    free = [*FREE_TO_CHANGE]
    if config.scheduler.type != "cosine":  # whose curve would end elsewhere
        free.append("num_epochs")
    mine, theirs = flat(config.model_dump()), flat(Config().model_dump()) | flat(other)
    changed = [
        f"{key}: {theirs[key]!r} there, {value!r} here"
        for key, value in mine.items()
        if theirs[key] != value and not any(f"{key}.".startswith(f"{f}.") for f in free)
    ]
    if changed:
        raise UserError(
            f"{what} with other settings:\n  " + "\n  ".join(changed) + "\nchoose another --prefix "
            "for these settings, or go back to those to continue it"
        )


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result


def should_end(config: Config, epoch: int, best_epoch: int) -> bool:
    """All epochs are done, or EARLY_STOPPING_EPOCH of them brought no lower validation loss."""
    patience = config.EARLY_STOPPING_EPOCH
    return epoch >= config.num_epochs or 0 < patience <= epoch - best_epoch


def is_finished(state: dict[str, Any], config: Config) -> bool:
    """Whether a checkpoint is the end of its run under these settings."""
    begun = state["training"]["batch"] > 0
    return not begun and should_end(config, state["epoch"], state["best"]["epoch"])


def how_to_go_on(state: dict[str, Any], config: Config) -> str:
    """What to type for more epochs than a finished run has."""
    if config.scheduler.type == "cosine":
        return "its cosine schedule ends here: for more epochs choose another --prefix"
    if state["epoch"] >= config.num_epochs:
        return "for more, set --num_epochs higher"
    return "for more, set --EARLY_STOPPING_EPOCH higher"


def random_state() -> dict[str, Any]:
    """Python's, NumPy's and PyTorch's generators, as plain values that load without pickle."""
    _name, key, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    return {
        "python": list(random.getstate()[1]),
        "numpy": {
            "key": torch.from_numpy(np.asarray(key, np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(gauss),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    random.setstate((3, tuple(state["python"]), None))
    numpy = state["numpy"]
    key = numpy["key"].numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002
        ("MT19937", key, numpy["position"], numpy["has_gauss"], numpy["gauss"])
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
