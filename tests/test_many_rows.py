"""What is fast for a million rows says the same as the plain way, for odd rows too."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import manifest
import splits

PATHS = st.lists(
    st.sampled_from(["a", "b.png", ".", "..", "", ".c", "d:e", "f\\g", "ü"]), max_size=5
)
NUMBERS = ["1", "-2.5", "1e3", "1_0", "٣", "inf", "nan", "x", "#1", "", "4\n"]


@given(PATHS.map("/".join))
@example("/b.png")
@example("//b.png")
@example("a/")
def test_a_path_has_its_normal_form(path):
    for home in (Path("/set/one"), Path("/"), Path("/set/../two")):
        (found,) = manifest._absolute([path], home)
        assert found == (os.path.normpath(home / path) if path else "")


@given(PATHS.map("/".join), st.sampled_from(["/set/one", "/set", "/", "/elsewhere"]))
def test_a_path_below_is_written_relative_and_found_again(path, home):
    (absolute,) = manifest._absolute([path or "a"], Path("/set/one"))
    assume(not absolute.startswith("//"))  # POSIX: two slashes are a root of their own
    (written,) = manifest._relative([absolute], Path(home))
    assert manifest._absolute([written], Path(home)) == [absolute]
    below = absolute.startswith(home.rstrip("/") + "/")
    assert Path(written).is_absolute() != (below or absolute == home)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(NUMBERS), max_size=5).map(" ".join), max_size=8))
def test_a_cell_fits_or_not_whatever_stands_beside_it(cells):
    wrong = manifest._misfits(np.array(cells, dtype=object), 4)
    assert wrong.dtype == bool and len(wrong) == len(cells)
    for cell, is_wrong in zip(cells, wrong, strict=True):
        try:
            values = [float(number) for number in cell.split()]
            corners = len(values) == 4 and values[0] < values[2] and values[1] < values[3]
            fits = cell == "" or (corners and bool(np.isfinite(values).all()))
        except ValueError:
            fits = False
        assert fits != is_wrong


@pytest.mark.parametrize("cells", [["1 2", "3 4"], ["1 2", "", "  ", "3 4"], ["", " "], ["1_0 ٣"]])
def test_a_table_reads_what_python_reads(cells):
    values = manifest.table(cells, 2)
    expected = [[float(v) for v in cell.split()] or [np.nan] * 2 for cell in cells]
    np.testing.assert_array_equal(values, expected)


def test_missing_files_are_found_out_in_folders_of_any_size(tmp_path):
    for number in range(300):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "1.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "none.png")
    # Few of many: most of the folder is never listed.
    there = [str(tmp_path / name) for name in ("7.png", "299.png", "link.png")]
    gone = [str(tmp_path / name) for name in ("300.png", "folder.png", "broken.png", "x/1.png", "")]
    assert manifest._missing([*there, *gone, ""]) == [*gone, ""]
    assert manifest._missing([str(tmp_path / f"{number}.png") for number in range(300)]) == []


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60),
    st.lists(st.floats(0.05, 1), min_size=2, max_size=4),
)
def test_dealing_out_is_the_rule_as_arrays_say_it(amounts, parts):
    """The rule of random_split as it was first written, with NumPy, to the last bit."""
    sizes, shares = np.array(amounts), [part / sum(parts) for part in parts]
    totals = sizes.sum(axis=0).astype(float)
    wanted = np.outer(shares, totals)
    have, groups_left, expected = np.zeros_like(wanted), (sizes > 0).sum(axis=0), []
    for amount in sizes.astype(float):
        lack = ((wanted - have) / np.maximum(totals, 1) * amount).sum(axis=1)
        without = (have == 0) & (wanted > 0)
        in_need = (without & (amount > 0) & (groups_left <= without.sum(axis=0))).any(axis=1)
        best = int(np.argmax(np.where(in_need, lack, -np.inf) if in_need.any() else lack))
        have[best] += amount
        groups_left = groups_left - (amount > 0)
        expected.append(best)
    assert splits._dealt(sizes, shares) == expected
