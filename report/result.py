"""The outcome of a test: its numbers, the console's blocks, metrics.json and the report page."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import checkpoint
import curves
import judging
import metrics
import scores
import utils
from failures import Failure
from metrics import Summary
from report import page, plots, subgroups, tables
from report.levels import (
    CALIBRATED,
    Level,
    Videos,
    calibration,
    judged,
    of_videos,
    stored_block,
    videos_block,
)
from report.robustness import Robustness
from report.tables import Table
from thresholds import NO_THRESHOLDS, Thresholds

FORMAT = 1
"""Version of metrics.json."""

MEMBERS = "Several networks side by side: each has learning curves of its own, beside its own test."
"""What stands for the learning curves of a checkpoint of several."""


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
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know, as that the split was unsafe."""


@dataclass(frozen=True)
class Result:
    """The faces; the videos that they come from, where they name any; parts of the faces."""

    faces: Level
    videos: Videos | None
    subgroups: tuple[Table, ...]
    failures: tuple[Failure, ...]
    """Pictures without a score."""

    @property
    def parts(self) -> tuple[Table, ...]:
        """Subgroups of faces, then of videos."""
        return (*self.subgroups, *(self.videos.subgroups if self.videos else ()))

    @property
    def without_score(self) -> list[Failure]:
        """Pictures, then videos."""
        return [*self.failures, *(self.videos.failures if self.videos else ())]


def evaluated(
    scores_file: Path,
    state: dict[str, Any],
    failures: list[Failure],
    resamples: int,
    by: list[str] | tuple[str, ...] = (),
    home: Path = Path(),
) -> Result:
    """Numbers of a scores.csv: what is reported is what was written.

    state: the checkpoint, whose rule and thresholds count. by: columns for subgroups. home: the
    folder that its paths are relative to.
    """
    frame = metrics.read_scores(scores_file)
    limits, of_video = (_thresholds(state, key) for key in ("thresholds", "video_thresholds"))
    verdicts = judging.limits_of(state, film=True)
    return Result(
        replace(judged(frame, limits, resamples, "faces"), home=home),
        of_videos(frame, state["rule"], of_video, resamples, verdicts, by),
        tuple(subgroups.broken_down(frame, by, resamples)),
        tuple(failures),
    )


def write_videos(file: Path, result: Result) -> None:
    """video_scores.csv, one row a video; one of an earlier test goes where there are none."""
    if result.videos is None:
        file.unlink(missing_ok=True)
    else:
        scores.write_videos(file, result.videos.level.frame)


def blocks(result: Result) -> str:
    """What the console says of the numbers."""
    text = [metrics.block(result.faces.summary), stored_block(result.faces)]
    if result.videos:
        text.append("\n" + videos_block(result.videos, len(result.faces.frame)))
    return "\n".join([*text, *("\n" + tables.console(table) for table in result.parts)])


def write_json(file: Path, result: Result, tested: Tested) -> None:
    """metrics.json: every number, for programs."""
    content = {
        "format": FORMAT,
        "data": tested.data,
        "checkpoint": str(tested.checkpoint),
        "checkpoint_sha256": utils.sha256_file(tested.checkpoint),
        "overlap_with_training": tested.overlap,
        "notes": list(tested.notes),
        "left_out": len(result.failures),
        "tta": tested.state.get("tta", "none"),
        **_numbers(result.faces),
        "videos": _video_numbers(result.videos),
        "subgroups": {t.columns["value"]: tables.records(t) for t in result.subgroups},
    }
    utils.write_atomic(file, json.dumps(utils.without_nan(content), indent=2) + "\n")


def write_report(
    file: Path,
    result: Result,
    tested: Tested,
    mistakes: list[page.Mistake],
    drawn: list[page.Heatmap],
    robust: Robustness | None = None,
) -> None:
    """report.html: everything about a test in one file."""
    faces = result.faces
    summary, labels, values = faces.summary, faces.labels, faces.scores
    verdict = [_headline(summary)]
    if result.videos and result.videos.level.summary.n:
        verdict.append(_headline(result.videos.level.summary))
    if tested.overlap != "checked":
        verdict.append(
            "Nobody could check whether the detector was trained on these very faces: the list of "
            "its training rows is not beside the checkpoint."
        )
    verdict += tested.notes
    page.write_page(
        file,
        page.Page(
            title=tested.title,
            verdict=verdict,
            n=summary.n,
            real=summary.real,
            fake=summary.fake,
            persons=_persons(summary),
            **_table_of_numbers(faces),
            confusion=plots.confusion(**summary.confusion),
            histogram=plots.histogram(labels, values, summary.threshold),
            roc=plots.roc(labels, values),
            precision_recall=plots.precision_recall(labels, values),
            reliability=plots.reliability(labels, values),
            bins=_bins(labels, values),
            calibration=calibration(faces) if faces.stored else None,
            states=faces.states,
            videos=_videos_section(result.videos, summary.n) if result.videos else None,
            subgroups=result.parts,
            robustness=robust.plot if robust else "",
            robustness_table=robust.table if robust else None,
            learning_curves=plots.learning_curves(
                _history(tested),
                tested.state["best"]["epoch"],
                MEMBERS if "members" in tested.state else plots.NO_EPOCH,
            ),
            mistakes=mistakes,
            heatmaps=drawn,
            failures=[page.Failure(f.path, f.reason) for f in result.failures],
            data=f"{tested.data}: {summary.n} faces",
            checkpoint=page.Checkpoint(
                str(tested.checkpoint),
                checkpoint.epochs(tested.state),
                utils.sha256_file(tested.checkpoint),
                faces.thresholds.threshold,
                faces.thresholds.data,
            ),
            configuration=tested.configuration,
            commands=tested.commands,
        ),
    )


# --------------------------------------------------------------------------- small pieces


def _thresholds(state: dict[str, Any], key: str) -> Thresholds:
    stored = state.get(key)
    return Thresholds.of(stored) if stored else NO_THRESHOLDS


def _numbers(level: Level) -> dict[str, Any]:
    summary = level.summary
    return {
        "n": summary.n,
        "real": summary.real,
        "fake": summary.fake,
        "threshold": summary.threshold,
        "values": summary.values,
        "intervals": summary.intervals,
        "intervals_by": summary.grouped_by,
        "groups": summary.groups,
        "confusion": summary.confusion,
        "stored_thresholds": vars(level.thresholds),
        "at_stored_threshold": _kept(level.at_stored, metrics.AT_THRESHOLD),
        "at_stored_intervals": _kept(_intervals(level.stored), metrics.AT_THRESHOLD),
        # Empty where no temperature is stored: the scores are then what `values` says.
        "at_temperature": _kept(level.tempered.values, CALIBRATED) if level.tempered else {},
        "at_temperature_intervals": _kept(_intervals(level.tempered), CALIBRATED),
        "verdicts": tables.records(level.states) if level.states else [],
    }


def _video_numbers(videos: Videos | None) -> dict[str, Any] | None:
    if videos is None:
        return None
    return {
        "rule": videos.rule,
        "faces": videos.faces,
        "left_out": len(videos.failures),
        **_numbers(videos.level),
        "by_rule": tables.records(videos.by_rule),
        "subgroups": {t.columns["value"]: tables.records(t) for t in videos.subgroups},
    }


def _headline(summary: Summary) -> str:
    tn, fp, fn, tp = (summary.confusion[key] for key in ("tn", "fp", "fn", "tp"))
    return page.headline(tn, fp, fn, tp, summary.unit, _persons(summary))


def _persons(summary: Summary) -> int | None:
    return summary.groups if summary.grouped_by == "identity" else None


def _table_of_numbers(level: Level) -> dict[str, Any]:
    summary = level.summary
    drawing = f"bootstrap over {summary.groups:,} groups by {summary.grouped_by}"
    return {
        "numbers": [_table_row(key, level) for key in metrics.NAMES] if summary.n else [],
        "threshold": summary.threshold,
        "intervals": drawing if summary.intervals else "",
    }


def _videos_section(videos: Videos, faces: int) -> page.Videos:
    level, limits = videos.level, videos.level.thresholds
    return page.Videos(
        n=level.summary.n,
        rule=videos.rule,
        faces=videos.faces,
        faces_in_all=faces,
        **_table_of_numbers(level),
        stored=f"{limits.threshold:.3f}, from {limits.data}" if level.at_stored else "",
        roc=plots.roc(level.labels, level.scores, "video"),
        histogram=plots.histogram(level.labels, level.scores, level.summary.threshold),
        calibration=calibration(level) if level.stored else None,
        states=level.states,
        by_rule=videos.by_rule,
        failures=[page.Failure(f.path, f.reason.removeprefix("video: ")) for f in videos.failures],
    )


def _bins(labels: np.ndarray, values: np.ndarray) -> Table:
    """The reliability plot in numbers."""
    columns = {"bin": "Scores", "n": "Faces", "score": "Mean score", "fakes": "Share of fakes"}
    edges = np.linspace(0, 1, curves.BINS + 1)
    rows = [
        (f"{low:.2f} to {high:.2f}", int(n), tables.Value(score), tables.Value(fakes))
        for low, high, n, score, fakes in zip(
            edges, edges[1:], *curves.reliability(labels, values), strict=False
        )
        if n
    ]
    return Table(columns, rows)


def _intervals(summary: Summary | None) -> dict[str, metrics.Interval]:
    return summary.intervals if summary else {}


def _kept(values: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in keys}


def _table_row(key: str, level: Level) -> page.Number:
    name, meaning = metrics.NAMES[key]
    low, high = level.summary.intervals.get(key, (None, None))
    stored = _kept(level.at_stored, metrics.AT_THRESHOLD).get(key)
    ends = _intervals(level.stored).get(key, (None, None))
    return page.Number(name, level.summary.values[key], low, high, stored, meaning, *ends)


def _history(tested: Tested) -> list[dict[str, Any]]:
    """The run's epochs: of its metrics.csv, which goes on after the best, else the checkpoint's."""
    if "members" in tested.state:
        return []  # several networks have no one past
    table, stored = tested.checkpoint.absolute().parent.parent / "metrics.csv", tested.state
    try:
        rows = pd.read_csv(table).to_dict("records")
        losses = [[row["valid_loss"] for row in epochs] for epochs in (rows, stored["history"])]
    except (OSError, ValueError, KeyError):  # not there, or not ours: the checkpoint knows its past
        return stored["history"]
    same_run = losses[0][: len(losses[1])] == losses[1]
    return rows if same_run else stored["history"]
