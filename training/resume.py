"""How a run continues: from which checkpoint, with which settings, at which random state."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

import checkpoint
from flags import Config
from processes import Processes
from settings import flat, load
from thresholds import Thresholds
from training.optimizer import BY_BATCH, Schedule
from training.rows import files_of
from training.step import Step
from utils import UserError

FREE_TO_CHANGE = (
    "device", "num_workers", "print_epochs", "checkpoint", "test_checkpoint", "prefix", "bootstrap",
    "cam", "heatmaps", "layer_table", "tracking", "data.test", "data.cache", "data.max_bad",
    "EARLY_STOPPING_EPOCH", "data.memory", "saving.keep", "saving.minutes", "saving.on_nan",
    "model.compile", "rule", "limits", "subgroups", "robustness", "perturb", "card",
)  # fmt: skip
"""Keys that do not change what is learned, so that a run may continue with other values."""


@dataclass
class Progress:
    """How far a run has come. `batch`, `sums` and `lr` describe an epoch that is under way.

    best_value: of the metric that `saving.best` names; best_loss: the validation loss beside it.
    rollbacks: how often the run went back an epoch because its loss ran away.
    """

    epoch: int = 0  # the last finished one; the first is 1
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    best_value: float = float("nan")
    rollbacks: int = 0
    batch: int = 0
    lr: float = 0.0
    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(5, dtype=torch.float64))

    @classmethod
    def of(cls, state: dict[str, Any], first: bool) -> "Progress":
        """The progress that a checkpoint was written at; of several processes the first one has
        the sums of all.
        """
        training, best = state["training"], state["best"]
        sums = training["sums"]
        return cls(
            epoch=state["epoch"],
            history=list(state["history"]),
            best_epoch=best["epoch"],
            best_loss=best["valid_loss"],
            best_value=best.get("value", best["valid_loss"]),  # the first version had no other
            rollbacks=training.get("rollbacks", 0),
            batch=training["batch"],
            lr=training["lr"],
            sums=sums if first else torch.zeros_like(sums),
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
        # A folder without config.yaml holds no run: one that was stopped while it began.
        if before and last.is_file() and chosen.absolute().parent != last.absolute().parent:
            raise UserError(
                f"{run} holds a run already, and {chosen} is of another one: choose a new --prefix"
            )
    elif before is not None:  # stopped before its first checkpoint
        refuse_other(config, before.model_dump(), f"{run} holds a run")
        return None
    else:
        return None
    state = checkpoint.load_to_continue(chosen)
    refuse_other(config, state["config"], f"{chosen} comes from a run")
    return chosen, state


@contextmanager
def alone_in(run: Path, first: bool) -> Iterator[None]:
    """Keep the run folder for this run: two that write into one would spoil both.

    The system lets go of the lock when a process ends, however it ends. Raises UserError where
    another run has it.
    """
    if not first:
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"{run}: another training writes into this folder: wait for it, or choose another "
            "--prefix"
        ) from None


def _began_from(before: Config | None, file: str) -> bool:
    """Whether the run in the folder was itself begun with `checkpoint: file`."""
    return before is not None and before.checkpoint == file


def refuse_other(config: Config, other: dict[str, Any], what: str) -> None:
    """Raise UserError where settings that decide what is learned differ from those of before.

    A key that is new since `other` was written had its default then.
    """
    free = [*FREE_TO_CHANGE]
    if config.scheduler.type not in BY_BATCH:  # whose curve would end elsewhere
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


def badness(metric: str, value: float) -> float:
    """A metric as a number that is better the lower it is; what is undefined is the worst."""
    if math.isnan(value):
        return math.inf
    return value if metric in ("valid_loss", "valid_eer") else -value


def should_end(config: Config, epoch: int, best_epoch: int) -> bool:
    """All epochs are done, or EARLY_STOPPING_EPOCH of them brought nothing better."""
    patience = config.EARLY_STOPPING_EPOCH
    return epoch >= config.num_epochs or 0 < patience <= epoch - best_epoch


def is_finished(state: dict[str, Any], config: Config) -> bool:
    """Whether a checkpoint is the end of its run under these settings."""
    begun = state["training"]["batch"] > 0
    return not begun and should_end(config, state["epoch"], state["best"]["epoch"])


def finished_words(state: dict[str, Any], config: Config) -> str:
    """That a run is finished, how it could go on, and what of the settings it does not heed.

    Raises UserError where it has more epochs than are asked for.
    """
    run, epoch = config.prefix, state["epoch"]
    if epoch > config.num_epochs:
        raise UserError(
            f"num_epochs {config.num_epochs}: {run} has {epoch} epochs already: choose another "
            "--prefix"
        )
    words = [
        f"{run}: this run is finished after epoch {epoch}, best epoch {state['best']['epoch']}; "
        + how_to_go_on(state, config)
    ]
    words += [f"WARNING: {one}" for one in (*changed(state, config), *not_heeded(state, config))]
    return "\n".join(words)


def continuing_words(state: dict[str, Any], config: Config, done: Progress) -> str:
    """Where a run goes on, and what has changed since it began."""
    notes = [f"WARNING: {one}" for one in changed(state, config)]
    return "\n".join([*notes, f"Continuing with epoch {done.epoch + 1}, batch {done.batch + 1}"])


def changed(state: dict[str, Any], config: Config) -> list[str]:
    """That the files which name the rows are others than when the run began. Other pictures are
    refused (train.begin); a column of them, as `source`, may be another all the same.
    """
    if state["data"].get("files", files_of(config)) == files_of(config):
        return []
    return [
        "what data.train, data.valid or fakes.swap.donors names is not what it was when this run "
        "began: choose another --prefix to learn from it"
    ]


def not_heeded(state: dict[str, Any], config: Config) -> list[str]:
    """What of a verdict is set otherwise than a checkpoint was fitted by."""
    limits = Thresholds.of(state["thresholds"])
    pairs = {
        "rule": (state["rule"], config.rule),
        "limits.alarms": (limits.alarms, config.limits.alarms),
        "limits.misses": (limits.misses, config.limits.misses),
    }
    return [
        f"{key}: {mine} is not used: the checkpoint's is {theirs}"
        + ("; calibrate.py fits others" if key != "rule" else "")
        for key, (theirs, mine) in pairs.items()
        if theirs != mine and (key == "rule" or limits.defined)
    ]


def how_to_go_on(state: dict[str, Any], config: Config) -> str:
    """What to type for more epochs than a finished run has."""
    if config.scheduler.type in BY_BATCH:
        kind = config.scheduler.type
        return f"its {kind} schedule ends here: for more epochs choose another --prefix"
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


def training_state(
    step: Step,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    progress: Progress,
    randoms: list[dict[str, Any]],
    left_out: list[tuple[str, str, str, bool]],
) -> dict[str, Any]:
    """The checkpoint's `training`: all that the next step depends on beside the weights.

    randoms: the random state of each process, by rank. left_out: as LeftOut.state gives it. With a
    moving average the checkpoint's weights are the average, and those that learn stand here.
    """
    return {
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "scaler": step.scaler.state_dict(),
        "random": randoms[0],
        "random_of_others": randoms[1:],
        "weights": step.network.state_dict() if step.average else None,
        "steps": step.steps,
        "parts": step.parts,
        "rollbacks": progress.rollbacks,
        "batch": progress.batch,
        "lr": progress.lr,
        "sums": progress.sums,
        "left_out": left_out,
    }


def restore_training(
    state: dict[str, Any],
    step: Step,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    processes: Processes,
) -> None:
    """Set everything to where a checkpoint was written; what its version did not know is new."""
    training = state["training"]
    step.evaluated.load_state_dict(state["weights"])
    step.network.load_state_dict(training.get("weights") or state["weights"])
    optimizer.load_state_dict(training["optimizer"])
    schedule.load_state_dict(training["scheduler"])
    if training["scaler"]:  # of float16 alone: a run may go on where the precision is another
        step.scaler.load_state_dict(training["scaler"])
    step.steps, step.parts = training.get("steps", 0), training.get("parts", 1)
    randoms = [training["random"], *training.get("random_of_others", [])]
    if len(randoms) == processes.world:  # with another number of processes dropout is another one
        set_random_state(randoms[processes.rank])
