"""Calibrate: fit a checkpoint's thresholds and temperature anew, and change nothing else of it.

    python calibrate.py --config_file configs/ResNet.yaml --data.valid own.csv
    python calibrate.py --config_file configs/ResNet.yaml --tta flip
    python calibrate.py --config_file configs/release.yaml --films.frames 8
    python calibrate.py --config_file FILE --test_checkpoint A.safetensors --out b/A.safetensors

For cameras whose reals score otherwise than those of its training, for another `tta`, and for
films where validation has only photographs: films are then made of them. Rows that the checkpoint
was trained on are refused. Writes calibrated/best.pth into the run folder, or `out`, and beside it
rows.csv, so that test.py refuses a test on what fitted it, and left_out.csv.
"""

import contextlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

import checkpoint
import dataset
import export
import manifest
import processes as several
import rules
import scores
import seen
import thresholds
import utils
from batches import Batch
from failures import Failure, check_share, summary, write_failures
from flags import Calibrate
from networks import Detector
from processes import Processes
from report import tables
from settings import parse
from testing.films import Moment
from training.rows import Rows, read_rows, require_classes
from training.thresholds import Fitted, fitted_thresholds
from training.usual import Reals
from utils import UserError

FITTED = ("thresholds", "video_thresholds", "features")
"""The keys of a checkpoint that are fitted here, all of them by its `tta`."""


def main(argv: list[str]) -> int:
    config = parse(Calibrate, argv, __doc__)
    with contextlib.closing(several.join(config.device)) as processes:
        if processes.world > 1:
            raise UserError("calibrate.py runs in one process: start it without torchrun")
        return calibrate(config, processes)


def calibrate(config: Calibrate, processes: Processes) -> int:
    """One checkpoint with new limits, from its configuration to its file."""
    run = Path(config.prefix)
    file = Path(config.test_checkpoint or run / "checkpoints" / "best.pth")
    target = Path(config.out or run / "calibrated" / "best.pth")
    state = checkpoint.load(file)
    refuse(config, file, target, state)
    rows = with_faces(to_calibrate(config, file, state), config, processes)
    network = checkpoint.network_of(state)
    network.tta = config.tta or network.tta
    judge = Judge(config, network, processes, rows)

    fitted, failures = judge.faces(state["rule"])
    left_out = (*rows.left_out, *failures)
    check_share(left_out, len(rows.valid) + len(rows.left_out), config.data.max_bad)
    if config.films.frames:
        if "video_thresholds" in fitted:
            raise UserError(f"{rows.valid_name} has films of its own: leave films.frames at 0")
        fitted["video_thresholds"] = judge.films(state["rule"])

    target.parent.mkdir(parents=True, exist_ok=True)
    hashed = write_rows(target.parent / seen.ROWS_FILE, file, state, rows, config.data.cache)
    kept = {key: value for key, value in state.items() if key not in FITTED}
    new = kept | fitted | {"tta": network.tta}
    new["data"] = state["data"] | {"valid": rows.valid_name} | hashed
    if target.suffix == ".pth":
        checkpoint.save(target, new)
    else:
        export.write(target, checkpoint.network_of(new), new, utils.sha256_file(file))
    write_failures(target.parent / "left_out.csv", left_out, rows.home)
    print(tables.console(before_and_after(state, new)))
    print(f" Pictures : {summary(left_out, target.parent / 'left_out.csv')}")
    print(f" Written  : {target}")
    return 0


# ----------------------------------------------------------------------------------- rows


def refuse(config: Calibrate, file: Path, target: Path, state: dict[str, Any]) -> None:
    """Raise UserError where the checkpoint is another network's, or its files would be lost."""
    if against := checkpoint.contradictions(state, config):
        raise UserError(f"{file} contradicts the configuration:\n  " + "\n  ".join(against))
    if target.parent.resolve() == file.parent.resolve():
        raise UserError(
            f"out {target}: the {seen.ROWS_FILE} of {file} lies there: name another folder"
        )
    if not state["training"] and target.suffix == ".pth":
        raise UserError(
            f"{file} holds the weights and not the training that a .pth has: name "
            f"--out {target.with_suffix('.safetensors')}"
        )


def to_calibrate(config: Calibrate, file: Path, state: dict[str, Any]) -> Rows:
    """The rows of data.valid, else those that validate data.train.

    Raises UserError where the checkpoint was trained on some of them.
    """
    data = config.data
    if data.valid:
        whole = manifest.read(data.valid, data.fake_label)
        splits = ("val",) if whole.has_splits else ()
        valid = whole.split("val") if whole.has_splits else whole.rows
        rows = Rows(valid.iloc[:0], valid, data.valid, whole.home, whole.left_out(*splits))
    else:
        rows = replace(read_rows(config), left_out=())
    shared = seen.overlap(file, state, rows.valid, data.cache, sides=("train",))
    if shared:
        raise UserError(
            f"{rows.valid_name}: {file} was trained on some of these rows:\n  "
            + "\n  ".join(shared)
            + "\nname others by --data.valid"
        )
    if shared is None:
        print(
            f"WARNING: {file.parent / seen.ROWS_FILE} is missing or another run's: nobody "
            "can tell whether this checkpoint was trained on these rows",
            file=sys.stderr,
        )
    return rows


def with_faces(rows: Rows, config: Calibrate, processes: Processes) -> Rows:
    """The same rows with their faces found; pictures that gave none are left out and named."""
    valid, without = dataset.locate_faces(rows.valid, config.data, config.face, processes.device)
    require_classes(valid, "calibration", fakes_on=False)
    return replace(rows, valid=valid, left_out=(*rows.left_out, *without))


def write_rows(
    target: Path, file: Path, state: dict[str, Any], rows: Rows, cache: str
) -> dict[str, str]:
    """rows.csv of the new checkpoint, and its hash for `data`: what trained and validated the old
    one, and what fitted the new. Nothing where nobody knows what trained it.
    """
    before = seen.rows_of(file, state)
    if before is None:
        target.unlink(missing_ok=True)  # an earlier calibration's
        return {}
    text = seen.row_hashes(rows.valid.assign(split="val"), cache)
    both = pd.concat([before, seen.as_rows(text)]).drop_duplicates()
    whole = both.to_csv(index=False, lineterminator="\n")
    utils.write_atomic(target, whole)
    return {"rows": utils.sha256_text(whole)}


# --------------------------------------------------------------------------------- limits


@dataclass(frozen=True)
class Judge:
    """What scores the rows, and fits what a checkpoint says of its scores."""

    config: Calibrate
    network: Detector
    processes: Processes
    rows: Rows

    def __post_init__(self) -> None:
        layout = scores.layout(self.config.channels_last)
        self.network.to(device=self.processes.device, memory_format=layout)  # type: ignore[call-overload]

    @property
    def labels(self) -> np.ndarray:
        return self.rows.valid["label"].to_numpy(int)

    def faces(self, rule: str) -> tuple[Fitted, list[Failure]]:
        """FITTED of the faces as they are, and of the videos among them, as train.py does it."""
        samples = dataset.evaluation_set(self.rows.valid, self.config)
        loader = scores.loader_for(samples, self.config, self.processes.device)
        reals = Reals(self.network, loader, self.labels)
        values, failures = self.score(reals, len(loader), "faces")
        fitted = fitted_thresholds(self.rows, self.labels, values, rule)
        return fitted | reals.fitted(self.processes, self.rows.valid_name), failures

    def films(self, rule: str) -> dict[str, Any]:
        """Thresholds of films that are made of the faces, `films.frames` moments each.

        A film of which a moment has no score is not counted.
        """
        settings = self.config.films
        frames = []
        for number in range(settings.frames):
            samples = dataset.evaluation_set(
                self.rows.valid, self.config, read=Moment(number, settings)
            )
            loader = scores.loader_for(samples, self.config, self.processes.device)
            values, _ = self.score(loader, len(loader), f"frame {number + 1}")
            frames.append(values)
        each = np.stack(frames, axis=1)
        known = np.isfinite(each).all(axis=1)
        try:
            values = np.array([rules.of_track(film, rule) for film in each[known]])
        except rules.NoScore as none:
            raise UserError(f"films.frames {settings.frames}: {none}: raise it") from None
        name = (
            f"{len(values)} films of {settings.frames} frames made of validation faces of "
            f"{self.rows.valid_name}, H.264 CRF {settings.h264[0]:g} to {settings.h264[1]:g}, "
            f"shrunk to {settings.resize[0]:g} to {settings.resize[1]:g}, by {rule}"
        )
        sources = self.rows.valid["source"].to_numpy()
        fitted = thresholds.fit(self.labels[known], values, name, "video", sources[known])
        return vars(fitted)

    def score(
        self, loader: Iterable[Batch], batches: int, what: str
    ) -> tuple[np.ndarray, list[Failure]]:
        """Scores [n] of the rows, NaN where one failed, and what failed."""
        config, device = self.config, self.processes.device
        precision, _ = scores.scoring_precision(config, device)
        names = self.rows.valid["path"].tolist()
        with tqdm(total=batches, desc=what, disable=not sys.stderr.isatty()) as bar:
            return scores.score(
                self.network, loader, names, device, precision, config.channels_last, bar.update
            )


def before_and_after(old: dict[str, Any], new: dict[str, Any]) -> tables.Table:
    """The limits that the checkpoint had, and those that it has."""
    columns = {"limits": "", "t_low": "No signs below", "threshold": "Equal error"}
    columns |= {"t_high": "Signs above", "temperature": "Temperature", "data": "From"}
    rows: list[tuple[tables.Cell, ...]] = []
    for name, state in (("before", old), ("now", new)):
        for key, unit in (("thresholds", "faces"), ("video_thresholds", "films")):
            if key not in state:
                continue
            known = thresholds.Thresholds.of(state[key])
            numbers = (known.t_low, known.threshold, known.t_high, known.temperature)
            cells = [tables.Value(number) for number in numbers]
            rows.append((f"{unit}, {name}", *cells, known.data))
    return tables.Table(columns, rows, "Limits")


if __name__ == "__main__":
    utils.run_command(main)
