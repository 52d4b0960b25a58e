"""The outcome of a test: its numbers, metrics.json, the console's blocks and the report page."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import metrics
import utils
from failures import Failure
from metrics import Summary, Thresholds
from report import page, plots

FORMAT = 1
"""Version of metrics.json."""


@dataclass(frozen=True)
class Tested:
    """What was tested on what. overlap: `checked`, or `unknown` where the checkpoint's list of its
    own rows is not beside it.
    """

    title: str
    data: str
    checkpoint: Path
    state: dict[str, Any]
    overlap: str
    configuration: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """Numbers at 0.5 with their intervals, and values at the threshold stored in the checkpoint."""

    summary: Summary
    at_stored: dict[str, float]
    thresholds: Thresholds
    failures: tuple[Failure, ...]
    labels: np.ndarray
    scores: np.ndarray


def evaluated(
    scores_file: Path, thresholds: Thresholds, failures: list[Failure], resamples: int
) -> Result:
    """Numbers of a scores.csv: what is reported is what was written."""
    frame = metrics.read_scores(scores_file)
    labels, scores = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
    at_stored = {}
    if np.isfinite(thresholds.threshold):
        at_stored = metrics.evaluate(labels, scores, thresholds.threshold)
    summary = metrics.summarise(frame, metrics.THRESHOLD, resamples)
    return Result(summary, at_stored, thresholds, tuple(failures), labels, scores)


def write_json(file: Path, result: Result, tested: Tested) -> None:
    """metrics.json: every number, for programs."""
    summary = result.summary
    content = {
        "format": FORMAT,
        "data": tested.data,
        "checkpoint": str(tested.checkpoint),
        "checkpoint_sha256": utils.sha256_file(tested.checkpoint),
        "overlap_with_training": tested.overlap,
        "n": summary.n,
        "real": summary.real,
        "fake": summary.fake,
        "left_out": len(result.failures),
        "threshold": summary.threshold,
        "values": summary.values,
        "intervals": summary.intervals,
        "intervals_by": summary.grouped_by,
        "groups": summary.groups,
        "confusion": summary.confusion,
        "stored_thresholds": vars(result.thresholds),
        "at_stored_threshold": {k: v for k, v in result.at_stored.items() if _moves(k)},
    }
    utils.write_atomic(file, json.dumps(_without_nan(content), indent=2) + "\n")


def stored_block(result: Result) -> str:
    """The console's lines about the validation's threshold."""
    limits, values = result.thresholds, result.at_stored
    if not values:
        return f" No threshold is stored ({limits.data}): it needs reals and fakes"
    lines = [f" At the threshold {limits.threshold:.4f}, from {limits.data}:"]
    for key in metrics.AT_THRESHOLD:
        lines.append(f"   {metrics.NAMES[key][0]:<15} : {metrics.show(values[key])}")
    return "\n".join(lines)


def write_report(
    file: Path,
    result: Result,
    tested: Tested,
    mistakes: list[page.Mistake],
    drawn: list[page.Heatmap],
) -> None:
    """report.html: everything about a test in one file."""
    summary, limits = result.summary, result.thresholds
    tn, fp, fn, tp = (summary.confusion[key] for key in ("tn", "fp", "fn", "tp"))
    persons = summary.groups if summary.grouped_by == "identity" else None
    verdict = [page.headline(tn, fp, fn, tp, persons=persons)]
    if tested.overlap != "checked":
        verdict.append(
            "Nobody could check whether the detector was trained on these very faces: the list of "
            "its training rows is not beside the checkpoint."
        )
    drawing = f"bootstrap over {summary.groups} groups by {summary.grouped_by}"
    page.write_page(
        file,
        page.Page(
            title=tested.title,
            verdict=verdict,
            n=summary.n,
            real=summary.real,
            fake=summary.fake,
            persons=persons,
            threshold=summary.threshold,
            intervals=drawing if summary.intervals else "",
            numbers=[_table_row(key, summary, result.at_stored) for key in metrics.NAMES],
            confusion=plots.confusion(tn, fp, fn, tp),
            histogram=plots.histogram(result.labels, result.scores, summary.threshold),
            roc=plots.roc(result.labels, result.scores),
            precision_recall=plots.precision_recall(result.labels, result.scores),
            learning_curves=plots.learning_curves(_history(tested)),
            mistakes=mistakes,
            heatmaps=drawn,
            failures=[page.Failure(f.path, f.reason) for f in result.failures],
            data=f"{tested.data}: {summary.n} faces",
            checkpoint=page.Checkpoint(
                str(tested.checkpoint),
                tested.state["epoch"],
                utils.sha256_file(tested.checkpoint),
                limits.threshold,
                limits.data,
            ),
            configuration=tested.configuration,
            commands=tested.commands,
        ),
    )


def _moves(key: str) -> bool:
    return key in metrics.AT_THRESHOLD


def _table_row(key: str, summary: Summary, at_stored: dict[str, float]) -> page.Number:
    name, meaning = metrics.NAMES[key]
    low, high = summary.intervals.get(key, (None, None))
    stored = at_stored.get(key) if _moves(key) else None
    return page.Number(name, summary.values[key], low, high, stored, meaning)


def _history(tested: Tested) -> list[dict[str, Any]]:
    """The run's epochs: of its metrics.csv, which goes on after the best, else the checkpoint's."""
    table, stored = tested.checkpoint.absolute().parent.parent / "metrics.csv", tested.state
    try:
        rows = pd.read_csv(table).to_dict("records")
        losses = [[row["valid_loss"] for row in epochs] for epochs in (rows, stored["history"])]
    except (OSError, ValueError, KeyError):  # not there, or not ours: the checkpoint knows its past
        return stored["history"]
    same_run = losses[0][: len(losses[1])] == losses[1]
    return rows if same_run else stored["history"]


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: an undefined number becomes null."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
