"""A test's tables in a Markdown file, between two markers: a model card's, a README's.

`weights/README.md#own` is the place in that file between the lines

    <!-- own -->
    <!-- /own -->

What stands there is replaced; all else stays as it is.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import utils
from metrics import NAMES
from report import tables
from report.levels import Level
from report.result import Result
from report.robustness import Robustness
from report.tables import Cell, Table
from utils import UserError

FREE = ("auc", "eer", "average_precision")
"""Metrics that know no threshold."""

AT_THRESHOLD = ("accuracy", "precision", "recall", "false_positive_rate")


def refuse_unmarked(places: Sequence[str]) -> None:
    """Raise UserError where a file or its markers are missing, before hours are spent."""
    for place in places:
        _parts(place)


def write(places: Sequence[str], found: Sequence[Table]) -> None:
    """Put the tables into each of the places; without any row, what stands there stays."""
    if not any(table.rows for table in found):
        return
    text = "\n\n".join(tables.markdown(table) for table in found)
    for place in places:
        file, before, after = _parts(place)
        utils.write_atomic(file, f"{before}\n{text}\n\n{after}")


def of_result(result: Result, robust: Robustness | None = None) -> list[Table]:
    """The numbers of the faces and of the videos, those of subgroups, and of worse pictures."""
    levels = [result.faces, *([result.videos.level] if result.videos else [])]
    found = [
        table
        for level in levels
        if level.summary.n
        for table in (_numbers(level), level.states)
        if table
    ]
    return [*found, *result.parts, *([robust.table] if robust else [])]


# --------------------------------------------------------------------------- small pieces


def _numbers(level: Level) -> Table:
    summary, stored = level.summary, level.stored
    rows: list[tuple[Cell, ...]] = [(NAMES[key][0], tables.of(summary, key), "") for key in FREE]
    rows += [
        (NAMES[key][0], tables.of(summary, key), tables.of(stored, key) if stored else "")
        for key in AT_THRESHOLD
    ]
    limit = f"at {level.thresholds.threshold:.3f}, stored" if stored else "no stored threshold"
    columns = {"metric": "", "value": f"at {summary.threshold:g}", "stored": limit}
    title = f"{summary.n:,} {summary.unit}: {summary.real:,} real, {summary.fake:,} fake"
    notes = []
    if summary.intervals:
        drawn = f"bootstrap over {summary.groups:,} groups by {summary.grouped_by}"
        notes.append(f"95 % intervals: {drawn}.")
    if stored:
        notes.append(f"The stored threshold comes from {level.thresholds.data}.")
    return Table(columns, rows, title, notes)


def _parts(place: str) -> tuple[Path, str, str]:
    """The file, what stands before the place with its marker, and what follows with its."""
    name, _, mark = place.rpartition("#")
    file = Path(name)
    if not name or not re.fullmatch(r"[\w-]+", mark):
        raise UserError(f"card {place}: give a file and a marker, as weights/README.md#own")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UserError(f"card {place}: {file} cannot be read: {error}") from None
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(
            f"card {place}: write the two lines {begin.strip()} and {end} into {file}, once each"
        )
    before, _, rest = text.partition(begin)
    return file, before + begin, end + rest.partition(end)[2]
