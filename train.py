"""Train one network from one YAML: the whole loop, to be read from top to bottom.

    python train.py --config_file configs/ResNet.yaml --device cpu
    python train.py --config_file configs/ResNet.yaml --optimizer.lr=3e-4 --prefix ./log/lr3e-4
    python train.py --config_file configs/ResNet.yaml --checkpoint log/ResNet/checkpoints/0003.pth
    python train.py --help

Writes into the run folder (`prefix`): config.yaml, log.txt, metrics.csv, learning_curves.png,
left_out.csv, and checkpoints/ with 0001.pth ..., best.pth, last.pth. The same command continues
an interrupted run; the result is the one that an uninterrupted run would have had.
"""

import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

import checkpoint
import dataset
import manifest
import metrics
import networks
import utils
from dataset import EpochBatches, Failure
from flags import Config, dump, parse
from networks import Detector
from report import plots, tracking
from scores import autocast, score, to_device
from training.optimizer import make_optimizer, make_scheduler, training_loss
from training.resume import (
    is_finished,
    random_state,
    resume_state,
    set_random_state,
    should_end,
)
from training.rows import Rows, data_block, find_their_faces, read_rows, write_left_out
from training.signals import Signals, Stopped
from utils import UserError


@dataclass
class Progress:
    """How far a run has come. `batch`, `sums` and `lr` describe an epoch that is under way."""

    epoch: int = 0  # the last finished one; the first is 1
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    finished: bool = False
    batch: int = 0
    lr: float = 0.0
    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(5, dtype=torch.float64))


# ----------------------------------------------------------------------------------- main


def main(argv: list[str]) -> int:
    config = parse(Config, argv, __doc__)
    device = utils.pick_device(config.device)
    precision, why = utils.pick_precision(config.precision, device)
    networks.find(config.network)
    run = Path(config.prefix)
    state = resume_state(config, run)
    if state and is_finished(state, config):
        print(
            f"{run}: this run is finished after epoch {state['epoch']}, best epoch "
            f"{state['best']['epoch']}; for more, set --num_epochs or EARLY_STOPPING_EPOCH higher"
        )
        return 0
    rows = read_rows(config)

    log = utils.console(run / "log.txt")
    log.info("-" * 32 + f"\nRunning {config.network} on device {device.type}\n")
    log.info(utils.environment_block(device, config.seed, why))
    utils.seed_everything(config.seed)
    torch.backends.cudnn.benchmark = True

    rows = find_their_faces(rows, config, device)
    hashes = checkpoint.row_hashes(pd.concat([rows.train, rows.valid])).to_csv(index=False)
    rows_hash = utils.sha256_text(hashes)
    if state and state["data"]["rows"] != rows_hash:
        raise UserError(
            f"{run}: the pictures or the split of data.train changed since this run began: "
            "choose another --prefix"
        )
    utils.write_atomic(run / "config.yaml", dump(config))
    utils.write_atomic(run / "checkpoints" / checkpoint.ROWS_FILE, hashes)
    write_left_out(run, rows.left_out)
    log.info(data_block(config, rows))

    network = networks.build(
        config.network, config.model, config.data.num_classes, config.dropout_rate
    )
    log.info(
        f"[+] Network\n Type: {config.network}\n Model parameters: {network.parameter_count():,}\n"
        f" Weights: {network.weights_from}\n"
    )
    log.info(
        f"[+] Optimizer\n Type: {config.optimizer.type}\n Learning rate: {config.optimizer.lr:g}\n"
        f" Weight Decay: {config.optimizer.weight_decay:g}\n Scheduler: {config.scheduler.type}\n"
    )
    trackers = tracking.start(
        config.tracking,
        run_dir=run,
        name=run.name,
        config=config.model_dump(),
        say=log.info,
        resume=state is not None,
    )
    trainer = Trainer(config, network, rows, rows_hash, device, precision)
    if state:
        trainer.restore(state)
        log.info(f"Continuing after epoch {trainer.progress.epoch}, batch {trainer.progress.batch}")
    try:
        with Signals() as signals:
            trainer.fit(log.info, trackers, signals)
    except Stopped as stop:
        log.info(f"Stopped by {signal.Signals(stop.args[0]).name}; the same command continues.")
        return 128 + int(stop.args[0])
    finally:
        trackers.close()
    log.info(f"\nTest it: python test.py --config_file {run / 'config.yaml'} --cam")
    return 0


# ----------------------------------------------------------------------------------- loop


class Trainer:
    """Everything that one run needs; `fit` is the loop."""

    def __init__(
        self,
        config: Config,
        network: Detector,
        rows: Rows,
        rows_hash: str,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.config, self.rows, self.rows_hash = config, rows, rows_hash
        self.device, self.precision = device, precision
        self.run = Path(config.prefix)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        train_set: Dataset
        valid_set: Dataset
        if config.tmp_data:
            train_set = dataset.RandomFaces(config.tmp_data, config.seed)
            valid_set = dataset.RandomFaces(config.tmp_data, config.seed + 1)
        else:
            train_set = dataset.training_set(rows.train, config)
            valid_set = dataset.evaluation_set(rows.valid, config)
        self.train_order, self.train_loader = loader(train_set, config, device, shuffle=True)
        _, self.valid_loader = loader(valid_set, config, device, shuffle=False)
        self.optimizer = make_optimizer(network, config)
        steps = len(self.train_order)
        self.scheduler = make_scheduler(self.optimizer, config, steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
        self.progress = Progress()
        self.failures = {failure.path: failure.reason for failure in rows.left_out}

    def fit(self, say: Any, trackers: tracking.Trackers, signals: "Signals") -> None:
        config, progress = self.config, self.progress
        started = time.monotonic()
        while not progress.finished:
            epoch = progress.epoch + 1
            try:
                train_values = self.train_epoch(epoch, signals)
                valid_values, limits = self.validate(signals)
            except Stopped:
                self.save(self.run / "checkpoints" / "last.pth", thresholds=None)
                raise
            values = {"epoch": epoch, **train_values, **valid_values, "lr": progress.lr}
            self.end_epoch(values, limits)
            trackers.log(epoch, {k: float(v) for k, v in values.items()})
            if epoch % config.print_epochs == 0 or progress.finished:
                say(epoch_line(values, config.num_epochs, time.monotonic() - started))
        trackers.summary({"best_epoch": progress.best_epoch, "best_valid_loss": progress.best_loss})
        curves = self.run / "learning_curves.png"
        plots.save_learning_curves(progress.history, curves)
        trackers.picture("learning_curves", curves)
        say(
            f"\nBest epoch {progress.best_epoch} of {progress.epoch}: validation loss "
            f"{progress.best_loss:.5f} -> {self.run / 'checkpoints' / 'best.pth'}"
        )

    def train_epoch(self, epoch: int, signals: "Signals") -> dict[str, float]:
        """One pass over the training rows, from the batch where an interrupted one stopped."""
        progress, network = self.progress, self.network.train()
        self.train_order.epoch, self.train_order.start = epoch, progress.batch
        sums = progress.sums.to(self.device, _sum_type(self.device))
        with progress_bar(self.train_loader, self.config, f"Epoch {epoch}") as (batches, bar):
            for batch in batches:
                self.note(batch.failures)
                if len(batch) > 1:  # batch norm has no statistics of one
                    images = to_device(batch.images, self.device, self.config.channels_last)
                    labels = batch.labels.to(self.device, non_blocking=True)
                    with autocast(self.device, self.precision):
                        logits = network(images)
                    loss = training_loss(logits.float(), labels)
                    self.optimizer.zero_grad(set_to_none=True)
                    self.scaler.scale(loss).backward()
                    self.scaler.step(self.optimizer)
                    self.scaler.update()
                    sums += batch_sums(loss, logits, labels, sums.dtype)
                progress.lr = self.optimizer.param_groups[0]["lr"]
                if self.config.scheduler.type == "cosine":
                    self.scheduler.step()
                progress.batch += 1
                bar.update(len(batch))
                if signals.received:
                    progress.sums = sums.double().cpu()
                    raise Stopped(signals.received)
        progress.sums = sums.double().cpu()
        return {f"train_{name}": value for name, value in averages(progress.sums).items()}

    def validate(self, signals: "Signals") -> tuple[dict[str, float], metrics.Thresholds]:
        """Scores of the validation rows in float32 (unless set) -> metrics and thresholds."""
        labels = self.valid_loader.dataset.labels  # type: ignore[attr-defined]
        precision = torch.float32 if self.config.precision == "auto" else self.precision

        def between() -> None:
            if signals.received:
                raise Stopped(signals.received)

        values, failures = score(
            self.network,
            self.valid_loader,
            len(labels),
            self.device,
            precision,
            self.config.channels_last,
            between,
        )
        self.note(failures)
        known = np.isfinite(values)
        result = metrics.evaluate(labels[known], values[known])
        name = f"{int(known.sum())} validation faces of {self.rows.valid_name}"
        limits = metrics.fit_thresholds(labels[known], values[known], name)
        kept = ("loss", "accuracy", "precision", "recall", "auc")
        return {f"valid_{key}": result[key] for key in kept}, limits

    def end_epoch(self, values: dict[str, Any], limits: metrics.Thresholds) -> None:
        """Best so far, schedule, early stopping; then the files, each written and renamed."""
        config, progress = self.config, self.progress
        progress.epoch, progress.batch = values["epoch"], 0
        progress.sums = torch.zeros(5, dtype=torch.float64)
        progress.history.append(values)
        improved = values["valid_loss"] < progress.best_loss
        if improved:
            progress.best_loss, progress.best_epoch = values["valid_loss"], progress.epoch
        if config.scheduler.type == "plateau":
            self.scheduler.step(values["valid_loss"])
        elif config.scheduler.type != "cosine":
            self.scheduler.step()
        progress.finished = should_end(config, progress.epoch, progress.best_epoch)

        table = pd.DataFrame(progress.history).to_csv(index=False, lineterminator="\n")
        utils.write_atomic(self.run / "metrics.csv", table)
        folder = self.run / "checkpoints"
        numbered = folder / f"{progress.epoch:04d}.pth"
        self.save(numbered, limits)
        if improved:
            checkpoint.same_file(numbered, folder / "best.pth")
        checkpoint.same_file(numbered, folder / "last.pth")  # last: what it names is whole

    def note(self, failures: tuple[Failure, ...] | list[Failure]) -> None:
        """Name and count rows that gave no sample; too many stop the run."""
        new = [f for f in failures if f.path not in self.failures]
        if not new:
            return
        self.failures |= {f.path: f.reason for f in new}
        write_left_out(self.run, [Failure(p, r) for p, r in self.failures.items()])
        bad = [Failure(p, r) for p, r in self.failures.items() if r != dataset.NO_FACE]
        total = len(self.rows.train) + len(self.rows.valid)
        dataset.check_share(bad, total, self.config.data.max_bad)

    def save(self, path: Path, thresholds: metrics.Thresholds | None) -> None:
        config, progress = self.config, self.progress
        limits = thresholds or metrics.Thresholds(np.nan, np.nan, np.nan, "no validation yet")
        state = checkpoint.describe_network(self.network, config) | {
            "thresholds": vars(limits),
            "weights": self.network.state_dict(),
            "config": config.model_dump(),
            "epoch": progress.epoch,
            "history": progress.history,
            "best": {"epoch": progress.best_epoch, "valid_loss": progress.best_loss},
            "data": {
                "train": config.data.train or "random pictures",
                "valid": limits.data,
                "rows": self.rows_hash,
            },
            "training": {
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.scaler.state_dict(),
                "random": random_state(),
                "batch": progress.batch,
                "lr": progress.lr,
                "sums": progress.sums,
            },
            "versions": {
                "torch": str(torch.__version__),
                "timm": timm.__version__,
                "python": sys.version.split()[0],
            },
        }
        checkpoint.save(path, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue as if the run had never stopped."""
        training = state["training"]
        self.network.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.scheduler.load_state_dict(training["scheduler"])
        self.scaler.load_state_dict(training["scaler"])
        set_random_state(training["random"])
        self.progress = Progress(
            epoch=state["epoch"],
            history=list(state["history"]),
            best_epoch=state["best"]["epoch"],
            best_loss=state["best"]["valid_loss"],
            batch=training["batch"],
            lr=training["lr"],
            sums=training["sums"],
        )


def loader(
    samples: Dataset, config: Config, device: torch.device, shuffle: bool
) -> tuple[EpochBatches, DataLoader]:
    order = EpochBatches(len(samples), config.batch_size, config.seed, shuffle)  # type: ignore[arg-type]
    pin = device.type == "cuda"
    return order, dataset.make_loader(samples, order, config.num_workers, pin_memory=pin)


def batch_sums(
    loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """[loss, tp, fp, fn, tn] summed over a batch, so that an epoch is averaged over samples."""
    logits = logits.detach()
    called = logits[:, 0] > 0 if logits.shape[1] == 1 else logits[:, 1] > logits[:, 0]
    fake = labels == manifest.FAKE
    parts = (called & fake, called & ~fake, ~called & fake, ~called & ~fake)
    counts = [part.sum().to(dtype) for part in parts]
    return torch.stack([loss.detach().to(dtype) * len(labels), *counts])


def averages(sums: torch.Tensor) -> dict[str, float]:
    loss, tp, fp, fn, tn = sums.tolist()
    total = tp + fp + fn + tn

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else float("nan")

    return {
        "loss": ratio(loss, total),
        "accuracy": ratio(tp + tn, total),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
    }


# -------------------------------------------------------------------------------- console


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


class progress_bar:
    """Batches with a bar of images a second on a terminal, and without one elsewhere."""

    def __init__(self, batches: DataLoader, config: Config, name: str) -> None:
        total = len(batches) * config.batch_size
        self.batches = batches
        self.bar = tqdm(
            total=total, desc=name, unit="img", leave=False, disable=not sys.stderr.isatty()
        )

    def __enter__(self) -> tuple[DataLoader, tqdm]:
        return self.batches, self.bar

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def _sum_type(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


if __name__ == "__main__":
    utils.run_command(main)
