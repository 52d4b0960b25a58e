"""Faces and videos as what is judged: their numbers, and what the console says of them."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

import metrics
import rules
from failures import SHOWN, Failure
from metrics import Summary, Thresholds
from report import tables
from report.tables import Table
from utils import UserError

BESIDE = ("auc", "accuracy", "eer")
"""The metrics of the table of rules."""


@dataclass(frozen=True)
class Level:
    """Numbers at 0.5 with their intervals, and values at the threshold stored in the checkpoint.

    frame: the table of faces or videos that they were computed from.
    """

    frame: pd.DataFrame
    summary: Summary
    thresholds: Thresholds
    at_stored: dict[str, float]

    @property
    def labels(self) -> np.ndarray:
        return self.frame["label"].to_numpy(int)

    @property
    def scores(self) -> np.ndarray:
        return self.frame["score"].to_numpy(float)


@dataclass(frozen=True)
class Videos:
    """The videos by the checkpoint's rule, and by each of the others beside it.

    faces: how many of the faces belong to a video. failures: videos that the rule gives no score.
    """

    level: Level
    rule: str
    faces: int
    by_rule: Table
    failures: tuple[Failure, ...]


def judged(frame: pd.DataFrame, thresholds: Thresholds, resamples: int, unit: str) -> Level:
    """The numbers of a table of `unit`: faces or videos."""
    summary = metrics.summarise(frame, metrics.THRESHOLD, resamples, unit)
    level = Level(frame, summary, thresholds, {})
    if not np.isfinite(thresholds.threshold):
        return level
    at_stored = metrics.evaluate(level.labels, level.scores, thresholds.threshold)
    return replace(level, at_stored=at_stored)


def of_videos(
    frame: pd.DataFrame, rule: str, thresholds: Thresholds, resamples: int
) -> Videos | None:
    """What the faces say of the videos that they come from; None where no face names one."""
    if "video" not in frame or (frame["video"] == "").all():
        return None
    if rule not in rules.RULES:
        raise UserError(f"the checkpoint's rule {rule!r} is a later version's: update")
    by_rule = {name: rules.to_videos(frame, name) for name in rules.RULES}
    videos, failures = by_rule[rule]
    level = judged(videos, thresholds, resamples, "videos")
    beside = _rules_table({name: own for name, (own, _) in by_rule.items()}, rule, resamples)
    return Videos(level, rule, int((frame["video"] != "").sum()), beside, tuple(failures))


def stored_block(level: Level) -> str:
    """The console's lines about the validation's threshold."""
    limits, values = level.thresholds, level.at_stored
    if not values and level.summary.unit == "videos":
        return " No threshold of videos is stored: those of faces do not fit them"
    if not values:
        return f" No threshold is stored ({limits.data}): it needs reals and fakes"
    lines = [f" At the threshold {limits.threshold:.4f}, from {limits.data}:"]
    for key in metrics.AT_THRESHOLD:
        lines.append(f"   {metrics.NAMES[key][0]:<15} : {metrics.show(values[key])}")
    return "\n".join(lines)


def videos_block(videos: Videos, faces: int) -> str:
    """The console's block of the videos: their numbers, and all rules side by side."""
    lines = [
        metrics.block(videos.level.summary, f"Test result by video, rule {videos.rule}"),
        stored_block(videos.level),
        f" Faces             : {videos.faces:,} of {faces:,} belong to a video",
        f" Videos            : {_without_score(videos.failures)}",
        "\n" + tables.console(videos.by_rule),
    ]
    return "\n".join(lines)


def _without_score(failures: tuple[Failure, ...]) -> str:
    if not failures:
        return "each has a score"
    first = "; ".join(f"{f.path}: {f.reason.removeprefix('video: ')}" for f in failures[:SHOWN])
    more = f"; and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    return f"{len(failures)} without a score: {first}{more}"


def _rules_table(by_rule: dict[str, pd.DataFrame], own: str, resamples: int) -> Table:
    rows: list[tuple[tables.Cell, ...]] = []
    for name, videos in by_rule.items():
        summary = metrics.summarise(videos, metrics.THRESHOLD, resamples, "videos")
        cells = [tables.of(summary, key) for key in BESIDE]
        rows.append((f"{name} *" if name == own else name, summary.n, *cells))
    columns = {"rule": "Rule", "videos": "Videos", **tables.named(BESIDE)}
    note = "* the checkpoint's. A rule is chosen on validation data, not by this table."
    return Table(columns, rows, "Rules from frames to videos", (note,))
