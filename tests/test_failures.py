"""What could not be used is named, counted and listed, and too much of it stops the run."""

import csv
from pathlib import Path

import pytest

import failures
from failures import BAD, Failure, check_share, summary, write_failures
from utils import UserError

KINDS = ("missing", "unreadable", "no_face", "no_landmarks", "no_fake", "no_score", "unlabelled")


def some(count: int, kind: str = failures.UNREADABLE) -> list[Failure]:
    return [Failure(f"{i:02d}.png", kind, f"reason {i}") for i in range(count)]


def test_the_kinds_are_what_left_out_csv_says():
    """Frozen: they stand in files that others read."""
    names = tuple(kind.upper() for kind in KINDS)
    assert tuple(getattr(failures, name) for name in names) == KINDS
    assert set(BAD) == {"missing", "unreadable", "no_score"}


# ---------------------------------------------------------------------------------- share


@pytest.mark.parametrize(
    ("bad", "total", "max_bad"), [(0, 0, 0.0), (0, 9, 0.0), (1, 4, 0.25), (5, 100, 0.05), (9, 9, 1)]
)
def test_as_many_as_allowed_may_be_bad(bad, total, max_bad):
    check_share(some(bad), total, max_bad)


@pytest.mark.parametrize(
    ("bad", "total", "max_bad"), [(1, 1, 0.0), (1, 100, 0.0), (2, 4, 0.25), (6, 100, 0.05)]
)
def test_one_more_stops(bad, total, max_bad):
    with pytest.raises(UserError) as caught:
        check_share(some(bad), total, max_bad)
    message = str(caught.value)
    assert f"{bad} of {total} pictures" in message and f"max_bad = {max_bad:g}" in message
    assert "00.png: reason 0" in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_a_face_or_a_fake_is_not_bad(kind):
    if kind in BAD:
        with pytest.raises(UserError, match="4 of 4"):
            check_share(some(4, kind), 4, 0.5)
    else:
        check_share(some(4, kind), 4, 0.0)


def test_only_the_bad_are_counted_and_the_first_named():
    mixed = [*some(30, failures.NO_FACE), Failure("x.png", "missing", "gone"), *some(8)]
    check_share(iter(mixed), 100, 0.09)
    with pytest.raises(UserError) as caught:
        check_share(iter(mixed), 100, 0.08)
    first, *named = str(caught.value).splitlines()
    assert first.startswith("9 of 100")
    assert [line.strip() for line in named] == [
        "x.png: gone", *(f"{i:02d}.png: reason {i}" for i in range(failures.SHOWN - 1))
    ]  # fmt: skip


# ----------------------------------------------------------------------------------- list


def test_the_list_holds_every_one_with_its_kind_and_reason(tmp_path):
    home, file = tmp_path / "set", tmp_path / "run" / "left_out.csv"
    strange = 'a "b", c\nd'
    listed = [
        Failure(str(home / "faces" / "ü, 1.png"), "unreadable", strange),
        Failure(str(tmp_path / "elsewhere.png"), "missing", "no such file"),
        Failure("random-3", "no_score", "the network's answer is not a number"),
    ]
    write_failures(file, listed, home)
    with file.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    assert [list(row) for row in rows] == [["path", "kind", "reason"]] * 3
    assert [row["path"] for row in rows] == ["faces/ü, 1.png", listed[1].path, "random-3"]
    assert [row["kind"] for row in rows] == [f.kind for f in listed]
    assert [row["reason"] for row in rows] == [f.reason for f in listed]
    assert [p.name for p in file.parent.iterdir()] == ["left_out.csv"]


def test_where_nothing_was_left_out_the_list_of_last_time_is_emptied(tmp_path):
    file = tmp_path / "left_out.csv"
    write_failures(file, some(2), tmp_path)
    write_failures(file, [], tmp_path)
    assert file.read_text(encoding="utf-8") == "path,kind,reason\n"


def test_the_summary_counts_each_kind():
    file = Path("left_out.csv")
    mixed = [*some(2, "no_face"), *some(1), *some(3, "no_face")]
    assert summary(mixed, file) == "6 left out: 5 no_face, 1 unreadable (left_out.csv)"
    assert summary([], file) == "none left out"
