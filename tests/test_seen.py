"""Which rows a checkpoint has seen: every way of sharing one is told, and nobody is named."""

from pathlib import Path

import pandas as pd
import pytest

import manifest
from manifest import FAKE, REAL
from seen import ROWS_FILE, overlap, refuse_same_pictures, row_hashes
from utils import UserError, sha256_text


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([dict.fromkeys(manifest.COLUMNS, "") | row for row in rows])


@pytest.fixture
def picture(tmp_path):
    def write(name: str, content: str = "") -> str:
        path = tmp_path / name
        path.write_text(content or name)
        return str(path)

    return write


TRAINED = [
    {
        "path": "a.png",
        "label": REAL,
        "box": "1.00 2.00 3.00 4.00",
        "identity": "id0",
        "video": "v0",
        "source": "ff",
        "media": "film.jpg",
    },
    {
        "path": "b.png",
        "label": FAKE,
        "identity": "id1",
        "source_identity": "id2",
        "video": "v1",
        "source_video": "v2",
        "source": "ff",
        "source_path": "original.png",
    },
    {"path": "c.png", "label": REAL, "identity": "id7"},
]
"""What a checkpoint was trained on; the last row validates."""

NAMED = {"path", "source_path", "media", "identity", "source_identity", "video", "source_video"}


@pytest.fixture
def beside(tmp_path, picture) -> Path:
    """A checkpoint's place, with the list of the rows that it was trained on."""
    for row in TRAINED:
        for column in ("path", "source_path", "media"):
            if column in row:
                picture(row[column])
    where = {"path", "source_path", "media"}
    rows = [{k: str(tmp_path / v) if k in where else v for k, v in r.items()} for r in TRAINED]
    text = row_hashes(table(*rows).assign(split=["train", "train", "val"]))
    (tmp_path / ROWS_FILE).write_text(text, encoding="utf-8", newline="\n")
    return tmp_path / "best.pth"


@pytest.fixture
def shared(beside):
    """A function: rows -> what they share with those of the checkpoint `beside`."""
    text = (beside.parent / ROWS_FILE).read_text(encoding="utf-8")
    state = {"data": {"rows": sha256_text(text)}}
    return lambda rows: overlap(beside, state, rows)


def test_the_list_names_nobody_and_says_all(beside):
    text = (beside.parent / ROWS_FILE).read_text(encoding="utf-8")
    first, *lines = text.splitlines()
    assert first == (
        "split,label,box,content,original,media,video,source_video,identity,source_identity"
    )
    cells = [line.split(",") for line in lines]
    assert [row[:3] for row in cells] == [
        ["train", "0", "1.00 2.00 3.00 4.00"],
        ["train", "1", ""],
        ["val", "0", ""],
    ]
    filled = [[bool(cell) for cell in row[3:]] for row in cells]
    assert filled == [
        [True, False, True, True, False, True, False],
        [True, True, False, True, True, True, True],
        [True, False, False, False, False, True, False],
    ]
    for row in TRAINED:
        assert not any(str(value) in text for key, value in row.items() if key in NAMED)


def test_other_people_do_not_overlap(shared, picture):
    rows = table(
        {"path": picture("x.png"), "label": REAL, "identity": "id9", "video": "v9", "source": "ff"},
        {"path": picture("y.png"), "label": FAKE},  # nothing is known of it
        # One name of a person and of a film are two things.
        {"path": picture("z.png"), "identity": "v0", "video": "id0", "source": "ff"},
    )
    assert shared(rows) == []


@pytest.mark.parametrize("name", ["a.png", "b.png", "c.png"])
def test_the_same_content_under_another_name(shared, picture, name):
    rows = table({"path": picture("renamed.png", name), "label": REAL})
    (line,) = shared(rows)
    assert line.startswith("1 rows share a picture, or its original, with it")
    assert "renamed.png" in line


@pytest.mark.parametrize("column", ["identity", "source_identity"])
def test_the_same_person_within_a_source(shared, picture, column):
    new = {"path": picture("x.png"), "label": REAL, "source": "ff"}
    for name in ("id0", "id1", "id2"):
        (line,) = shared(table(new | {column: name}))
        assert "share an identity" in line
        assert shared(table(new | {column: name, "source": "celeb"})) == []
        assert shared(table(new | {column: name, "source": ""})) == []
    assert shared(table(new | {column: "id7"})) == []
    (line,) = shared(table(new | {column: "id7", "source": ""}))
    assert "identity" in line


@pytest.mark.parametrize("column", ["video", "source_video"])
def test_the_same_video_within_a_source(shared, picture, column):
    new = {"path": picture("x.png"), "label": REAL, "source": "ff"}
    for name in ("v0", "v1", "v2"):
        (line,) = shared(table(new | {column: name}))
        assert "share a video" in line
        assert shared(table(new | {column: name, "source": "celeb"})) == []


@pytest.mark.parametrize("column", ["path", "source_path", "media"])
@pytest.mark.parametrize("name", ["a.png", "original.png", "film.jpg"])
def test_a_picture_its_original_and_where_it_was_cut_from_are_one(
    shared, picture, tmp_path, column, name
):
    """A fake whose original was trained on, another face of the same photo, and so on."""
    new = {"path": picture("x.png"), "label": FAKE} | {column: str(tmp_path / name)}
    (line,) = shared(table(new))
    assert "original" in line


def test_every_kind_of_overlap_is_told_with_its_number(shared, picture, tmp_path):
    rows = table(
        {"path": str(tmp_path / "a.png"), "label": REAL, "identity": "id0", "source": "ff"},
        {"path": picture("x.png"), "label": REAL, "identity": "id1", "source": "ff"},
        {"path": picture("y.png"), "label": REAL, "video": "v1", "source": "ff"},
    )
    picture_line, video_line, identity_line = shared(rows)
    assert picture_line.startswith("1 rows share a picture") and "a.png" in picture_line
    assert video_line.startswith("1 rows share a video") and "y.png" in video_line
    assert identity_line.startswith("2 rows share an identity")


def test_without_the_list_nobody_knows(beside, shared, picture):
    rows = table({"path": picture("x.png"), "label": REAL})
    assert shared(rows) == []
    (beside.parent / ROWS_FILE).unlink()
    assert shared(rows) is None


def test_the_list_of_another_run_says_nothing(beside, shared, tmp_path):
    rows = table({"path": str(tmp_path / "a.png"), "label": REAL})
    assert len(shared(rows)) == 1
    assert overlap(beside, {"data": {"rows": "0" * 64}}, rows) is None
    file = beside.parent / ROWS_FILE
    text = file.read_text(encoding="utf-8")
    file.write_text("".join(text.splitlines(keepends=True)[:-1]), encoding="utf-8", newline="\n")
    assert shared(rows) is None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"split\n", b"\0"])
def test_a_damaged_list_says_nothing(beside, shared, tmp_path, content):
    (beside.parent / ROWS_FILE).write_bytes(content)
    assert shared(table({"path": str(tmp_path / "a.png"), "label": REAL})) is None


def test_what_only_validated_may_be_left_out_of_the_question(beside, shared, tmp_path):
    rows = table({"path": str(tmp_path / "c.png"), "label": REAL})
    assert len(shared(rows)) == 1
    text = (beside.parent / ROWS_FILE).read_text(encoding="utf-8")
    state = {"data": {"rows": sha256_text(text)}}
    assert overlap(beside, state, rows, validated=False) == []
    trained = table({"path": str(tmp_path / "a.png"), "label": REAL})
    assert len(overlap(beside, state, trained, validated=False) or []) == 1
    # A person who is in training on purpose: her picture that validated, and another one of her.
    both = [{"identity": "id0", "source": "ff", "path": str(tmp_path / "c.png")}]
    assert overlap(beside, state, table(*both), validated=False) == []
    both.append({"identity": "id0", "source": "ff", "path": str(tmp_path / "new.png")})
    (line,) = overlap(beside, state, table(*both), validated=False) or []
    assert line.startswith("1 rows share an identity") and "new.png" in line


# ------------------------------------------------------------- training against validation


def sides(*rows: dict) -> str:
    """rows.csv of some rows whose files lie where they say."""
    return row_hashes(table(*({"label": REAL} | row for row in rows)))


def test_different_pictures_may_train_and_validate(picture):
    a, b, c = picture("a.png"), picture("b.png"), picture("c.png")
    refuse_same_pictures(
        sides(
            {"path": a, "split": "train", "source_path": c},
            {"path": picture("again.png", "a.png"), "split": "train"},
            {"path": b, "split": "val"},
            {"path": "gone.png", "split": "train"},  # no content, no hash: nothing to compare
            {"path": "gone too.png", "split": "val"},
        )
    )
    refuse_same_pictures(sides({"path": a, "split": "train"}))


@pytest.mark.parametrize("first", ["path", "source_path", "media"])
@pytest.mark.parametrize("second", ["path", "source_path", "media"])
def test_one_picture_on_both_sides_is_refused_under_whatever_names(picture, first, second):
    names = {"train": picture("a.png", "one"), "val": picture("b.png", "one")}
    rows = [
        {"path": picture(f"{split}.png"), "split": split} | {column: names[split]}
        for split, column in (("train", first), ("val", second))
    ]
    with pytest.raises(UserError, match=r"^1 pictures are in training and in validation"):
        refuse_same_pictures(sides(*rows))
