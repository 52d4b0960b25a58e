"""One manifest under audit: what leaks, what is broken, and what a network could cheat with."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import manifest
import splits
import utils
from audit import shortcuts
from audit.duplicates import group_names
from audit.measures import MEASURES, Measured, measured, one_line, table
from audit.shortcuts import Shortcut
from failures import MISSING, SHOWN, UNREADABLE
from flags import Check
from metrics import FAKE, REAL
from utils import UserError

FORMAT = 1
"""Version of check.json."""

NAMES = {REAL: "real", FAKE: "fake"}

SIZES = {
    "width": "picture width, px",
    "height": "picture height, px",
    "face_side": "face side, px",
    "file_size": "file size, bytes",
}

TELL = {
    "leak": "a number from such a split is too good: split anew (prepare.py), or remove these rows",
    "files": "check.csv lists them; remove their rows, or bring the files back",
    "manifest": "mend these cells of the CSV",
    "duplicate": "check.csv lists them; keep one, and give it the right label",
}


def check(file: str, config: Check) -> int:
    """Print what was found, write check.json and check.csv; 0 where all is well, else 1."""
    whole, problems, leaks = manifest.examine(file, config.fake_label)
    rows = whole.rows[whole.rows["label"].isin([REAL, FAKE])].reset_index(drop=True)
    if len(rows) == 0:
        raise UserError(f"{file}: no row can be checked:\n  " + "\n  ".join(problems))
    files = measured(rows["path"], config.workers, config.near_duplicates.distance >= 0)
    broken = [(f.path, MISSING, f.reason) for f in whole.left_out()]
    broken += [(path, UNREADABLE, m.reason) for path, m in files.items() if m.reason]
    readable = {path: m for path, m in files.items() if not m.reason}
    if not readable:
        why = "\n  ".join(f"{path}: {reason}" for path, _, reason in broken[:SHOWN])
        raise UserError(one_line(f"{file}: no picture can be read: ") + f"\n  {why}")

    same = _groups_of(readable, [m.content for m in readable.values()])
    alike = _alike(readable, config.near_duplicates.distance)
    leaks += _across(rows, same, "picture (by content)") + _across(rows, alike, "near-duplicate")
    wrong = _contradicting(rows, same)
    faces = table(rows, files)
    found = shortcuts.find(faces, [s for s in manifest.SPLITS if (rows["split"] == s).any()])
    counts = {k: sum(kind == k for _, kind, _ in broken) for k in (MISSING, UNREADABLE)}

    warnings = [f"{problem}; {TELL['manifest']}" for problem in problems]
    warnings += [f"{leak}; {TELL['leak']}" for leak in leaks]
    warnings += [f"{n:,} {kind} files; {TELL['files']}" for kind, n in counts.items() if n]
    if wrong:
        what = splits.count("picture that is called real and fake", wrong)
        warnings.append(f"{what}; {TELL['duplicate']}")
    warnings += [shortcuts.sentence(s) for s in shortcuts.to_warn_of(found, config.warn_from)]
    twice = [(path, "duplicate", name) for name, its in same.items() for path in its]
    twice += [(path, "near_duplicate", name) for name, its in alike.items() for path in its]
    report = {
        "format": FORMAT,
        "manifest": file,
        "ok": not warnings,
        "warnings": [one_line(warning) for warning in warnings],
        "notes": [one_line(n) for n in [*whole.warnings, *_notes(rows, same, alike)]],
        "files": {"read": len(readable), **counts},
        "duplicates": {"content": len(same), "near": len(alike)},
        "balance": balance_of(rows).to_dict("records"),
        "sizes": sizes_of(faces, readable),
        "shortcuts": [asdict(s) for s in found],
    }
    out = Path(config.out) if config.out else whole.home
    utils.write_atomic(out / "check.json", json.dumps(report, indent=2) + "\n")
    lines = pd.DataFrame([*broken, *twice], columns=["path", "kind", "reason"])
    lines["path"] = [utils.relative(path, whole.home) for path in lines["path"]]
    utils.write_atomic(out / "check.csv", utils.csv_text(lines))
    print(_text(report, found, config.warn_from))
    print(f" Written  : {out / 'check.json'}, check.csv")
    return 1 if warnings else 0


# ------------------------------------------------------------------------------- findings


def _groups_of(paths: Iterable[str], names: list[str]) -> dict[str, list[str]]:
    """Name -> its paths, where there are several; an empty name is none."""
    groups = defaultdict(list)
    for path, name in zip(paths, names, strict=True):
        if name:
            groups[name].append(path)
    return {name: its for name, its in groups.items() if len(its) > 1}


def _alike(files: dict[str, Measured], distance: int) -> dict[str, list[str]]:
    if distance < 0:
        return {}
    looks = np.array([m.look for m in files.values()], np.uint64)
    return _groups_of(files, group_names(looks, distance))


def _across(rows: pd.DataFrame, groups: dict[str, list[str]], what: str) -> list[str]:
    """What each two splits share, by groups of paths."""
    split = dict(zip(rows["path"], rows["split"], strict=True))
    sides = {name: {split[path] for path in its} for name, its in groups.items()}
    leaks = []
    for one, other in combinations(manifest.SPLITS, 2):
        if both := [groups[name][0] for name, its in sides.items() if {one, other} <= its]:
            leaks.append(f"{one} and {other}: {splits.count(f'{what} on both sides', both)}")
    return leaks


def _contradicting(rows: pd.DataFrame, groups: dict[str, list[str]]) -> list[str]:
    label = dict(zip(rows["path"], rows["label"], strict=True))
    return [its[0] for its in groups.values() if len({label[path] for path in its}) > 1]


def _notes(rows: pd.DataFrame, same: dict, alike: dict) -> list[str]:
    notes = []
    for name, part in rows.groupby(rows["split"].replace("", "all rows"), sort=False):
        if part["label"].nunique() == 1:
            only = NAMES[part["label"].iloc[0]]
            fine = ": right where fakes are made while training" * (name == "train")
            notes.append(f"{name} has {only}s only{fine}")
    if not (rows[["identity", "video"]] != "").any().any():
        notes.append("no row names a person or a clip: nobody can tell whether people leak")
    if (rows["box"] == "").all():
        notes.append("no row has a box: face size was not measured")
    for groups, what in ((same, "by content"), (alike, "that look alike")):
        if groups:
            notes.append(f"{len(groups):,} groups of pictures {what}, listed in check.csv")
    return notes


def balance_of(rows: pd.DataFrame) -> pd.DataFrame:
    """How many reals and fakes, persons and videos each `split, source` has."""
    table = rows.assign(
        real=rows["label"] == REAL,
        fake=rows["label"] == FAKE,
        identity=splits.scoped(rows, "identity").replace("", None),
        video=splits.scoped(rows, "video").replace("", None),
    )
    by = table.groupby(["split", "source"], sort=True)
    counts = by.agg(
        real=("real", "sum"),
        fake=("fake", "sum"),
        persons=("identity", "nunique"),
        videos=("video", "nunique"),
    )
    order = {name: place for place, name in enumerate(manifest.SPLITS)}
    return counts.reset_index().sort_values("split", key=lambda s: s.map(order), kind="stable")


def sizes_of(faces: pd.DataFrame, files: dict[str, Measured]) -> dict[str, Any]:
    """Quartiles of what was measured, for each class; formats of the files."""
    formats = pd.Series([m.format for m in files.values()]).value_counts()
    columns = ["width", "height", *MEASURES]
    quartiles = {
        name: {
            column: [round(float(v), 4) for v in np.quantile(values, [0.25, 0.5, 0.75])]
            for column in columns
            if len(values := faces[column][faces["label"] == label].dropna())
        }
        for label, name in NAMES.items()
    }
    return {"formats": {k: int(v) for k, v in formats.items()}, "quartiles": quartiles}


# ------------------------------------------------------------------------------- in words


def _text(report: dict[str, Any], found: list[Shortcut], warn_from: float) -> str:
    files, twice = report["files"], report["duplicates"]
    lines = [
        f"[+] Checked {report['manifest']}",
        f" Files    : {files['read']:,} read, {files['missing']:,} missing, "
        f"{files['unreadable']:,} unreadable",
        f" Twice    : {twice['content']:,} groups by content, {twice['near']:,} that look alike",
        "\n[+] Balance",
        _columns(["split", "source", "real", "fake", "persons", "videos"], 6, 24),
    ]
    lines += [_columns([str(v) for v in row.values()], 6, 24) for row in report["balance"]]
    quartiles = report["sizes"]["quartiles"]
    lines += ["\n[+] Sizes (median)", _columns(["", "real", "fake"], 31)]
    for column, what in SIZES.items():
        halves = [quartiles[name].get(column) for name in NAMES.values()]
        lines.append(_columns([what, *(f"{h[1]:,.0f}" if h else "-" for h in halves)], 31))
    lines.append(
        f"\n[+] One measure alone against the label (AUC; a shortcut from {warn_from:.2f})"
    )
    for name, what in shortcuts.NAMES.items():
        its = [s for s in found if s.measure == name and not s.source]
        shown = [
            f"{s.split or 'all'} {s.auc:.2f}{'?' * (s.auc >= warn_from and not s.certain)} "
            f"({s.reals + s.fakes:,})"
            for s in its
        ]
        lines += [f" {what:<32} {'  '.join(shown)}"] if shown else []
    lines.append(" In brackets: faces; ?: so few that chance alone may give it")
    number = len(report["warnings"])
    lines.append(f"\n[+] {number} warning{'s' * (number != 1)}" if number else "\n[+] No warning")
    lines += [f" WARNING: {warning}" for warning in report["warnings"]]
    lines += [f" Note: {note}" for note in report["notes"]]
    return "\n".join(lines)


def _columns(cells: list[str], *widths: int) -> str:
    """Cells of one line: as wide as said, then numbers of ten places each."""
    left = "".join(f" {one_line(c):<{w}}" for c, w in zip(cells, widths, strict=False))
    return left + "".join(f"{c:>10}" for c in cells[len(widths) :])
