"""Tables: the console, a CSV, LaTeX and a page say the same; names cannot break any of them."""

import io
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from report import tables
from report.tables import Table, Value

NAN = math.nan
TABLE = Table(
    {"name": "Name", "n": "n", "auc": "AUC"},
    [("first", 1234, Value(0.91234567890123, 0.9, 1.0)), ("second_1", 5, Value(NAN))],
    "Title",
    ("a note",),
)


def test_the_console_aligns_and_says_what_is_undefined():
    assert tables.console(TABLE).splitlines() == [
        "[+] Title",
        " Name          n                   AUC",
        " first     1,234  0.912 [0.900, 1.000]",
        " second_1      5             undefined",
        " a note",
    ]


def test_a_table_without_rows_has_its_notes_alone():
    assert tables.console(Table({"a": "A"}, [], "Title", ("none",))) == "[+] Title\n none"


def test_a_csv_has_every_digit_and_empty_cells():
    read = pd.read_csv(io.StringIO(tables.csv(tables.records(TABLE))))
    assert list(read) == ["name", "n", "auc", "auc_low", "auc_high"]
    assert read["auc"][0] == 0.91234567890123 and read["n"].tolist() == [1234, 5]
    assert read.loc[1, ["auc", "auc_low", "auc_high"]].isna().all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value(0.5), "0.500"),
        (Value(0.5, 0.25, NAN), "0.500"),  # half an interval is none
        (Value(-0.0123, -0.1, 0.05, signed=True), "-0.012 [-0.100, +0.050]"),
        (Value(NAN, 0.1, 0.2), "undefined [0.100, 0.200]"),
    ],
)
def test_a_value_as_text(value, text):
    assert str(value) == text


def test_markdown_says_the_same_and_no_name_breaks_it():
    lines = tables.markdown(TABLE).splitlines()
    assert lines == [
        "**Title**", "", "| Name | n | AUC |", "| --- | ---: | ---: |",
        "| first | 1,234 | 0.912 \\[0.900, 1.000\\] |", "| second\\_1 | 5 | undefined |",
        "", "a note",
    ]  # fmt: skip
    odd = tables.markdown(Table({"a": "A", "b": "B"}, [("a|b\n<!-- /own -->", 1)]))
    assert odd.splitlines()[-1] == "| a\\|b \\<!-- /own --\\> | 1 |"


def test_latex_needs_no_package():
    text = tables.latex(TABLE)
    head = "% Title\n\\begin{tabular}{lrr}\n\\hline\nName & n & AUC \\\\\n\\hline\n"
    assert text.startswith(head)  # the title: several tables may stand in one file
    assert "second\\_1 & 5 & undefined \\\\" in text and text.endswith("\\end{tabular}\n")
    assert "\\toprule" not in text and "usepackage" not in text


@given(st.text(max_size=40))
def test_no_name_breaks_latex(name):
    row = tables.latex(Table({"a": "A", "b": "B"}, [(name, 1)])).splitlines()[4]
    bare = row
    for written in sorted(tables.LATEX.values(), key=len, reverse=True):
        bare = bare.replace(written, "")
    assert bare.endswith(" & 1 \\\\") and bare.count("&") == 1
    assert not set(bare.removesuffix("\\\\")) & set("\\{}$#_%~^<>[]*\n")
