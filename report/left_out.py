"""What a detector does on sources, or methods, that it never saw: one table, one run each."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

import metrics
import utils
from metrics import NAMES
from report import page, plots, tables
from report.cross import CrossPage, Link
from report.levels import Level, means
from report.result import Result
from report.tables import Table, Value

FREE = ("auc", "eer")
"""Metrics that know no threshold."""

STORED = ("false_positive_rate", "recall")
"""Metrics at the threshold that each run's validation fitted."""

SIGNS = {"false_positive_rate": "Reals with signs", "recall": "Fakes with signs"}
"""The same above the upper limit of verdicts: what predict.py says of either."""

FILES = ("leave_one_out.csv", "leave_one_out.tex", "leave_one_out.html")


def write(
    out: Path,
    by: str,
    results: Mapping[str, Result],
    failed: Mapping[str, str],
    title: str,
    note: str = "",
) -> str:
    """Write FILES into `out`; returns the console's tables.

    results: of each run, tested on what it was trained without. failed: those that could not be
    trained or tested, and why. note: what else the tables say below.
    """
    found = across(by, results, failed, note)
    rows = [
        {"left_out": row["left_out"], "unit": unit, **row}
        for unit, table in found.items()
        for row in tables.records(table)
    ]
    named = [(name, r.faces.labels, r.faces.scores) for name, r in results.items()]
    links = [
        Link(name, f"{name}/test/report.html", f"trained without this {by}") for name in results
    ]
    shown = CrossPage(title, "Left out", links, [*found.values()], plots.rocs(named))
    csv, tex, html = (out / name for name in FILES)
    utils.write_atomic(csv, tables.csv(rows))
    utils.write_atomic(tex, "\n".join(map(tables.latex, found.values())))
    page.write(html, "cross.html.jinja", shown)
    return "\n\n".join(map(tables.console, found.values()))


def across(
    by: str, results: Mapping[str, Result], failed: Mapping[str, str], note: str = ""
) -> dict[str, Table]:
    """Of `faces`, and of `videos` where there are some: a row each run, then their means."""
    levels = {
        "faces": {name: result.faces for name, result in results.items()},
        "videos": {name: r.videos.level for name, r in results.items() if r.videos},
    }
    return {
        unit: _table(by, own, unit, failed, note)
        for unit, own in levels.items()
        if own or (failed and unit == "faces")
    }


# --------------------------------------------------------------------------- small pieces


def _table(
    by: str, levels: Mapping[str, Level], unit: str, failed: Mapping[str, str], note: str
) -> Table:
    rows: list[tuple[tables.Cell, ...]] = []
    judged = {name: _by_verdict(level) for name, level in levels.items()}
    for name, level in levels.items():
        cells = [tables.of(level.summary, key) for key in FREE]
        for keys, limit in ((STORED, level.stored), (SIGNS, judged[name].stored)):
            cells += [tables.of(limit, key) if limit else _none() for key in keys]
        rows.append((name, level.summary.real, level.summary.fake, *cells))
    if rows:
        every, verdicts = [*levels.values()], [*judged.values()]
        both = means(every, FREE, known=True)
        both += means(every, STORED, stored=True, known=True)
        both += means(verdicts, [*SIGNS], stored=True, known=True)
        rows.append(("mean of all", "", "", *both))
    columns = {"left_out": f"Left out ({by})", "real": "Real", "fake": "Fake"}
    columns |= {key: NAMES[key][0] for key in FREE}
    columns |= {key: f"{NAMES[key][0]} at the stored threshold" for key in STORED}
    columns |= {f"signs_{key}": words for key, words in SIGNS.items()}
    notes = [
        f"Each row: trained and validated without this {by}, thresholds of that validation, "
        f"tested on it. With signs: judged so by its limits. The mean counts each row once that "
        f"has the number: {_counted(rows)}.",
        *([note] if note else []),
        *(f"{name} has no row: {reason}" for name, reason in failed.items()),
    ]
    return Table(columns, rows, f"Leave one {by} out: {unit}", notes)


def _by_verdict(level: Level) -> Level:
    """The level at the upper limit of verdicts instead of at the stored threshold."""
    if level.limits is None or len(level.frame) == 0:
        return replace(level, stored=None)
    # A verdict has signs above the limit, a threshold calls what reaches it.
    above = float(np.nextafter(level.limits.high, np.inf))
    unit = level.summary.unit
    return replace(level, stored=metrics.summarise(level.frame, above, level.resamples, unit))


def _none() -> Value:
    return Value(np.nan)


def _counted(rows: list[tuple[tables.Cell, ...]]) -> str:
    if not rows:
        return "none"
    words = [*(NAMES[key][0] for key in (*FREE, *STORED)), *SIGNS.values()]
    return ", ".join(
        f"{name} {len(_defined(rows[:-1], place))}" for place, name in enumerate(words, 3)
    )


def _defined(rows: list[tuple[tables.Cell, ...]], place: int) -> list[float]:
    cells = [row[place] for row in rows]
    return [c.value for c in cells if isinstance(c, Value) and np.isfinite(c.value)]
