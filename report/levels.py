"""Faces and videos as what is judged: their numbers, and what the console says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

import curves
import intervals
import metrics
import rules
from failures import SHOWN, Failure
from judging import Limits
from metrics import Summary
from report import states, subgroups, tables
from report.tables import Table
from thresholds import Thresholds
from utils import UserError

BESIDE = ("auc", "accuracy", "eer")
"""The metrics of the table of rules."""

CALIBRATED = ("ece", "brier", "log_loss")
"""The metrics that a temperature changes."""


@dataclass(frozen=True)
class Level:
    """Numbers at 0.5 with their intervals, the same at the threshold stored in the checkpoint, and
    those of the scores as its temperature makes them; None where nothing is stored.

    frame: the table of faces or videos that they were computed from.
    """

    frame: pd.DataFrame
    summary: Summary
    thresholds: Thresholds
    stored: Summary | None = None
    tempered: Summary | None = None
    states: Table | None = None
    """How often each verdict."""
    limits: Limits | None = None
    """Of verdicts; None where the checkpoint holds none."""
    resamples: int = 0
    """Draws of the bootstrap; 0: no intervals."""

    @property
    def at_stored(self) -> dict[str, float]:
        """Values at the stored threshold."""
        return self.stored.values if self.stored else {}

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
    subgroups: tuple[Table, ...] = ()


def judged(
    frame: pd.DataFrame,
    thresholds: Thresholds,
    resamples: int,
    unit: str,
    limits: Limits | None = None,
) -> Level:
    """The numbers of a table of `unit`: faces or videos. limits: of verdicts, where they are not
    those of `thresholds`.
    """
    summary = metrics.summarise(frame, metrics.THRESHOLD, resamples, unit)
    limits = limits or Limits.of(thresholds)
    shares = states.table(frame, limits, resamples, unit)
    known = limits if limits.defined else None
    level = Level(frame, summary, thresholds, states=shares, limits=known, resamples=resamples)
    if len(frame) and np.isfinite(thresholds.threshold):
        stored = metrics.summarise(frame, thresholds.threshold, resamples, unit)
        level = replace(level, stored=stored)
    if len(frame) and thresholds.temperature != 1:
        scores = curves.tempered(level.scores, thresholds.temperature)
        changed = frame.assign(score=scores)
        tempered = metrics.summarise(changed, metrics.THRESHOLD, resamples, unit)
        level = replace(level, tempered=tempered)
    return level


def means(
    levels: Sequence[Level],
    keys: Sequence[str],
    stored: bool = False,
    known: bool = False,
    apart: bool = True,
) -> list[tables.Value]:
    """Unweighted means of metrics over sets, each set counted once, with 95 % intervals: persons
    are drawn within each set, which are themselves given. No interval where one's draws are all
    equal.

    stored: at the stored thresholds. known: of the sets that have the number; else the mean is
    undefined where one of them has not. apart: no two sets share rows, as methods share the reals
    of their collection; else there are no intervals.
    """
    summaries = [level.stored if stored else level.summary for level in levels]
    having = [(s, level) for s, level in zip(summaries, levels, strict=True) if s is not None]
    drawn = [
        _drawn(level, s.threshold, seed) if apart else None
        for seed, (s, level) in enumerate(having)
    ]
    found = []
    for key in keys:
        values = np.array([s.values[key] for s, _ in having])
        chosen = np.flatnonzero(np.isfinite(values) if known else np.ones(len(values), bool))
        if len(chosen) == 0 or (len(having) < len(levels) and not known):
            found.append(tables.Value(np.nan))
            continue
        draws = [drawn[i] for i in chosen]
        ends = intervals.NONE
        if all(one is not None and not intervals.are_equal(one[key]) for one in draws):
            ends = intervals.percentile(np.mean([one[key] for one in draws if one], axis=0))
        found.append(tables.Value(float(values[chosen].mean()), *ends))
    return found


def _drawn(level: Level, threshold: float, seed: int) -> dict[str, np.ndarray] | None:
    groups, _ = metrics.grouping(level.frame)
    if level.resamples == 0 or len(np.unique(groups)) < 2:
        return None
    measure = metrics.measured(level.labels, level.scores, threshold)
    return intervals.bootstrap(measure, groups, level.resamples, seed)


def of_videos(
    frame: pd.DataFrame,
    rule: str,
    thresholds: Thresholds,
    resamples: int,
    limits: Limits | None = None,
    by: Sequence[str] = (),
) -> Videos | None:
    """What the faces say of the videos that they come from; None where no face names one.

    limits: of verdicts, where they are not those of `thresholds`. by: columns for subgroups.
    """
    if "video" not in frame or (frame["video"] == "").all():
        return None
    if rule not in rules.RULES:
        raise UserError(f"the checkpoint's rule {rule!r} is a later version's: update")
    by_rule = {name: rules.to_videos(frame, name) for name in rules.RULES}
    videos, failures = by_rule[rule]
    level = judged(videos, thresholds, resamples, "videos", limits)
    beside = _rules_table({name: own for name, (own, _) in by_rule.items()}, rule, resamples)
    parts = subgroups.broken_down(videos, by, resamples, "videos")
    faces = int((frame["video"] != "").sum())
    return Videos(level, rule, faces, beside, tuple(failures), tuple(parts))


def stored_block(level: Level) -> str:
    """The console's lines about the validation's threshold."""
    limits, stored = level.thresholds, level.stored
    if not np.isfinite(limits.threshold):
        if level.summary.unit == "videos":
            none = " No threshold of videos is stored: those of faces do not fit them"
            return "\n\n".join([none, *([tables.console(level.states)] if level.states else [])])
        return f" No threshold is stored ({limits.data}): it needs reals and fakes"
    if stored is None:
        return f" Nothing to judge at the threshold {limits.threshold:.4f}, from {limits.data}"
    lines = [f" At the threshold {limits.threshold:.4f}, from {limits.data}:"]
    for key in metrics.AT_THRESHOLD:
        text = f"{metrics.show(stored.values[key]):<10}{metrics.interval(stored, key)}"
        lines.append(f"   {metrics.NAMES[key][0]:<15} : {text}".rstrip())
    found = [calibration(level), *([level.states] if level.states else [])]
    return "\n".join([*lines, *("\n" + tables.console(table) for table in found)])


def calibration(level: Level) -> Table:
    """What the scores are worth as probabilities, before and after the stored temperature."""
    limits = level.thresholds
    said = f"Temperature {limits.temperature:.4g}, {limits.calibration}; validation: {limits.data}."
    rows: list[tuple[tables.Cell, ...]] = [
        (name, *(tables.of(summary, key) for key in CALIBRATED))
        for name, summary in (
            ("as they are", level.summary),
            (f"at temperature {limits.temperature:.3f}", level.tempered),
        )
        if summary
    ]
    return Table({"scores": "Scores", **tables.named(CALIBRATED)}, rows, "Calibration", (said,))


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
