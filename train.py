"""Train one network from one YAML: the whole loop, to be read from top to bottom.

    python train.py --config_file configs/ResNet.yaml --device cpu
    python train.py --config_file configs/ResNet.yaml --optimizer.lr=3e-4 --prefix ./log/lr3e-4
    python train.py --config_file configs/ResNet.yaml --checkpoint log/ResNet/checkpoints/0003.pth
    python train.py --help

Writes into the run folder (`prefix`): config.yaml, log.txt, metrics.csv, learning_curves.png,
left_out.csv, and checkpoints/ with 0001.pth ..., best.pth, last.pth. The same command continues
an interrupted run; the result is the one that an uninterrupted run would have had.
"""

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import checkpoint
import dataset
import metrics
import networks
import processes as several
import scores
import seen
import utils
from batches import Batch, make_loader
from failures import NO_SCORE
from flags import Config, Tracking
from networks import Detector
from processes import Processes
from report import plots, tracking
from settings import dump, parse
from training.console import (
    averages,
    best_line,
    data_block,
    epoch_line,
    network_block,
    test_command,
)
from training.left_out import LeftOut
from training.loss import class_weights
from training.optimizer import Schedule, make_optimizer
from training.resume import (
    Progress,
    alone_in,
    badness,
    continuing_words,
    finished_words,
    is_finished,
    random_state,
    restore_training,
    resume_state,
    should_end,
    training_state,
)
from training.rows import Rows, find_their_faces, labels_of, read_rows, samples
from training.signals import Signals, Stopped
from training.step import NotANumber, Step, sum_type
from training.thresholds import NOT_FITTED, Fitted, fitted_thresholds
from training.usual import Reals
from utils import UserError

MOST_ROLLBACKS, ROLLBACK_FACTOR = 3, 0.1


def main(argv: list[str]) -> int:
    config = parse(Config, argv, __doc__)
    processes = several.join(config.device)
    with contextlib.closing(processes), alone_in(Path(config.prefix), processes.first):
        return train(config, processes)


def train(config: Config, processes: Processes) -> int:
    """One run from its configuration to its end, in one of its processes."""
    run, device = Path(config.prefix), processes.device
    processes.check_batch(config.batch_size)
    precision, why = utils.pick_precision(config.precision, device)
    began_from, state = resume_state(config, run) or (None, None)
    processes.wait()  # nobody writes before all have looked
    if state and is_finished(state, config):
        if processes.first:
            print(finished_words(state, config))
        return 0
    rows = read_rows(config)
    utils.seed_everything(config.seed)
    torch.backends.cudnn.benchmark = True  # pictures have one size: let a GPU pick its fastest
    wanted = config.network, config.model, config.data.num_classes, config.dropout_rate
    network = processes.first_then_others(lambda: networks.build(*wanted, config.input_size))
    if not processes.first:
        torch.manual_seed(config.seed + processes.rank)  # each process its own dropout

    log = utils.console(run / "log.txt" if processes.first else None, processes.first)
    log.info("-" * 32 + f"\nRunning {config.network} on device {device.type}\n")
    log.info(utils.environment_block(device, config.seed, why, processes.world))
    rows = processes.first_then_others(lambda: find_their_faces(rows, config, device))
    rows_hash = begin(config, rows, state, began_from) if processes.first else ""
    log.info(data_block(config, rows))
    log.info(network_block(config, network))
    trainer = Trainer(config, network, rows, rows_hash, precision, processes, log.info)
    if state:
        trainer.restore(state)
        log.info(continuing_words(state, config, trainer.progress))
    trackers = tracking.start(
        config.tracking if processes.first else Tracking(wandb="off"),
        run_dir=run,
        name=run.name,
        config=config.model_dump(),
        say=log.info,
        resume=state is not None,
    )
    try:
        with Signals() as signals:
            trainer.fit(trackers, signals)
    except Stopped as stop:
        log.info(f"Stopped by {signal.Signals(stop.args[0]).name}; the same command continues.")
        return 128 + int(stop.args[0])
    finally:
        trackers.close()
    log.info(f"\nTest it: {test_command(config)}")
    return 0


def begin(config: Config, rows: Rows, state: dict[str, Any] | None, began_from: Path | None) -> str:
    """Write what the run is about into its folder; returns the hash of its rows.

    Raises UserError where training and validation share a picture, or where a run that is to be
    continued had other rows.
    """
    run = Path(config.prefix)
    hashes = seen.row_hashes(rows.used, config.data.cache)
    seen.refuse_same_pictures(hashes)
    if state and state["data"]["rows"] != utils.sha256_text(hashes):
        raise UserError(
            f"{run}: the pictures or the split of data.train changed since this run began: "
            "choose another --prefix"
        )
    for left in (*run.glob(".*.part"), *(run / "checkpoints").glob(".*.part")):
        left.unlink()  # of a process that was killed
    if state and began_from:
        checkpoint.adopt(state, began_from, run / "checkpoints")
    utils.write_atomic(run / "config.yaml", dump(config))
    utils.write_atomic(run / "checkpoints" / seen.ROWS_FILE, hashes)
    return utils.sha256_text(hashes)


class Trainer:
    """What one run needs; `fit` is the loop."""

    def __init__(
        self,
        config: Config,
        network: Detector,
        rows: Rows,
        rows_hash: str,
        precision: torch.dtype,
        processes: Processes,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.rows, self.rows_hash = config, rows, rows_hash
        self.processes, self.device, self.say = processes, processes.device, say
        self.run = Path(config.prefix)
        layout = scores.layout(config.channels_last)
        self.network = network.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]
        self.train_set, self.valid_set = samples(rows, config)
        self.order = dataset.training_order(self.train_set, rows.train, config, processes)
        workers, pin = config.num_workers, self.device.type == "cuda"
        self.train_loader = make_loader(self.train_set, self.order, workers, pin)
        self.valid_loader = scores.loader_for(self.valid_set, config, self.device, processes)
        self.optimizer = make_optimizer(network, config)
        self.schedule = Schedule(self.optimizer, config, steps=len(self.order))
        drawn = self.order.cells, self.order.power
        weights = class_weights(labels_of(self.train_set), config.loss, config.fakes, *drawn)
        self.step = Step(network, self.optimizer, config, weights, precision, processes, say)
        self.progress = Progress()
        self.left_out = LeftOut(rows, config, processes)
        self.saved_at = time.monotonic()

    def fit(self, trackers: tracking.Trackers, signals: Signals) -> None:
        """Epochs until all are done or early stopping ends them; raises Stopped on a signal."""
        config, progress = self.config, self.progress
        started = time.monotonic()
        finished = False
        start = f"{progress.epoch:04d}.pth"
        there = (self.run / "checkpoints" / start).exists()
        if config.saving.on_nan == "roll_back" and progress.batch == 0 and not there:
            self.save(start)  # what this epoch can go back to
        while not finished:
            epoch = progress.epoch + 1
            try:
                values = {"epoch": epoch, **self.train_epoch(epoch, signals)}
                valid_values, fitted = self.validate(signals)
            except Stopped:
                self.save("last.pth")
                raise
            except NotANumber as error:
                self.roll_back(str(error))
                progress = self.progress
                continue
            values |= valid_values | {"lr": progress.lr}
            self.end_epoch(values, fitted)
            trackers.log(epoch, {key: float(value) for key, value in values.items()})
            finished = should_end(config, epoch, progress.best_epoch)
            if epoch % config.print_epochs == 0 or finished:
                self.say(epoch_line(values, config.num_epochs, time.monotonic() - started))
        trackers.summary({"best_epoch": progress.best_epoch, "best_valid_loss": progress.best_loss})
        trackers.picture("learning_curves", self.run / "learning_curves.png")
        trackers.artifact(self.run / "checkpoints")
        self.say(best_line(progress, config.saving.best, self.run))
        if self.left_out.told:
            self.say(self.left_out.told)

    def train_epoch(self, epoch: int, signals: Signals) -> dict[str, float]:
        """One pass over the training rows, from the batch where an interrupted one stopped."""
        progress, config = self.progress, self.config
        self.step.begin(epoch)
        if progress.batch == 0:
            progress.lr = self.schedule.lr
        self.order.epoch, self.order.start = epoch, progress.batch
        sums = progress.sums.to(self.device, sum_type(self.device))
        total = max(0, self.order.count - progress.batch * self.order.batch_size)
        quiet = not (sys.stderr.isatty() and self.processes.first)
        waiting: list[Batch] = []
        left = len(self.order)
        with tqdm(
            total=total, desc=f"Epoch {epoch}", unit="img", leave=False, disable=quiet
        ) as bar:
            for batch in self.train_loader:
                self.left_out.note(batch.failures)
                waiting.append(batch)
                left -= 1
                bar.update(len(torch.unique(batch.rows)) * self.processes.world)  # pairs: once
                if len(waiting) < config.optimizer.accumulate and left:
                    continue
                done = self.step(waiting, progress.batch)
                sums = sums if done is None else sums + done
                for _ in waiting:
                    self.schedule.after_batch()
                progress.batch += len(waiting)
                waiting = []
                self.stop_or_save(sums, signals)
        progress.sums = self.processes.sum(sums.cpu().double())
        self.step.check(progress.sums)
        self.left_out.share()
        _, tp, fp, fn, tn = progress.sums.tolist()
        self.left_out.refuse_one_class(epoch, reals=fp + tn, fakes=tp + fn)
        return {f"train_{name}": value for name, value in averages(progress.sums).items()}

    def stop_or_save(self, sums: torch.Tensor, signals: Signals) -> None:
        """Between two steps: end on a signal, or save an epoch that takes long."""
        minutes = self.config.saving.minutes
        due = minutes > 0 and time.monotonic() - self.saved_at >= 60 * minutes
        told = self.processes.gather_numbers(signals.received, int(due))
        received = max(signal for signal, _ in told)
        if received or told[0][1]:
            whole = self.processes.sum(sums.cpu().double())
            mine, self.progress.sums = self.progress.sums, whole
            if received:
                raise Stopped(received)
            self.save("last.pth")
            self.progress.sums = mine

    def validate(self, signals: Signals) -> tuple[dict[str, float], Fitted]:
        """Scores of the validation rows -> metrics and thresholds."""
        labels = labels_of(self.valid_set)
        precision, _ = scores.scoring_precision(self.config, self.device)
        self.processes.same_buffers(self.network)
        self.processes.same_buffers(self.step.evaluated)
        reals = Reals(self.step.evaluated, self.valid_loader, labels)
        values, failures = scores.score(
            self.step.evaluated,
            reals,
            self.valid_set.names,  # type: ignore[attr-defined]
            self.device,
            precision,
            self.config.channels_last,
            stop=lambda: signals.received,
            processes=self.processes,
        )
        if received := max(one[0] for one in self.processes.gather_numbers(signals.received)):
            raise Stopped(received)
        bad = [failure for failure in failures if failure.kind == NO_SCORE]
        known = np.isfinite(values)
        result = metrics.evaluate(labels[known], values[known])
        if bad or not math.isfinite(result["loss"]):
            raise NotANumber("the network's answer to validation faces is not a number")
        self.left_out.note(failures, training=False)
        fitted = fitted_thresholds(self.rows, labels, values, self.config.rule, self.config.limits)
        fitted |= reals.fitted(self.processes, self.rows.valid_name)
        kept = {"loss", "accuracy", "precision", "recall", "auc"}
        kept.add(self.config.saving.best.removeprefix("valid_"))
        return {f"valid_{key}": result[key] for key in result if key in kept}, fitted

    def end_epoch(self, values: dict[str, Any], fitted: Fitted) -> None:
        """Best so far and schedule; then the files, each written beside and renamed."""
        progress, watched = self.progress, self.config.saving.best
        progress.epoch, progress.batch = values["epoch"], 0
        progress.sums = torch.zeros(5, dtype=torch.float64)
        progress.history.append(values)
        now = badness(watched, values[watched])
        # Among equals, as two epochs with an AUC of 1, the loss decides.
        before = badness(watched, progress.best_value), progress.best_loss
        improved = progress.best_epoch == 0 or (now, values["valid_loss"]) < before
        if improved:
            progress.best_value, progress.best_epoch = values[watched], progress.epoch
            progress.best_loss = values["valid_loss"]
        self.schedule.after_epoch(now)
        numbered = self.save(f"{progress.epoch:04d}.pth", fitted)
        if not self.processes.first:
            return
        utils.write_atomic(self.run / "metrics.csv", utils.csv_text(pd.DataFrame(progress.history)))
        curves = self.run / "learning_curves.png"
        plots.save_learning_curves(progress.history, progress.best_epoch, curves)
        if improved:
            checkpoint.same_file(numbered, numbered.with_name("best.pth"))
        checkpoint.same_file(numbered, numbered.with_name("last.pth"))  # what it names is whole
        checkpoint.keep_newest(numbered.parent, self.config.saving.keep)

    def roll_back(self, reason: str) -> None:
        """Back to the last finished epoch with a tenth of the learning rate, or out."""
        config, progress = self.config, self.progress
        remedy = (
            "in a new run (--prefix) lower optimizer.lr, or set optimizer.clip_norm to 1, or "
            "precision to fp32"
        )
        if config.saving.on_nan == "stop":
            epoch = progress.epoch + 1
            raise UserError(f"epoch {epoch}: {reason}: {remedy}; best.pth is untouched")
        if progress.rollbacks == MOST_ROLLBACKS:
            raise UserError(f"{reason}, after {MOST_ROLLBACKS} times back to an epoch: {remedy}")
        times = progress.rollbacks + 1
        file = self.run / "checkpoints" / f"{progress.epoch:04d}.pth"
        if not file.exists():
            raise UserError(f"{reason}, and {file}, to go back to, is not there: {remedy}")
        self.restore(checkpoint.load(file))
        self.schedule.scale(ROLLBACK_FACTOR ** (times - self.progress.rollbacks))
        self.progress.rollbacks = times
        self.say(
            f"Epoch {self.progress.epoch + 1}: {reason}: back to the end of epoch "
            f"{self.progress.epoch} with learning rate {self.schedule.lr:g}"
        )
        self.save("last.pth")

    def save(self, name: str, fitted: Fitted = NOT_FITTED) -> Path:
        """Write a checkpoint of this moment into the run's checkpoints/.

        fitted: its thresholds, where this moment has been validated.
        """
        config, progress, step = self.config, self.progress, self.step
        path = self.run / "checkpoints" / name
        self.saved_at = time.monotonic()
        of_all = self.processes.gather(random_state()), self.left_out.state()
        self.left_out.write()
        if not self.processes.first:
            return path
        state = checkpoint.describe_network(self.network, config) | {
            **fitted,
            "weights": step.evaluated.state_dict(),
            "config": config.model_dump(),
            "epoch": progress.epoch,
            "history": progress.history,
            "best": {
                "epoch": progress.best_epoch,
                "valid_loss": progress.best_loss,
                "metric": config.saving.best,
                "value": progress.best_value,
            },
            "data": {
                "train": "random pictures" if config.tmp_data else config.data.train,
                "valid": self.rows.valid_name,
                "rows": self.rows_hash,
                "unsafe_split": self.rows.unsafe_split,
                "files": self.rows.files,
            },
            "training": training_state(step, self.optimizer, self.schedule, progress, *of_all),
            "versions": checkpoint.versions(),
        }
        checkpoint.save(path, state)
        return path

    def restore(self, state: dict[str, Any]) -> None:
        """Continue as if the run had never stopped."""
        restore_training(state, self.step, self.optimizer, self.schedule, self.processes)
        self.left_out.restore(state["training"].get("left_out", ()))
        self.progress = Progress.of(state, self.processes.first)


if __name__ == "__main__":
    utils.run_command(main)
