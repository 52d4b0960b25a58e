"""Train one network from one YAML: the whole loop, to be read from top to bottom.

    python train.py --config_file configs/ResNet.yaml --device cpu
    python train.py --config_file configs/ResNet.yaml --optimizer.lr=3e-4 --prefix ./log/lr3e-4
    python train.py --config_file configs/ResNet.yaml --checkpoint log/ResNet/checkpoints/0003.pth
    python train.py --help

Writes into the run folder (`prefix`): config.yaml, log.txt, metrics.csv, learning_curves.png,
left_out.csv, and checkpoints/ with 0001.pth ..., best.pth, last.pth. The same command continues
an interrupted run; the result is the one that an uninterrupted run would have had.
"""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

import checkpoint
import dataset
import metrics
import networks
import scores
import utils
from dataset import EpochBatches
from failures import Failure, check_share, write_failures
from flags import Config
from networks import Detector
from report import plots, tracking
from scores import autocast, to_device
from settings import dump, parse
from training.optimizer import Schedule, make_optimizer, training_loss
from training.resume import (
    Progress,
    how_to_go_on,
    is_finished,
    random_state,
    resume_state,
    set_random_state,
    should_end,
)
from training.rows import Rows, data_block, find_their_faces, read_rows
from training.signals import Signals, Stopped
from utils import UserError


def main(argv: list[str]) -> int:
    config = parse(Config, argv, __doc__)
    device = utils.pick_device(config.device)
    precision, why = utils.pick_precision(config.precision, device)
    run = Path(config.prefix)
    began_from, state = resume_state(config, run) or (None, None)
    if state and is_finished(state, config):
        print(
            f"{run}: this run is finished after epoch {state['epoch']}, best epoch "
            f"{state['best']['epoch']}; {how_to_go_on(state, config)}"
        )
        return 0
    rows = read_rows(config)
    utils.seed_everything(config.seed)
    torch.backends.cudnn.benchmark = True  # pictures have one size: let a GPU pick its fastest
    network = networks.build(
        config.network,
        config.model,
        config.data.num_classes,
        config.dropout_rate,
        config.input_size,
    )

    log = utils.console(run / "log.txt")
    log.info("-" * 32 + f"\nRunning {config.network} on device {device.type}\n")
    log.info(utils.environment_block(device, config.seed, why))
    rows = find_their_faces(rows, config, device)
    hashes = checkpoint.row_hashes(pd.concat([rows.train, rows.valid]))
    checkpoint.refuse_same_pictures(hashes)
    if state and state["data"]["rows"] != utils.sha256_text(hashes):
        raise UserError(
            f"{run}: the pictures or the split of data.train changed since this run began: "
            "choose another --prefix"
        )
    utils.write_atomic(run / "config.yaml", dump(config))
    utils.write_atomic(run / "checkpoints" / checkpoint.ROWS_FILE, hashes)
    log.info(data_block(config, rows))
    log.info(
        f"[+] Network\n Type: {config.network}\n Model parameters: {network.parameter_count():,}\n"
        f" Weights: {network.weights_from}\n"
    )
    log.info(
        f"[+] Optimizer\n Type: {config.optimizer.type}\n Learning rate: {config.optimizer.lr:g}\n"
        f" Weight Decay: {config.optimizer.weight_decay:g}\n Scheduler: {config.scheduler.type}\n"
    )
    trainer = Trainer(config, network, rows, utils.sha256_text(hashes), device, precision)
    if state and began_from:
        checkpoint.adopt_best(state, began_from, run / "checkpoints")
        trainer.restore(state)
        done = trainer.progress
        log.info(f"Continuing with epoch {done.epoch + 1}, batch {done.batch + 1}")
    trackers = tracking.start(
        config.tracking,
        run_dir=run,
        name=run.name,
        config=config.model_dump(),
        say=log.info,
        resume=state is not None,
    )
    try:
        with Signals() as signals:
            trainer.fit(log.info, trackers, signals)
    except Stopped as stop:
        log.info(f"Stopped by {signal.Signals(stop.args[0]).name}; the same command continues.")
        return 128 + int(stop.args[0])
    finally:
        trackers.close()
    log.info(f"\nTest it: {test_command(config)}")
    return 0


class Trainer:
    """What one run needs; `fit` is the loop."""

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
        layout = scores.layout(config.channels_last)
        self.network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self.train_set, self.valid_set = samples(rows, config)
        self.order = EpochBatches(
            len(self.train_set),  # type: ignore[arg-type]
            config.batch_size,
            config.seed,
            shuffle=True,
        )
        pin = device.type == "cuda"
        self.train_loader = dataset.make_loader(
            self.train_set, self.order, config.num_workers, pin_memory=pin
        )
        self.valid_loader = scores.loader_for(self.valid_set, config, device)
        self.optimizer = make_optimizer(network, config)
        self.schedule = Schedule(self.optimizer, config, steps=len(self.order))
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
        self.progress = Progress()
        self.failures = dict.fromkeys(rows.left_out)
        write_failures(self.run / "left_out.csv", list(self.failures), rows.home)

    def fit(
        self, say: Callable[[str], None], trackers: tracking.Trackers, signals: Signals
    ) -> None:
        """Epochs until all are done or early stopping ends them; raises Stopped on a signal."""
        config, progress = self.config, self.progress
        started = time.monotonic()
        finished = False
        while not finished:
            epoch = progress.epoch + 1
            try:
                values = {"epoch": epoch, **self.train_epoch(epoch, signals)}
                valid_values, thresholds = self.validate(signals)
            except Stopped:
                self.save("last.pth", metrics.NO_THRESHOLDS)
                raise
            values |= valid_values | {"lr": progress.lr}
            self.end_epoch(values, thresholds)
            trackers.log(epoch, {key: float(value) for key, value in values.items()})
            finished = should_end(config, epoch, progress.best_epoch)
            if epoch % config.print_epochs == 0 or finished:
                say(epoch_line(values, config.num_epochs, time.monotonic() - started))
        trackers.summary({"best_epoch": progress.best_epoch, "best_valid_loss": progress.best_loss})
        trackers.picture("learning_curves", self.run / "learning_curves.png")
        say(
            f"\nBest epoch {progress.best_epoch} of {progress.epoch}: validation loss "
            f"{progress.best_loss:.5f} -> {self.run / 'checkpoints' / 'best.pth'}"
        )

    def train_epoch(self, epoch: int, signals: Signals) -> dict[str, float]:
        """One pass over the training rows, from the batch where an interrupted one stopped."""
        progress, network = self.progress, self.network.train()
        if progress.batch == 0:
            progress.lr = self.schedule.lr
        self.order.epoch, self.order.start = epoch, progress.batch
        sums = progress.sums.to(self.device, _sum_type(self.device))
        total = max(0, self.order.count - progress.batch * self.config.batch_size)
        quiet = not sys.stderr.isatty()
        with tqdm(
            total=total, desc=f"Epoch {epoch}", unit="img", leave=False, disable=quiet
        ) as bar:
            for batch in self.train_loader:
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
                self.schedule.after_batch()
                progress.batch += 1
                bar.update(len(batch))
                if signals.received:
                    progress.sums = sums.double().cpu()
                    raise Stopped(signals.received)
        progress.sums = sums.double().cpu()
        return {f"train_{name}": value for name, value in averages(progress.sums).items()}

    def validate(self, signals: Signals) -> tuple[dict[str, float], metrics.Thresholds]:
        """Scores of the validation rows -> metrics and thresholds."""
        labels = self.valid_set.labels  # type: ignore[attr-defined]
        names = self.valid_set.names  # type: ignore[attr-defined]
        precision, _ = scores.scoring_precision(self.config, self.device)

        def between() -> None:
            if signals.received:
                raise Stopped(signals.received)

        values, failures = scores.score(
            self.network,
            self.valid_loader,
            names,
            self.device,
            precision,
            self.config.channels_last,
            between,
        )
        self.note(failures)
        known = np.isfinite(values)
        result = metrics.evaluate(labels[known], values[known])
        if not math.isfinite(result["loss"]):
            raise UserError(
                "the validation loss is not a number: lower optimizer.lr, or set precision to fp32"
            )
        name = f"{int(known.sum())} validation faces of {self.rows.valid_name}"
        thresholds = metrics.fit_thresholds(labels[known], values[known], name)
        kept = ("loss", "accuracy", "precision", "recall", "auc")
        return {f"valid_{key}": result[key] for key in kept}, thresholds

    def end_epoch(self, values: dict[str, Any], thresholds: metrics.Thresholds) -> None:
        """Best so far and schedule; then the files, each written beside and renamed."""
        progress = self.progress
        progress.epoch, progress.batch = values["epoch"], 0
        progress.sums = torch.zeros(5, dtype=torch.float64)
        progress.history.append(values)
        improved = values["valid_loss"] < progress.best_loss
        if improved:
            progress.best_loss, progress.best_epoch = values["valid_loss"], progress.epoch
        self.schedule.after_epoch(values["valid_loss"])

        table = pd.DataFrame(progress.history).to_csv(index=False, lineterminator="\n")
        utils.write_atomic(self.run / "metrics.csv", table)
        plots.save_learning_curves(progress.history, self.run / "learning_curves.png")
        numbered = self.save(f"{progress.epoch:04d}.pth", thresholds)
        if improved:
            checkpoint.same_file(numbered, numbered.with_name("best.pth"))
        checkpoint.same_file(numbered, numbered.with_name("last.pth"))  # what it names is whole

    def note(self, failures: Iterable[Failure]) -> None:
        """Name and count rows that gave no sample; too many stop the run."""
        new = dict.fromkeys(f for f in failures if f not in self.failures)
        if new:
            self.failures |= new
            write_failures(self.run / "left_out.csv", list(self.failures), self.rows.home)
            total = len(self.rows.train) + len(self.rows.valid)
            check_share(self.failures, total, self.config.data.max_bad)

    def save(self, name: str, thresholds: metrics.Thresholds) -> Path:
        """Write a checkpoint of this moment into the run's checkpoints/."""
        config, progress = self.config, self.progress
        path = self.run / "checkpoints" / name
        state = checkpoint.describe_network(self.network, config) | {
            "thresholds": vars(thresholds),
            "weights": self.network.state_dict(),
            "config": config.model_dump(),
            "epoch": progress.epoch,
            "history": progress.history,
            "best": {"epoch": progress.best_epoch, "valid_loss": progress.best_loss},
            "data": {
                "train": "random pictures" if config.tmp_data else config.data.train,
                "valid": self.rows.valid_name,
                "rows": self.rows_hash,
            },
            "training": {
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
                "random": random_state(),
                "batch": progress.batch,
                "lr": progress.lr,
                "sums": progress.sums,
            },
            "versions": checkpoint.versions(),
        }
        checkpoint.save(path, state)
        return path

    def restore(self, state: dict[str, Any]) -> None:
        """Continue as if the run had never stopped."""
        training = state["training"]
        self.network.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.schedule.load_state_dict(training["scheduler"])
        self.scaler.load_state_dict(training["scaler"])
        set_random_state(training["random"])
        self.progress = Progress.of(state)


def samples(rows: Rows, config: Config) -> tuple[Dataset, Dataset]:
    """The training and the validation set."""
    if config.tmp_data:
        return (
            dataset.RandomFaces(config.tmp_data, config.seed),
            dataset.RandomFaces(config.tmp_data, config.seed + 1),
        )
    return dataset.training_set(rows.train, config), dataset.evaluation_set(rows.valid, config)


def batch_sums(
    loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """[loss, tp, fp, fn, tn] summed over a batch, so that an epoch is averaged over samples."""
    logits = logits.detach()
    called = logits[:, 0] > 0 if logits.shape[1] == 1 else logits[:, 1] > logits[:, 0]
    fake = labels == metrics.FAKE
    parts = (called & fake, called & ~fake, ~called & fake, ~called & ~fake)
    counts = [part.sum().to(dtype) for part in parts]
    return torch.stack([loss.detach().to(dtype) * len(labels), *counts])


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


def test_command(config: Config) -> str:
    """What to type next; a data.test that is not there has to be named."""
    command = f"python test.py --config_file {Path(config.prefix) / 'config.yaml'} --cam"
    there = config.tmp_data or (Path(config.data.test).exists() and config.data.test)
    return command if there else f"{command} --data.test YOUR_TEST.csv"


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


def _sum_type(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


if __name__ == "__main__":
    utils.run_command(main)
