"""Faces and videos as what is judged: their numbers, and what the console says of them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from splits import PATHS
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
    home: Path = Path()
    """The folder that the frame's paths are relative to."""

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
) -> list[tables.Value]:
    """Unweighted means of metrics over sets, each set counted once, with 95 % intervals of these
    sets, by draws of persons. No interval where one's draws are all equal.

    stored: at the stored thresholds. known: of the sets that have the number; else the mean is
    undefined where one of them has not.
    """
    summaries = [level.stored if stored else level.summary for level in levels]
    having = [(s, level) for s, level in zip(summaries, levels, strict=True) if s is not None]
    drawn = _drawn([level for _, level in having], [s.threshold for s, _ in having])
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


def _drawn(
    levels: Sequence[Level], thresholds: Sequence[float]
) -> list[dict[str, np.ndarray] | None]:
    """The numbers of each set in each draw; None where there is nothing to draw.

    Persons are drawn within each set. Where sets share some, as methods share the reals of their
    collection, they are drawn from all sets together: the same draw for each, since their numbers
    then rise and fall together, and the mean is less certain than of sets that share nobody.
    """
    if not levels:
        return []
    frames = [_of_home(level) for level in levels]
    groups, _ = metrics.grouping(pd.concat(frames, ignore_index=True).fillna(""))
    ends = np.cumsum([len(frame) for frame in frames])
    of_set = np.split(groups, ends[:-1])
    alone = [
        level.resamples == 0 or len(np.unique(own)) < 2
        for level, own in zip(levels, of_set, strict=True)
    ]
    measures = [
        metrics.measured(level.labels, level.scores, threshold)
        for level, threshold in zip(levels, thresholds, strict=True)
    ]
    if sum(len(np.unique(own)) for own in of_set) == len(np.unique(groups)):
        return [
            None if none else intervals.bootstrap(measure, own, level.resamples, seed)
            for seed, (level, own, measure, none) in enumerate(
                zip(levels, of_set, measures, alone, strict=True)
            )
        ]
    drawn: list[list[dict[str, np.ndarray]]] = [[] for _ in levels]
    for weights in intervals.draws(groups, min(level.resamples for level in levels)):
        for found, measure, own in zip(
            drawn, measures, np.split(weights, ends[:-1], axis=1), strict=True
        ):
            found.append(measure(own))
    return [
        None if none or not parts else intervals.joined(parts)
        for parts, none in zip(drawn, alone, strict=True)
    ]


def _of_home(level: Level) -> pd.DataFrame:
    """The frame with whole paths, by which a picture is the same in two manifests."""
    paths = [column for column in PATHS if column in level.frame]
    whole = {
        column: [os.path.normpath(level.home / p) if p else "" for p in level.frame[column]]
        for column in paths
    }
    return level.frame.assign(**whole)


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
