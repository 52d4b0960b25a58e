"""Tables that say the same on the console, in a CSV, in a paper and on a page."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral

import pandas as pd

from metrics import NAMES, Summary


@dataclass(frozen=True)
class Value:
    """A number with its 95 % interval, each NaN where it is undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan
    signed: bool = False
    """A difference: written with its sign."""

    @property
    def text(self) -> str:
        return number(self.value, self.signed)

    @property
    def interval(self) -> str:
        """`0.880 to 0.940`, empty where there is none."""
        if math.isnan(self.low) or math.isnan(self.high):
            return ""
        return f"{number(self.low, self.signed)} to {number(self.high, self.signed)}"

    def __str__(self) -> str:
        ends = self.interval.replace(" to ", ", ")
        return f"{self.text} [{ends}]" if ends else self.text


Cell = str | int | Value


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of each names the row.

    columns: key, as a CSV has it -> name, as people read it.
    """

    columns: Mapping[str, str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    notes: Sequence[str] = field(default_factory=tuple)

    @cached_property
    def words(self) -> set[int]:
        """Places of the columns that hold words, which are read from the left; the first is one."""
        return {
            i
            for i in range(len(self.columns))
            if i == 0 or _are_words([row[i] for row in self.rows])
        }


def _are_words(cells: Sequence[Cell]) -> bool:
    text = [cell for cell in cells if isinstance(cell, str)]
    return len(text) == len(cells) and any(re.search("[a-z]", cell) for cell in text)


def of(summary: Summary, key: str) -> Value:
    """One metric of a set with its interval."""
    return Value(summary.values[key], *summary.intervals.get(key, ()))


def named(keys: Sequence[str]) -> dict[str, str]:
    """Columns for metrics."""
    return {key: NAMES[key][0] for key in keys}


def number(value: float | int | None, signed: bool = False) -> str:
    """Three decimals, or a count with its thousands; what is undefined says so."""
    if value is None or math.isnan(value):
        return "undefined"
    sign = "+" if signed else ""
    return f"{value:{sign},}" if isinstance(value, Integral) else f"{value:{sign}.3f}"


def plain(cell: Cell) -> str:
    """A cell as text."""
    return number(cell) if isinstance(cell, int) else str(cell)


def console(table: Table) -> str:
    """Aligned columns, names to the left and numbers to the right, one space in."""
    head = [f"[+] {table.title}"] if table.title else []
    notes = [f" {note}" for note in table.notes]
    if not table.rows:
        return "\n".join([*head, *notes])
    lines = [list(table.columns.values()), *([plain(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    text = []
    for line in lines:
        cells = (
            cell.ljust(width) if i in table.words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        text.append(" " + "  ".join(cells).rstrip())
    return "\n".join([*head, *text, *notes])


def markdown(table: Table) -> str:
    """A table of GitHub's Markdown with its title in bold and its notes below."""
    lines = [[_marked(name) for name in table.columns.values()]]
    lines += [[_marked(plain(cell)) for cell in row] for row in table.rows]
    lines.insert(1, ["---" if i in table.words else "---:" for i in range(len(table.columns))])
    text = ["| " + " | ".join(line) + " |" for line in lines] if table.rows else []
    title = [f"**{_marked(table.title)}**", ""] if table.title else []
    notes = ["", *(_marked(note) for note in table.notes)] if table.notes else []
    return "\n".join([*title, *text, *notes])


def _marked(text: str) -> str:
    """Text that Markdown takes for text, in one line."""
    return re.sub(r"([\\|*_`<>\[\]#])", r"\\\1", " ".join(text.split()))


def records(table: Table) -> list[dict[str, str | int | float]]:
    """The rows for programs: every digit of a number, its interval in KEY_low and KEY_high."""
    rows = []
    for cells in table.rows:
        row: dict[str, str | int | float] = {}
        for key, cell in zip(table.columns, cells, strict=True):
            if isinstance(cell, Value):
                row |= {key: cell.value, f"{key}_low": cell.low, f"{key}_high": cell.high}
            else:
                row[key] = cell
        rows.append(row)
    return rows


def csv(rows: list[dict[str, str | int | float]]) -> str:
    """Records as a CSV; what is undefined is an empty cell."""
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def latex(table: Table) -> str:
    """A tabular for `\\input`, that asks for no package, below its title; names are escaped."""
    sides = "".join("l" if i in table.words else "r" for i in range(len(table.columns)))
    lines = [f"% {' '.join(table.title.split())}"] if table.title else []
    lines += [f"\\begin{{tabular}}{{{sides}}}", "\\hline"]
    lines += [_latex_row(list(table.columns.values())), "\\hline"]
    lines += [_latex_row(row) for row in table.rows]
    return "\n".join([*lines, "\\hline", "\\end{tabular}", ""])


LATEX = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#",
    "_": "\\_", "%": "\\%", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "[": "{[}", "]": "{]}",
    "*": "{*}",
}  # fmt: skip
"""Characters that are commands in LaTeX, or, as [ and * behind a row's end, may be read as one."""


def _latex_row(cells: Sequence[Cell]) -> str:
    return " & ".join(_escaped(plain(cell)) for cell in cells) + " \\\\"


def _escaped(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))
