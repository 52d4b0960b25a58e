"""Several collections tested at once: a folder for each, and one table across them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

import utils
from report import page, plots, tables
from report.levels import Level, means
from report.result import Result
from report.tables import Table

SHOWN = ("auc", "eer", "accuracy", "balanced_accuracy", "tpr_at_fpr_1", "tpr_at_fpr_5")
"""The metrics of each collection."""

TAKEN = ("cam", "cam_path", "mistakes", "tensorboard")
"""Folders of a test that no collection may be called by."""


class Link(NamedTuple):
    """A page below this one: what its tables and curves call it, where it lies, what it is of."""

    name: str
    page: str
    about: str


@dataclass(frozen=True)
class CrossPage:
    """What cross.html.jinja shows. parts: what the links are, as a heading."""

    title: str
    parts: str
    links: Sequence[Link]
    tables: Sequence[Table]
    roc: str
    limits: str = page.LIMITS


def folder_names(manifests: Sequence[str]) -> list[str]:
    """One name for each: the file's, or its folder's where the file is called manifest.csv.

    Equal names take the folder's before theirs, and a number where that is equal too.
    """
    files = [Path(os.path.normpath(Path(file).absolute())) for file in manifests]
    short = [_name(file) for file in files]
    twice = {name for name in short if sum(name.lower() == other.lower() for other in short) > 1}
    names: list[str] = []
    for file, name in zip(files, short, strict=True):
        if name in twice:
            above = file.parents[1] if file.name == "manifest.csv" else file.parent
            name = f"{_cleaned(above.name)}-{name}"
        names.append(name)
    return _numbered(names)


def plain_names(names: Sequence[str]) -> list[str]:
    """One folder name for each source, method or row: none is a path, whatever it holds."""
    return _numbered([_cleaned(name) for name in names])


def _numbered(names: Sequence[str]) -> list[str]:
    """Names of which no two are alike on any disk, and none is TAKEN."""
    found: list[str] = []
    for name in names:
        number, unique = 2, name
        while unique.lower() in (*TAKEN, *(taken.lower() for taken in found)):
            number, unique = number + 1, f"{name}-{number}"
        found.append(unique)
    return found


def across(results: Mapping[str, Result]) -> dict[str, Table]:
    """Of `faces`, and of `videos` where there are some: a row each collection, then their mean."""
    faces = {name: result.faces for name, result in results.items()}
    videos = {name: r.videos.level for name, r in results.items() if r.videos}
    levels = {"faces": faces, "videos": videos}
    return {unit: _table(own, unit) for unit, own in levels.items() if own}


def write(out: Path, results: Mapping[str, Result], data: Mapping[str, str], title: str) -> str:
    """Write cross.csv, cross.tex and cross.html into `out`; returns the console's tables."""
    found = across(results)
    rows = [
        {"collection": row["collection"], "unit": unit, **row}
        for unit, table in found.items()
        for row in tables.records(table)
    ]
    utils.write_atomic(out / "cross.csv", tables.csv(rows))
    utils.write_atomic(out / "cross.tex", "\n".join(map(tables.latex, found.values())))
    named = [(name, r.faces.labels, r.faces.scores) for name, r in results.items()]
    links = [Link(name, f"{name}/report.html", file) for name, file in data.items()]
    shown = CrossPage(title, "Collections", links, [*found.values()], plots.rocs(named))
    page.write(out / "cross.html", "cross.html.jinja", shown)
    return "\n\n".join(map(tables.console, found.values()))


def _table(levels: Mapping[str, Level], unit: str) -> Table:
    rows: list[tuple[tables.Cell, ...]] = []
    for name, level in levels.items():
        summary = level.summary
        counts = (summary.n, summary.real, summary.fake)
        rows.append((name, *counts, *(tables.of(summary, key) for key in SHOWN)))
    apart = [_with_source(name, level) for name, level in levels.items()]
    rows.append((f"mean of {len(levels)}", "", "", "", *means(apart, SHOWN)))
    counted = {"collection": "Collection", "n": "n", "real": "Real", "fake": "Fake"}
    notes = [
        "The mean counts each collection once; it is undefined where one of its numbers is. Its "
        "interval is of these collections, and says nothing of others."
    ]
    return Table({**counted, **tables.named(SHOWN)}, rows, f"Across collections: {unit}", notes)


def _with_source(name: str, level: Level) -> Level:
    """Rows without a source as of one of their own: person 1 of two such sets is two persons."""
    given = level.frame.get("source", pd.Series("", index=level.frame.index)).astype(str)
    return replace(level, frame=level.frame.assign(source=given.where(given != "", f"\x1f{name}")))


def _name(file: Path) -> str:
    name = file.parent.name if file.name == "manifest.csv" else file.name
    return _cleaned(name.removesuffix(".csv"))


def _cleaned(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "collection"
