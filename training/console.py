"""What the console says of a training: its blocks, a line an epoch, and what to type next."""

import math
from pathlib import Path
from typing import Any

import torch

import manifest
import utils
from failures import summary
from flags import Config
from networks import Detector
from training.resume import Progress
from training.rows import Rows

OPTIONS = (
    "weights", "fake_weight", "label_smoothing", "mixup", "clip_norm", "accumulate", "sam_rho",
    "learns", "freeze_epochs", "ema", "compile", "best", "on_nan",
)  # fmt: skip
"""Keys that the console shows where they are set."""


def network_block(config: Config, network: Detector) -> str:
    """The console's `[+] Network` and `[+] Optimizer` blocks."""
    optimizer = config.optimizer
    return (
        f"[+] Network\n Type: {config.network}\n Model parameters: {network.parameter_count():,}\n"
        f" Weights: {network.weights_from}\n\n[+] Optimizer\n Type: {optimizer.type}\n"
        f" Learning rate: {optimizer.lr:g}\n Weight Decay: {optimizer.weight_decay:g}\n"
        f" Scheduler: {config.scheduler.type}\n" + _options(config)
    )


def _options(config: Config) -> str:
    """The options of a training that differ from their defaults."""
    lines = []
    for group in ("loss", "optimizer", "model", "saving"):
        section = getattr(config, group)
        for key, value in section.model_dump().items():
            if (
                key in OPTIONS
                and not (group == "model" and key == "weights")
                and value != type(section)().model_dump()[key]
            ):
                lines.append(f" {group}.{key}: {value}\n")
    return "".join(lines)


def data_block(config: Config, rows: Rows) -> str:
    """The console's `[+] Data` block."""
    if config.tmp_data:
        return (
            f"[+] Data\n Random pictures : {config.tmp_data}\n Batch size : {config.batch_size}\n"
        )
    data, train, valid = config.data, rows.train, rows.valid
    lines = [
        "[+] Data",
        f" Train path : {data.train}",
        f" Test path : {', '.join(data.tests)}",
        f" Batch size : {config.batch_size}",
    ]
    if rows.random:
        lines.append(f" Valid proportions : {data.test_proportions:g}")
    for name, part in (("train", train), ("valid", valid)):
        fakes = int((part["label"] == manifest.FAKE).sum())
        lines.append(
            f" The number of {name} samples : {len(part):,} ({len(part) - fakes:,} real, "
            f"{fakes:,} fake)"
        )
    if config.fakes.paired:
        lines.append(
            f" Fakes : while training, each real comes with its fake by {config.fakes.type}"
        )
    elif config.fakes.type != "none":
        lines.append(
            f" Fakes : while training, a real sample becomes one by {config.fakes.type} with p = "
            f"{config.fakes.probability:g}"
        )
    if rows.pasted is not None:
        lines.append(f" Pasted : of {config.fakes.donors}, {len(rows.pasted):,} faces")
    if data.repeat > 1:
        passes = f"{data.repeat} passes, {data.repeat * len(train):,} samples"
        lines.append(f" An epoch : {passes}")
    if rows.left_out:
        file = Path(config.prefix) / "left_out.csv"
        lines.append(f" {summary(rows.left_out, file).capitalize()}")
    lines += [f" WARNING: {note}" for note in rows.notes]
    return "\n".join(lines) + "\n"


def averages(sums: torch.Tensor) -> dict[str, float]:
    """An epoch's sums -> loss, accuracy, precision, recall; NaN where undefined."""
    loss, tp, fp, fn, tn = sums.tolist()
    total = tp + fp + fn + tn

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else math.nan

    return {
        "loss": ratio(loss, total),
        "accuracy": ratio(tp + tn, total),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
    }


def epoch_line(values: dict[str, Any], num_epochs: int, seconds: float) -> str:
    epoch = values["epoch"]
    return (
        f"[{epoch:2d}/{num_epochs}] Epoch {epoch}: "
        f"Train Accuracy = {100 * values['train_accuracy']:.5f}, "
        f"Train Loss = {values['train_loss']:.5f}, "
        f"Valid Accuracy = {100 * values['valid_accuracy']:.5f}, "
        f"Valid Loss = {values['valid_loss']:.5f}, "
        f"lr = {values['lr']:.6g} (time elapsed {utils.elapsed(seconds)})"
    )


def best_line(progress: Progress, watched: str, run: Path) -> str:
    what = "" if watched in ("valid_loss", "epoch") else f", {watched} {progress.best_value:.5f}"
    return (
        f"\nBest epoch {progress.best_epoch} of {progress.epoch}: validation loss "
        f"{progress.best_loss:.5f}{what} -> {run / 'checkpoints' / 'best.pth'}"
    )


def test_command(config: Config) -> str:
    """What to type next; a data.test that is not there has to be named."""
    command = f"python test.py --config_file {Path(config.prefix) / 'config.yaml'} --cam"
    tests = config.data.tests
    there = config.tmp_data or (tests and all(Path(test).exists() for test in tests))
    return command if there else f"{command} --data.test YOUR_TEST.csv"
