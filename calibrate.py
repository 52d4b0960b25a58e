"""Calibrate: fit a checkpoint's limits anew, on rows that it was not trained on.

    python calibrate.py --config_file configs/ResNet.yaml --data.valid own.csv
    python calibrate.py --config_file configs/ResNet.yaml --tta flip
    python calibrate.py --config_file configs/release.yaml --films.frames 16
    python calibrate.py --config_file configs/SBI.yaml --members log/other/checkpoints/best.pth
    python calibrate.py --config_file configs/release.yaml --data.valid own.csv \\
        --test_checkpoint weights/detector.safetensors --out mine/detector.safetensors

For cameras whose reals score otherwise than those of its training, for another `tta`, and for
films where validation has only photographs: films are then made of them. The thresholds, the
temperature and what faces are usual are fitted; the weights stay. Writes
calibrated/best.safetensors into the run folder, or `out`, to test and to judge with, and beside it
rows.csv, by which test.py refuses a test on what trained or fitted it. With `members` the weights
of all of them, side by side in one network that answers with the mean of theirs.
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader
from tqdm import tqdm

import checkpoint
import dataset
import ensemble
import export
import manifest
import metrics
import processes as several
import rules
import scores
import seen
import thresholds
import utils
from batches import Batch
from faces.image import read_image
from failures import Failure, check_share, summary, write_failures
from flags import Calibrate
from manifest import FAKE, REAL
from networks import Detector
from processes import Processes
from report import tables
from settings import parse
from testing.films import Moment
from thresholds import Thresholds
from training.rows import Rows, require_classes, trained_and_validated
from training.thresholds import Fitted, fitted_thresholds
from training.usual import Reals
from utils import UserError


def main(argv: list[str]) -> int:
    config = parse(Calibrate, argv, __doc__)
    with contextlib.closing(several.join(config.device)) as processes:
        if processes.world > 1:
            raise UserError("calibrate.py runs in one process: start it without torchrun")
        return calibrate(config, processes)


def calibrate(config: Calibrate, processes: Processes) -> int:
    """One checkpoint with new limits, from its configuration to its file."""
    run = Path(config.prefix)
    best = config.test_checkpoint or run / "checkpoints" / "best.pth"
    files = [Path(name) for name in (best, *config.members)]
    target = Path(config.out or run / "calibrated" / "best.safetensors")
    refuse(config, files, target)
    state = ensemble.join(files, config.tta) if config.members else checkpoint.load(files[0])
    if config.half:
        state["weights"] = ensemble.in_half(state["weights"], " beside ".join(map(str, files)))
    chosen = to_calibrate(config)
    before = known_rows(chosen, config, files)
    for note in chosen.notes:
        warn(note)
    if config.rule != state["rule"]:
        warn(f"rule: {config.rule} is not used: the checkpoint's is {state['rule']}")

    valid, without = dataset.locate_faces(chosen.valid, config.data, config.face, processes.device)
    require_classes(valid, "calibration", fakes_on=False)
    counts = [int((valid["label"] == label).sum()) for label in (REAL, FAKE)]
    shares = config.limits.alarms, config.limits.misses
    if any(count * share < 1 for count, share in zip(counts, shares, strict=True)):
        warn(
            f"{counts[0]} reals and {counts[1]} fakes: of those limits.alarms {shares[0]:g}, or of "
            f"these limits.misses {shares[1]:g}, is less than one face: these limits are luck"
        )
    for source, count in few_of(valid, config.limits.alarms).items():
        warn(
            f"{count} reals of {source or 'no source'}: limits.alarms {config.limits.alarms:g} of "
            "them is less than one face: the limit lies at the highest of them, or above"
        )
    network = checkpoint.network_of(state)
    network.tta = config.tta or network.tta
    judge = Judge(config, network, processes, replace(chosen, valid=valid))
    fitted, aucs, failures = judge.fitted(state["rule"])

    left_out = [*chosen.left_out, *without, *failures]
    total = chosen.train["path"].nunique() + chosen.valid["path"].nunique()
    check_share(left_out, total + len(chosen.left_out), config.data.max_bad)
    write_failures(run / "calibrated" / "left_out.csv", left_out, chosen.home)
    new = with_limits(state, fitted, network.tta)
    write(target, files, new, before, judge.rows, config.data.cache)
    print(tables.console(before_and_after(state, new)))
    print(f" AUC now  : {', '.join(f'{unit} {auc}' for unit, auc in aucs.items())}")
    print(f" Pictures : {summary(left_out, run / 'calibrated' / 'left_out.csv')}")
    print(f" Written  : {target}")
    return 0


def few_of(rows: pd.DataFrame, alarms: float) -> dict[str, int]:
    """Sources whose reals set the upper limit, and of which none may lie above it -> how many."""
    counts = rows.loc[rows["label"] == REAL, "source"].value_counts()
    few = counts[(counts >= thresholds.FEW) & (counts * alarms < 1)]
    return {str(source): int(count) for source, count in few.sort_index().items()}


def warn(note: str) -> None:
    print(f"WARNING: {note}", file=sys.stderr)


# ----------------------------------------------------------------------------------- rows


def refuse(config: Calibrate, files: list[Path], target: Path) -> None:
    """Raise UserError, before hours of work, where it could not be written or would not fit."""
    states = [checkpoint.load(file) for file in files]
    for file, state in zip(files, states, strict=True):
        if against := checkpoint.contradictions(state, config):
            raise UserError(f"{file} contradicts the configuration:\n  " + "\n  ".join(against))
    if target.is_dir() or target.resolve() in [file.resolve() for file in files]:
        raise UserError(f"out {target} is there already: name another file")
    others = [*target.parent.glob("*.pth"), *target.parent.glob("*.safetensors")]
    rows = [] if target.is_file() else [*target.parent.glob(seen.ROWS_FILE)]
    if strangers := sorted({path.name for path in [*others, *rows]} - {target.name}):
        raise UserError(
            f"out {target}: {', '.join(strangers)} lies there, and each checkpoint needs a "
            f"{seen.ROWS_FILE} of its own beside it: name another folder"
        )
    if config.films.frames:
        try:
            rules.of_track(np.zeros(config.films.frames), states[0]["rule"])
        except rules.NoScore as none:
            raise UserError(f"films.frames {config.films.frames}: {none}: raise it") from None


def to_calibrate(config: Calibrate) -> Rows:
    """The rows of data.valid, else those that validate data.train; `train` is read for those."""
    name = config.data.valid or config.data.train
    if not name:
        raise UserError("nothing to calibrate on: name a CSV or a folder by --data.valid")
    whole = manifest.read(name, config.data.fake_label)
    valid = whole.split("val") if whole.has_splits else whole.rows
    if not config.data.valid and (len(valid) == 0 or not whole.has_splits):
        return trained_and_validated(config)  # split at random, or refused
    if len(valid) == 0:
        raise UserError(f"{name}: has splits, but no row of split `val`: give it some")
    left_out = whole.left_out("val") if whole.has_splits else whole.left_out()
    return Rows(valid.iloc[:0], valid, name, whole.home, left_out, whole.warnings)


def known_rows(rows: Rows, config: Calibrate, files: list[Path]) -> pd.DataFrame | None:
    """rows.csv of the checkpoints together, None where nobody knows what trained one of them,
    which is said.

    Raises UserError where one was trained on some of the rows.
    """
    of_each = [known_to(file, rows, config) for file in files]
    known = [one for one in of_each if one is not None]
    return reduce(seen.with_new, known) if len(known) == len(files) else None


def known_to(file: Path, rows: Rows, config: Calibrate) -> pd.DataFrame | None:
    """rows.csv of one checkpoint, as above."""
    state = checkpoint.load(file)
    before = seen.rows_of(file, state)
    if before is None:
        warn(
            f"{file.parent / seen.ROWS_FILE} is missing or another run's: nobody can tell whether "
            "this checkpoint was trained on these rows, nor will test.py know that they fitted it"
        )
    shared = seen.overlap(file, state, rows.valid, config.data.cache, validated=False)
    if shared:
        raise UserError(
            f"{rows.valid_name}: {file} was trained on some of these rows:\n  "
            + "\n  ".join(shared)
            + "\nname others by --data.valid"
        )
    return before


# --------------------------------------------------------------------------------- limits


@dataclass(frozen=True)
class Judge:
    """What scores validation rows, and fits what a checkpoint says of its scores."""

    config: Calibrate
    network: Detector
    processes: Processes
    rows: Rows

    def __post_init__(self) -> None:
        layout = scores.layout(self.config.channels_last)
        self.network.to(device=self.processes.device, memory_format=layout)  # type: ignore[call-overload]

    def fitted(self, rule: str) -> tuple[Fitted, dict[str, tables.Value], list[Failure]]:
        """The checkpoint's keys `thresholds`, `features`, and `video_thresholds` where there are
        films or some are made; the AUC of faces, and of made films; and what had no score.

        Raises UserError where too little is left to fit anything.
        """
        rows = self.rows.valid
        labels = rows["label"].to_numpy(int)
        loader = self.loader(rows)
        reals = Reals(self.network, loader, labels)
        values, failures = self.score(reals, rows, len(loader), "faces")
        fitted = fitted_thresholds(self.rows, labels, values, rule, self.config.limits)
        refuse_undefined(fitted["thresholds"])
        aucs = {"of faces": self.auc(rows, values)}
        fitted |= reals.fitted(self.processes, self.rows.valid_name)
        of_films = fitted.pop("video_thresholds", None)
        if of_films and Thresholds.of(of_films).defined:
            if self.config.films.frames:
                warn(
                    f"{self.rows.valid_name} has films of its own, which fit the limits of films: "
                    "films.frames is not used"
                )
            return fitted | {"video_thresholds": of_films}, aucs, failures
        if not self.config.films.frames:
            return fitted, aucs, failures
        of_films, auc, more = self.films(rule)
        named = {failure.path for failure in failures}
        failures += [failure for failure in more if failure.path not in named]
        fitted |= {"video_thresholds": of_films}
        return fitted, aucs | {"of made films": auc}, failures

    def auc(self, rows: pd.DataFrame, values: np.ndarray) -> tables.Value:
        """With its interval, of those that have a score."""
        known = np.isfinite(values)
        scored = rows[known].assign(score=values[known])
        return tables.of(metrics.summarise(scored, resamples=self.config.bootstrap), "auc")

    def films(self, rule: str) -> tuple[dict[str, Any], tables.Value, list[Failure]]:
        """Thresholds of films that are made of the photographs, `films.frames` moments each, their
        AUC, and the photographs that gave none, once each: one bad moment leaves a film out.
        """
        settings, rows = self.config.films, self.rows.valid
        rows = rows[rows["video"] == ""].reset_index(drop=True)
        each: list[np.ndarray] = []
        failures: dict[str, Failure] = {}
        for number in range(settings.frames):
            loader = self.loader(rows, Moment(number, settings))
            values, failed = self.score(loader, rows, len(loader), f"frame {number + 1}")
            each.append(values)
            failures |= {failure.path: failure for failure in failed}
        moments = np.reshape(each, (settings.frames, len(rows)))
        known = np.isfinite(moments).all(axis=0)
        values = np.array([rules.of_track(film, rule) for film in moments[:, known].T])
        name = f"{len(values)} films made of validation faces of {self.rows.valid_name}, by {rule}"
        made = (
            f"{settings.frames} frames each, H.264 CRF {settings.h264[0]:g} to "
            f"{settings.h264[1]:g}, shrunk to {settings.resize[0]:g} to {settings.resize[1]:g}, "
            f"moved by {settings.motion:g} %"
        )
        labels, sources = rows["label"].to_numpy(int), rows["source"].to_numpy()
        labels = labels[known]
        rates = self.config.limits.model_dump()
        limits = vars(thresholds.fit(labels, values, name, "video", sources[known], **rates))
        refuse_undefined(limits)
        auc = self.auc(rows[known], values)
        return limits | {"made": made}, auc, [*failures.values()]

    def loader(
        self, rows: pd.DataFrame, read: Callable[[str], np.ndarray] = read_image
    ) -> DataLoader:
        """Batches of the rows' faces, in order. read: how a file becomes a picture."""
        samples = dataset.evaluation_set(rows, self.config, read=read)
        return scores.loader_for(samples, self.config, self.processes.device)

    def score(
        self, loader: Iterable[Batch], rows: pd.DataFrame, batches: int, what: str
    ) -> tuple[np.ndarray, list[Failure]]:
        """Scores [n] of the rows, NaN where one failed, and what failed."""
        config, device = self.config, self.processes.device
        precision, _ = scores.scoring_precision(config, device)
        names, layout = rows["path"].tolist(), config.channels_last
        with tqdm(total=batches, desc=what, disable=not sys.stderr.isatty()) as bar:
            return scores.score(self.network, loader, names, device, precision, layout, bar.update)


def refuse_undefined(limits: dict[str, Any]) -> None:
    """Raise UserError where one class had no score, or where nothing had."""
    if not Thresholds.of(limits).defined:
        raise UserError(f"{limits['data']} fit no limits: it takes reals and fakes with a score")


def with_limits(state: dict[str, Any], fitted: Fitted, tta: str) -> dict[str, Any]:
    """The checkpoint with what was fitted. Its `features` stay where the reals are too few for new
    ones: they are the network's, whatever scores it. Limits of films do not: they were others'.
    """
    kept = {key: value for key, value in state.items() if key != "video_thresholds"}
    return kept | fitted | {"tta": tta}


# ---------------------------------------------------------------------------------- files


def write(
    target: Path,
    files: list[Path],
    state: dict[str, Any],
    before: pd.DataFrame | None,
    rows: Rows,
    cache: str,
) -> None:
    """The checkpoint and its rows.csv; where one cannot be written, both stay as they were.

    before: what trained and validated the old one; None: nobody knows, and there is no rows.csv.
    """
    network, beside = checkpoint.network_of(state), target.parent
    sha256 = "+".join(utils.sha256_file(file) for file in files)
    beside.mkdir(parents=True, exist_ok=True)
    if before is None:
        export.write(target, network, with_rows(state, ""), sha256)
        (beside / seen.ROWS_FILE).unlink(missing_ok=True)  # an earlier calibration's
        return
    mine = seen.as_rows(seen.row_hashes(rows.valid.assign(split="val"), cache))
    text = seen.with_new(before, mine).to_csv(index=False, lineterminator="\n")
    with utils.atomic_path(beside / seen.ROWS_FILE) as part:
        part.write_bytes(text.encode())
        export.write(target, network, with_rows(state, utils.sha256_text(text)), sha256)


def with_rows(state: dict[str, Any], sha256: str) -> dict[str, Any]:
    return state | {"data": state["data"] | {"rows": sha256}}


def before_and_after(old: dict[str, Any], new: dict[str, Any]) -> tables.Table:
    """The limits that the checkpoint had, and those that it has."""
    columns = {"limits": "", "t_low": "No signs below", "threshold": "Equal error"}
    columns |= {"t_high": "Signs above", "temperature": "Temperature", "data": "From"}
    rows: list[tuple[tables.Cell, ...]] = []
    for key, unit in (("thresholds", "faces"), ("video_thresholds", "films")):
        for state, name in ((old, "before"), (new, "now")):
            numbers, data = [math.nan] * 4, "none: films are judged by those of faces"
            if key in state:
                known = Thresholds.of(state[key])
                numbers = [known.t_low, known.threshold, known.t_high, known.temperature]
                data = known.data
            rows.append((f"{unit}, {name}", *map(tables.Value, numbers), data))
    return tables.Table(columns, rows, "Limits")


if __name__ == "__main__":
    utils.run_command(main)
