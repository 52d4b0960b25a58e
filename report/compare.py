"""Tested runs side by side: how their settings differ, and whether their numbers do, by more than
chance.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import intervals
import metrics
import utils
from failures import SHOWN
from flags import Compare
from metrics import NAMES
from report import page, plots, tables
from report.tables import Table, Value
from settings import flat, read_yaml
from utils import UserError

COMPARED = (
    "auc", "eer", "average_precision", "tpr_at_fpr_1", "tpr_at_fpr_5", "accuracy",
    "balanced_accuracy", "precision", "recall", "f1", "false_positive_rate", "log_loss", "brier",
)  # fmt: skip
"""Not the calibration error, which has no interval."""

LOWER_IS_BETTER = ("eer", "false_positive_rate", "log_loss", "brier")


@dataclass(frozen=True)
class Run:
    """A tested run. settings: dotted keys of its config.yaml; about: its metrics.json; both empty
    where they are not there.
    """

    name: str
    frame: pd.DataFrame
    settings: dict[str, Any]
    about: dict[str, Any]


@dataclass(frozen=True)
class ComparePage:
    """What compare.html shows."""

    title: str
    verdict: Sequence[str]
    settings: Table
    tables: Sequence[Table]
    notes: Sequence[str]
    roc: str
    runs: Sequence[Run]
    limits: str = page.LIMITS


def compare(given: Compare, say: Callable[[str], None] = print) -> None:
    """Compare the runs that are named with the first of them; writes compare.csv and compare.html.

    Raises UserError where a run has no scores, or where the runs share no row.
    """
    runs = [read_run(name) for name in given.compare]
    shared, notes = in_common(runs)
    different = settings_table(runs)
    found = [differences(shared[0], other, given.bootstrap) for other in shared[1:]]
    notes += what_chance_means(shared)
    out = Path(given.out)
    utils.write_atomic(out / "compare.csv", tables.csv(_records(shared, found)))
    shown = ComparePage(
        title=" and ".join(given.compare) + " compared",
        verdict=[_verdict(table) for table in found],
        settings=different,
        tables=found,
        notes=notes,
        roc=plots.rocs([(r.name, r.frame["label"], r.frame["score"]) for r in shared]),
        runs=runs,
    )
    page.write(out / "compare.html", "compare.html.jinja", shown)
    for table in (different, *found):
        say(tables.console(table) + "\n")
    say("\n".join(f" {note}" for note in notes))
    say(f" Written to {out / 'compare.csv'} and {out / 'compare.html'}")


# --------------------------------------------------------------------------------- inputs


def read_run(name: str) -> Run:
    """A run by its folder, or by the folder in it that holds a scores.csv."""
    scores = _first_file(Path(name, "test", "scores.csv"), Path(name, "scores.csv"))
    if scores is None:
        several = sorted(str(file.parent) for file in Path(name).glob("test/*/scores.csv"))
        raise UserError(
            f"{name}: tested on several collections: name the folder of one, as {several[0]}"
            if several
            else f"{name}: no test/scores.csv: name the folder of a run that test.py has tested"
        )
    try:
        frame = metrics.read_scores(scores)
    except ValueError as error:
        raise UserError(str(error)) from None
    above = scores.absolute().parents[:3]
    config = _first_file(*(folder / "config.yaml" for folder in above))
    settings = flat(read_yaml(str(config))) if config else {}
    return Run(name, frame, settings, _read_json(scores.with_name("metrics.json")))


def in_common(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs with the rows that all of them scored, in one order, and what was left out.

    A row is known by its path and box; rows that two runs label differently are left out.
    """
    keyed = [_keyed(run) for run in runs]
    rows = keyed[0].index
    for frame in keyed[1:]:
        rows = rows[rows.isin(frame.index)]
    labels = np.array([frame.loc[rows, "label"] for frame in keyed])
    same = (labels == labels[0]).all(axis=0)
    if not same.any():
        tested = "; ".join(f"{r.name}: {len(r.frame)} rows of {_tested_on(r)}" for r in runs)
        why = "no row with the same label" if len(rows) else "no row"
        raise UserError(f"the runs have {why} in common, so nothing can be compared: {tested}")
    rows = rows[same]
    shared = [
        replace(r, frame=f.loc[rows].reset_index(drop=True))
        for r, f in zip(runs, keyed, strict=True)
    ]
    notes = [f"{len(rows):,} faces in common.", *(_about(run) for run in runs)]
    if len(same) > len(rows):
        notes.append(f"{len(same) - len(rows):,} faces are left out: their labels differ.")
    if len({_tested_on(run) for run in runs}) > 1:
        notes.append("The data have different names: equal paths were taken as one face.")
    return shared, notes


# ----------------------------------------------------------------------------------- work


def settings_table(runs: Sequence[Run]) -> Table:
    """The settings that are not the same in all runs; a run's own folder always differs."""
    known = [run.settings for run in runs if run.settings]
    keys = dict.fromkeys(key for settings in known for key in settings if key != "prefix")
    rows = []
    for key in keys:
        values = [settings.get(key, "not set") for settings in known]
        if any(value != values[0] for value in values):
            cells = (str(run.settings.get(key, "not set" if run.settings else "?")) for run in runs)
            rows.append((key, *cells))
    notes = [f"{run.name}: no config.yaml was found." for run in runs if not run.settings]
    if not rows and len(known) > 1:
        notes.append("All settings are the same.")
    columns = {"key": "Setting", **{f"run_{i}": run.name for i, run in enumerate(runs, 1)}}
    return Table(columns, rows, "Settings that differ", notes)


def differences(first: Run, other: Run, resamples: int) -> Table:
    """The metrics of two runs over the same rows, and their difference: other less first."""
    both = (run.frame for run in (first, other))
    summaries = [metrics.summarise(frame, metrics.THRESHOLD, resamples) for frame in both]
    between = paired(first.frame, other.frame["score"].to_numpy(float), resamples)
    rows = []
    for key in COMPARED:
        one, two = (tables.of(summary, key) for summary in summaries)
        difference = Value(two.value - one.value, *between[key], signed=True)
        rows.append((NAMES[key][0], one, two, difference, beyond_chance(key, difference)))
    columns = {
        "metric": "Metric", "first": first.name, "other": other.name, "difference": "Difference",
        "verdict": "More than chance?",
    }  # fmt: skip
    return Table(columns, rows, f"{other.name} against {first.name}")


def paired(frame: pd.DataFrame, other: np.ndarray, resamples: int) -> dict[str, intervals.Interval]:
    """95 % intervals of a second detector's metrics less the first's, over the same rows.

    frame: rows with the first's scores. other: the second's, [n]. Both are measured in each draw of
    persons, so that what makes a draw hard for both does not count (paired bootstrap; Efron &
    Tibshirani 1993, chapter 8). NaN where a metric is undefined, or without two groups to draw.
    """
    labels, own = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
    groups, _ = metrics.grouping(frame)
    if resamples == 0 or len(np.unique(groups)) < 2:
        return dict.fromkeys(NAMES, intervals.NONE)
    one, two = metrics.measured(labels, own), metrics.measured(labels, other)

    def less(weights: np.ndarray) -> dict[str, np.ndarray]:
        before, after = one(weights), two(weights)
        return {name: after[name] - before[name] for name in NAMES}

    drawn = intervals.bootstrap(less, groups, resamples)
    return {name: _unless_blind(values) for name, values in drawn.items()}


def _unless_blind(values: np.ndarray) -> intervals.Interval:
    """The interval of a difference, NaN where each draw says the same and yet not 0: of so few
    groups the draws are blind, and an interval of no width would be certain of it.
    """
    interval = intervals.percentile(values)
    return intervals.NONE if intervals.are_equal(values) and any(interval) else interval


def beyond_chance(key: str, difference: Value) -> str:
    """Whether 0 lies outside the interval, in words."""
    if np.isnan(difference.low):
        return "unknown: no interval"
    if difference.low <= 0 <= difference.high:
        return "no" if difference.low < difference.high else "no: equal in every draw"
    better = (difference.low > 0) != (key in LOWER_IS_BETTER)
    return f"yes: {'better' if better else 'worse'}"


def what_chance_means(runs: Sequence[Run]) -> list[str]:
    """What a reader must know of the intervals."""
    unit = metrics.grouping(runs[0].frame)[1]
    notes = [
        f"Differences have 95 % intervals of a paired bootstrap by {unit}; one is more than chance "
        "where 0 lies outside.",
        "Of many such intervals about one in twenty misses the truth; nothing is corrected for the "
        "number of metrics.",
    ]
    if len(runs) > 2:
        notes.append(
            f"Nor is anything corrected for {len(runs) - 1} runs being compared with one: the more "
            "runs, the likelier that one looks better by luck."
        )
    return notes


# --------------------------------------------------------------------------- small pieces


def _keyed(run: Run) -> pd.DataFrame:
    """The rows by path and box, in which no face may stand twice."""
    key = run.frame["path"] + "\x1f" + run.frame.get("box", "")
    twice = key.duplicated()
    if twice.any():
        names = ", ".join(run.frame["path"][twice].head(SHOWN))
        raise UserError(f"{run.name}: its scores.csv names faces twice: {names}")
    return run.frame.set_index(key)


def _tested_on(run: Run) -> str:
    return str(run.about.get("data", "data that nobody recorded"))


def _about(run: Run) -> str:
    weights = run.about.get("checkpoint", "a checkpoint that nobody recorded")
    return f"{run.name}: {len(run.frame):,} faces of {_tested_on(run)}, by {weights}."


def _verdict(table: Table) -> str:
    """One sentence about the AUC, which no threshold decides."""
    _, first, other, *_ = table.columns.values()
    _, _, value, difference, words = table.rows[0]
    chance = {"yes": "more than chance", "no": "not more than chance"}
    said = chance.get(str(words).split(":")[0], "whether by chance, nobody can tell")
    return f"{other}: AUC {value}, a difference of {difference} to {first}: {said}."


def _records(runs: Sequence[Run], found: Sequence[Table]) -> list[dict[str, Any]]:
    """One row a run and metric, every digit."""
    rows: list[tuple[tables.Cell, ...]] = []
    for key, cells in zip(COMPARED, found[0].rows, strict=True):
        rows.append((runs[0].name, key, cells[1], Value(np.nan), "reference"))
    for run, table in zip(runs[1:], found, strict=True):
        for key, (_, _, value, difference, verdict) in zip(COMPARED, table.rows, strict=True):
            rows.append((run.name, key, value, difference, verdict))
    columns = ("run", "metric", "value", "difference", "more_than_chance")
    return tables.records(Table({name: name for name in columns}, rows))


def _first_file(*files: Path) -> Path | None:
    return next((file for file in files if file.is_file()), None)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged: the scores are what counts
        return {}
    return content if isinstance(content, dict) else {}
