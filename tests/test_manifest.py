"""The CSV contract: forms that are read, problems that are named, splits that leak nobody."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import manifest
import splits
from failures import MISSING
from manifest import FAKE, REAL
from utils import UserError

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")


@pytest.fixture
def csv(tmp_path):
    """A function: text of a CSV -> its name; beside it lie the pictures NAMES (manifest.py looks
    for files and opens none)."""
    for name in NAMES:
        (tmp_path / name).write_bytes(b"x")

    def write(text: str | bytes, name: str = "faces.csv") -> str:
        content = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def labels(read: manifest.Manifest) -> dict[str, int]:
    """Label of each picture, by its name within the manifest's folder."""
    names = [Path(p).relative_to(read.home).as_posix() for p in read.rows["path"]]
    return dict(zip(names, read.rows["label"], strict=True))


def refused(file: str, fake_label: int | str | None = None) -> str:
    with pytest.raises(UserError) as error:
        manifest.read(file, fake_label)
    assert str(error.value).startswith(file)
    return str(error.value)


def table(**columns) -> pd.DataFrame:
    """Rows as read() gives them, from some columns."""
    n = len(next(iter(columns.values())))
    columns = {"path": [f"/set/{i:04d}.png" for i in range(n)], "label": [REAL] * n} | columns
    rows = pd.DataFrame(columns)
    others = [column for column in rows if column not in manifest.COLUMNS]
    return rows.reindex(columns=[*manifest.COLUMNS, *others], fill_value="")


# ------------------------------------------------------------------------------ forms


@pytest.mark.parametrize(
    ("text", "fake_label"),
    [
        ("path,label\na.jpg,0\nb.jpg,1\n", None),
        ("path,label\na.jpg,real\nb.jpg,fake\n", None),
        ("path,label\na.jpg, REAL \nb.jpg,Fake\n", None),
        ("path,label\na.jpg,0.0\nb.jpg,1.0\n", None),
        ("label,extra,path\n0,x,a.jpg\n1,y,b.jpg\n", None),
        ("path,label\r\na.jpg,0\r\nb.jpg,1\r\n", None),
        (b"\xef\xbb\xbfpath,label\na.jpg,0\nb.jpg,1\n", None),
        ("path,label\na.jpg,0\n\nb.jpg,1", None),
        ("path,label\na.jpg,0\nb.jpg,1\n", "fake"),
        ("path,label\na.jpg,0\nb.jpg,1\n", 1),
        ("path,label\na.jpg,genuine\nb.jpg,Deepfake\n", "deepfake"),
        # The XAI606 project: 1 = real.
        ("path,real\na.jpg,1\nb.jpg,0\n", None),
        ("path,real\na.jpg,1\nb.jpg,0\n", 1),
        # The KAIST project: no header.
        ("a.jpg,0\nb.jpg,1\n", 1),
        ("a.jpg,0\nb.jpg,1\n", "1"),
        ("a.jpg,1\nb.jpg,0\n", 0),
        ("a.jpg,real\nb.jpg,fake\n", "FAKE"),
        ("a.jpg,-1\nb.jpg,1\n", 1),
        (b"\xef\xbb\xbfa.jpg,0\r\nb.jpg,1\r\n", 1),
    ],
)
def test_forms_of_a_csv(csv, text, fake_label):
    read = manifest.read(csv(text), fake_label)
    assert labels(read) == {"a.jpg": REAL, "b.jpg": FAKE}
    assert read.warnings == ()
    assert all(Path(p).is_absolute() for p in read.rows["path"])
    assert set(manifest.COLUMNS) <= set(read.rows)


def test_a_headerless_csv_is_refused_until_somebody_says_what_is_fake(csv):
    for text in ("a.jpg,0\nb.jpg,1\n", "a.jpg,real\nb.jpg,fake\n"):
        assert "--data.fake_label" in refused(csv(text))


@pytest.mark.parametrize("fake_label", [0, "0", "real"])
def test_a_fake_label_that_turns_a_named_column_over_is_refused(csv, fake_label):
    text = "path,label\na.jpg,0\nb.jpg,1\n"
    assert "says 1 = fake" in refused(csv(text), fake_label)


def test_one_class_alone_keeps_its_meaning(csv):
    one = "path,label\na.jpg,{0}\nb.jpg,{0}\n"
    assert set(labels(manifest.read(csv(one.format(0)))).values()) == {REAL}
    assert set(labels(manifest.read(csv(one.format(1)))).values()) == {FAKE}
    assert set(labels(manifest.read(csv(one.format(0)), 1)).values()) == {REAL}
    real = "path,real\na.jpg,{0}\nb.jpg,{0}\n"
    assert set(labels(manifest.read(csv(real.format(1)))).values()) == {REAL}
    assert set(labels(manifest.read(csv(real.format(0)))).values()) == {FAKE}


@pytest.mark.parametrize(
    ("text", "fake_label", "named"),
    [
        ("path,label\na.jpg,0\nb.jpg,2\n", None, ["b.jpg"]),
        ("path,label\na.jpg,0\nb.jpg,\n", None, ["b.jpg"]),
        ("path,label\na.jpg,0\nb.jpg\n", None, ["b.jpg"]),
        ("path,label\na.jpg,maybe\nb.jpg,1\n", None, ["a.jpg"]),
        ("path,real\na.jpg,1\nb.jpg,2\n", None, ["b.jpg"]),
        ("a.jpg,x\nb.jpg,y\nc.jpg,z\n", "y", ["a.jpg", "c.jpg"]),
        ("a.jpg,\nb.jpg,1\n", 1, ["a.jpg"]),
        # A fake_label that the column does not speak of must not make reals of its fakes.
        ("a.jpg,0\nb.jpg,1\n", "fake", ["b.jpg"]),
        ("a.jpg,1\nb.jpg,1\n", "fake", ["a.jpg", "b.jpg"]),
        ("a.jpg,real\nb.jpg,fake\n", "deepfake", ["b.jpg"]),
        ("a.jpg,fake\nb.jpg,fake\n", 1, ["a.jpg", "b.jpg"]),
    ],
)
def test_unknown_labels_are_named_and_never_guessed(csv, text, fake_label, named):
    message = refused(csv(text), fake_label)
    assert f"{len(named)} x label" in message
    for name in NAMES:
        assert (name in message) == (name in named)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "columns"),
        ("path,label\n", "no rows"),
        ("path\na.jpg\n", "no column `label`"),
        ("path,score\na.jpg,1\n", "score"),
        ("image,label,split\na.jpg,0,train\n", "no column `path`"),
        ("path;label\na.jpg;0\n", "path;label"),
        (b"\xff\xfe\x00\x01", "utf-8"),
        ("path,label\na.jpg,0\nb.jpg,1,7\n", "Expected 2 fields"),
        # More cells in every row than in the header: pandas would take 0 and 1 for the paths.
        ("path,label\na.jpg,0,1\nb.jpg,1,0\n", "more cells"),
    ],
)
def test_what_is_no_manifest(csv, text, says):
    assert says in refused(csv(text))


def test_neither_a_file_nor_a_folder(tmp_path):
    assert "no such" in refused(str(tmp_path / "none.csv"))


STRANGE = [
    "ü,x.jpg",
    "=1+1.jpg",
    "n\nl.jpg",
    ' "q" .jpg',
    "NA",
    "null",
    "01",
    "日本.png",
    "-x",
    "%20",
]


def test_strange_names_are_kept_to_the_letter(tmp_path):
    for name in STRANGE:
        (tmp_path / name).write_bytes(b"x")
    quoted = "".join('"{}",1\n'.format(name.replace('"', '""')) for name in STRANGE)
    (tmp_path / "m.csv").write_text("path,label\n" + quoted, encoding="utf-8")
    assert list(labels(manifest.read(str(tmp_path / "m.csv")))) == STRANGE


def test_text_columns_stay_text(csv):
    file = csv("path,label,identity,video,track\na.jpg,0,007,NA,1\nb.jpg,1,7,nan,01\n")
    rows = manifest.read(file).rows
    assert list(rows["identity"]) == ["007", "7"]
    assert list(rows["video"]) == ["NA", "nan"]
    assert list(rows["track"]) == ["1", "01"]
    assert list(rows["split"]) == ["", ""]


def test_a_folder_with_real_and_fake(tmp_path):
    for name in ("Real/x/1.PNG", "Real/2.jpg", "fake/1.jpeg", "fake/note.txt", "other/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    read = manifest.read(str(tmp_path))
    assert labels(read) == {"Real/x/1.PNG": REAL, "Real/2.jpg": REAL, "fake/1.jpeg": FAKE}
    assert not read.has_splits
    (tmp_path / "REAL").mkdir()
    (tmp_path / "REAL" / "3.jpg").write_bytes(b"x")
    assert labels(manifest.read(str(tmp_path))) == labels(read) | {"REAL/3.jpg": REAL}
    assert "real/ and fake/" in refused(str(tmp_path / "other"))
    meant = tmp_path / "other" / "manifest.csv"
    meant.write_text("path,label\n")
    assert f"did you mean {meant}?" in refused(str(meant.parent))
    for name in ("empty/real", "empty/fake"):
        (tmp_path / name).mkdir(parents=True)
    assert "no rows" in refused(str(tmp_path / "empty"))


def test_pictures_that_nobody_labelled(tmp_path):
    for name in ("b/2.png", "1.jpg", "note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    rows = manifest.pictures(str(tmp_path))
    assert [Path(p).name for p in rows["path"]] == ["1.jpg", "2.png"]
    assert set(rows["label"]) == {-1}
    assert len(manifest.pictures(str(tmp_path / "1.jpg"))) == 1
    (tmp_path / "none").mkdir()
    for name in ("none", "missing", "note.txt"):
        with pytest.raises(UserError, match=name):
            manifest.pictures(str(tmp_path / name))


# --------------------------------------------------------------------------- problems


def test_some_missing_files_are_counted_and_left_out(csv):
    lines = "".join(f"gone{i}.jpg,1\n" for i in range(7))
    read = manifest.read(csv(f"path,label\na.jpg,0\nb.jpg,1\n{lines}"))
    assert labels(read) == {"a.jpg": REAL, "b.jpg": FAKE}
    (warning,) = read.warnings
    assert "7 x missing file" in warning and "gone0.jpg" in warning
    assert "gone6.jpg" not in warning and "and 2 more" in warning
    assert [Path(f.path).name for f in read.left_out()] == [f"gone{i}.jpg" for i in range(7)]
    assert {(f.kind, f.reason) for f in read.left_out()} == {(MISSING, "no such file")}
    assert all(Path(f.path).is_absolute() for f in read.left_out())


def test_a_missing_file_is_named_once_however_many_faces_it_had(csv):
    rows = "gone.jpg,1,0 0 9 9\ngone.jpg,1,20 0 29 9\n./gone.jpg,1,40 0 49 9\n"
    read = manifest.read(csv(f"path,label,box\na.jpg,0,\nb.jpg,1,\n{rows}"))
    assert [Path(f.path).name for f in read.left_out()] == ["gone.jpg"]
    assert manifest.read(csv("path,label\na.jpg,0\nb.jpg,1\n")).left_out() == ()


def test_all_files_missing_says_where_it_looked(csv, tmp_path):
    message = refused(csv("path,label\nx.jpg,0\nsub/y.jpg,1\n"))
    assert "2 x missing file" in message and str(tmp_path / "sub" / "y.jpg") in message
    assert "relative to the CSV" in message


def test_duplicates_are_taken_once_and_counted(csv):
    folder = Path(csv("")).parent.name
    read = manifest.read(csv(f"path,label\na.jpg,0\n./a.jpg,0\n../{folder}/a.jpg,0\nb.jpg,1\n"))
    assert labels(read) == {"a.jpg": REAL, "b.jpg": FAKE} and len(read.rows) == 2
    (warning,) = read.warnings
    assert "2 x duplicate" in warning


def test_two_faces_of_one_picture_are_no_duplicates(csv):
    read = manifest.read(csv("path,label,box\na.jpg,0,0 0 9 9\na.jpg,1,20 0 29 9\nb.jpg,1,\n"))
    assert len(read.rows) == 3 and read.warnings == ()


def test_one_picture_with_both_labels(csv):
    message = refused(csv("path,label\na.jpg,0\na.jpg,1\nb.jpg,1\n"))
    assert "1 x picture that is called both real and fake" in message and "a.jpg" in message


@pytest.mark.parametrize(
    ("columns", "first", "second", "says"),
    [
        ("identity", "p", "p", "identity"),
        ("video", "v", "v", "video"),
        ("near_duplicate_group", "g", "g", "near duplicate"),
        ("source_path", "", "a.jpg", "original"),
        ("source_path", "", "./sub/../a.jpg", "original"),
        ("source_path", "b.jpg", "", "original"),
        ("source_path", "c.jpg", "c.jpg", "original"),
        ("media", "c.jpg", "c.jpg", "picture"),
        ("media", "", "a.jpg", "picture"),
        ("media,source_path", "c.jpg,", ",./c.jpg", "original"),
        ("identity,source", "p,s", "p,s", "identity"),
        ("source_identity", "p", "p", "identity"),
        ("identity,source_identity", "p,", ",p", "identity"),
        ("identity,source_identity,source", "p,q,s", "r,p,s", "identity"),
        ("source_video", "v", "v", "video"),
        ("video,source_video", "v,", "w,v", "video"),
    ],
)
@pytest.mark.parametrize("sides", [("train", "val"), ("val", "test"), ("test", "train")])
def test_what_stands_on_two_sides_is_refused(csv, columns, first, second, says, sides):
    text = f"path,label,split,{columns}\na.jpg,0,{{}},{first}\nb.jpg,1,{{}},{second}\n"
    message = refused(csv(text.format(*sides)))
    assert says in message and all(side in message for side in sides)
    manifest.read(csv(text.format(sides[0], sides[0])))  # on one side it is fine


def test_a_picture_itself_on_two_sides_is_refused(csv):
    message = refused(csv("path,label,split\na.jpg,0,train\na.jpg,0,test\nb.jpg,1,train\n"))
    assert "train and test" in message and "a.jpg" in message


def test_the_same_name_in_two_collections_is_two_people(csv):
    for column in ("identity", "source_identity", "video", "source_video"):
        text = f"path,label,split,{column},source\na.jpg,0,train,id0,one\nb.jpg,1,test,id0,two\n"
        assert len(manifest.read(csv(text)).rows) == 2


def test_a_person_and_a_film_of_one_name_are_two_things(csv):
    text = "path,label,split,identity,source_video\na.jpg,0,train,n,\nb.jpg,1,test,,n\n"
    assert len(manifest.read(csv(text)).rows) == 2


@pytest.mark.parametrize("name", ["training", "valid", "Train", " val"])
def test_unknown_splits(csv, name):
    message = refused(csv(f"path,label,split\na.jpg,0,train\nb.jpg,1,{name}\n"))
    assert "1 x unknown split" in message and name in message


def test_a_partly_empty_split(csv):
    message = refused(csv("path,label,split\na.jpg,0,train\nb.jpg,1,\n"))
    assert "without a split" in message and "b.jpg" in message


@pytest.mark.parametrize(
    "box",
    ["1 2 3", "1 2 3 4 5", "a b c d", "1 2 nan 4", "1 2 inf 4", "9 2 3 4", "1 4 3 2", "1 2 1 4"],
)
@pytest.mark.parametrize("column", ["box", "media_box"])
def test_bad_boxes(csv, box, column):
    message = refused(csv(f"path,label,{column}\na.jpg,0,{box}\nb.jpg,1,0 0 5.5 5\nc.jpg,1,\n"))
    assert f"1 x {column}" in message and "a.jpg" in message and "b.jpg" not in message


def test_bad_landmarks(csv):
    good = " ".join("5" * 10)
    message = refused(csv(f"path,label,landmarks\na.jpg,0,{good} 1\nb.jpg,1,{good}\n"))
    assert "1 x landmarks" in message and "b.jpg" not in message


def test_every_problem_is_named_at_once(csv):
    message = refused(
        csv(
            "path,label,split,identity,box\n"
            "a.jpg,7,train,p,\nb.jpg,1,elsewhere,,\nc.jpg,0,,,1 2\n"
            "d.jpg,0,train,p,\nd.jpg,1,test,p,\n"
        )
    )
    for part in (
        "1 x label",
        "1 x unknown split",
        "1 x row without",
        "1 x box",
        "1 x picture that",
    ):
        assert part in message
    assert "train and test: 1 x identity" in message


# --------------------------------------------------------------------- write and read


def test_what_is_written_is_read_back_even_from_a_moved_folder(tmp_path):
    home, elsewhere = tmp_path / "set", tmp_path / "far.jpg"
    files = [home / "faces" / "ü, 1.png", home / "fakes" / "=2.png", elsewhere]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    rows = table(
        path=[str(f) for f in files],
        label=[REAL, FAKE, FAKE],
        identity=["007", "NA", "x,y"],
        near_duplicate_group=["", "g", ""],
        box=[manifest.cell([1, 2, 30.004, 40]), "", ""],
        source_path=["", str(files[0]), ""],
        source_identity=["", "8", ""],
        media=[str(elsewhere), str(home / "photo.jpg"), ""],
        media_box=["", manifest.cell([5, 6, 7, 8]), ""],
        media_size=["640 480", "", ""],
        file=["cache.png", "", ""],
        file_box=["1 2 3 4", "", ""],
        file_landmarks=["x", "", ""],
        camera=["", "phone", ""],
    )
    before = rows.copy()
    manifest.write(home / "manifest.csv", rows)
    text = (home / "manifest.csv").read_text(encoding="utf-8")
    assert str(home) not in text and str(elsewhere) in text
    columns = text.splitlines()[0].split(",")
    assert columns == [  # the known in their order, then others; not what nobody fills
        "path", "label", "identity", "box", "source_path", "source_identity", "media",
        "media_box", "media_size", "near_duplicate_group", "camera",
    ]  # fmt: skip
    assert "cache.png" not in text
    pd.testing.assert_frame_equal(rows, before)
    shutil.move(home, tmp_path / "moved")
    again = manifest.read(str(tmp_path / "moved" / "manifest.csv"))
    assert again.warnings == ()
    for column in (
        "label", "identity", "near_duplicate_group", "source_identity", "media_box", "media_size",
        "camera",
    ):  # fmt: skip
        assert list(again.rows[column]) == list(rows[column])
    moved = [str(f).replace(str(home), str(tmp_path / "moved")) for f in files]
    assert list(again.rows["path"]) == moved
    assert list(again.rows["source_path"]) == ["", moved[0], ""]
    photo = str(tmp_path / "moved" / "photo.jpg")
    assert list(again.rows["media"]) == [str(elsewhere), photo, ""]
    assert manifest.numbers(again.rows["box"][0]).tolist() == [1, 2, 30, 40]


def test_paths_are_relative_however_the_folder_was_named(csv, tmp_path, monkeypatch):
    file = csv("path,label\na.jpg,0\nb.jpg,1\n")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    read = manifest.read(f"../{Path(file).name}")
    assert manifest.as_csv(read.rows, read.home) == "path,label\na.jpg,0\nb.jpg,1\n"
    manifest.write(Path("../sub/../again.csv"), read.rows)
    assert (tmp_path / "again.csv").read_text() == "path,label\na.jpg,0\nb.jpg,1\n"


def test_rows_as_csv_with_other_columns_first(tmp_path):
    rows = table(path=["a.png", "b.png"], camera=["", "x"], score=["0.5", ""], track=["", ""])
    text = manifest.as_csv(rows, tmp_path, ("path", "score", "track"))
    assert text == "path,score,track,label,camera\na.png,0.5,,0,\nb.png,,,0,x\n"
    assert manifest.as_csv(rows.iloc[:0], tmp_path, ("path", "label")) == "path,label\n"


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0/\\"),
            min_size=1,
            max_size=20,
        ).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_any_name_survives(names):
    with tempfile.TemporaryDirectory() as folder:
        home = Path(os.path.realpath(folder))
        for name in names:
            (home / name).mkdir()
            (home / name / "1.png").write_bytes(b"x")
        paths = [str(home / name / "1.png") for name in names]
        manifest.write(home / "1.csv", table(path=paths, identity=names))
        rows = manifest.read(str(home / "1.csv")).rows
    assert list(rows["path"]) == paths
    assert list(rows["identity"]) == names


def test_numbers_and_cell():
    assert manifest.numbers("") is None and manifest.cell(None) == ""
    assert manifest.cell(np.array([[1.006, 2], [3, 4]])) == "1.01 2.00 3.00 4.00"
    assert manifest.numbers("1.5 -2 3 4").tolist() == [1.5, -2, 3, 4]


def test_a_table_of_numbers_has_a_row_for_each_cell():
    values = manifest.table(["1 2 3 4", "", "5 6.5 -7 8"], 4)
    assert values.shape == (3, 4) and values.dtype == np.float64
    assert values[[0, 2]].tolist() == [[1, 2, 3, 4], [5, 6.5, -7, 8]]
    assert np.isnan(values[1]).all()
    assert manifest.table([], 10).shape == (0, 10)
    assert manifest.table(["", ""], 10).shape == (2, 10)
    with pytest.raises(ValueError, match="reshape"):
        manifest.table(["1 2 3"], 4)


# ----------------------------------------------------------------------------- splits

SIDES = ("train", "val")
FEW = st.sampled_from(["", "", "a", "b", "c", "d"])


@st.composite
def any_rows(draw):
    """Rows with identities, videos and originals that link and chain at random."""
    n = draw(st.integers(1, 16))
    paths = [f"/set/{draw(st.sampled_from('xyz'))}/{i}.png" for i in range(n)]
    original = st.sampled_from(["", "", *paths, "/set/not-a-row.png"])
    columns = {
        "identity": FEW,
        "video": FEW,
        "source": st.sampled_from(["one", "two"]),
        "near_duplicate_group": FEW,
        "source_path": original,
        "source_identity": FEW,
        "source_video": FEW,
        "media": original,
        "label": st.sampled_from([REAL, FAKE]),
    }
    return table(path=paths, **{k: [draw(v) for _ in range(n)] for k, v in columns.items()})


@settings(max_examples=60, deadline=None)
@given(any_rows(), st.integers(0, 9))
def test_a_random_split_assigns_every_row_and_leaks_nothing(rows, seed):
    side = splits.random_split(rows, (0.7, 0.3), SIDES, seed)
    assert list(side.index) == list(rows.index) and set(side) <= set(SIDES)
    assert splits.leaks(rows[side == "train"], rows[side == "val"]) == []
    # The rule itself, without leaks(): whatever two rows share holds them together.
    seen: dict[tuple[str, ...], str] = {}
    for row, its in zip(rows.to_dict("records"), side, strict=True):
        source = row["source"]
        names = [("picture", row[c]) for c in ("path", "source_path", "media")]
        names += [("person", source, row[c]) for c in ("identity", "source_identity")]
        names += [("film", source, row[c]) for c in ("video", "source_video")]
        names += [("near", source, row["near_duplicate_group"])]
        assert all(seen.setdefault(name, its) == its for name in names if name[-1])


@settings(max_examples=30, deadline=None)
@given(any_rows(), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_split_depends_on_neither_order_nor_place(rows, seed, random):
    names = manifest.SPLITS
    side = dict(
        zip(rows["path"], splits.random_split(rows, (0.5, 0.3, 0.2), names, seed), strict=True)
    )
    order = list(range(len(rows)))
    random.shuffle(order)
    other = rows.iloc[order].reset_index(drop=True)
    for column in splits.PATHS:
        # A moved set on a machine that writes its paths the other way.
        moved = other[column].str.replace("/set/", "D:/my/longer/place/").str.replace("/", "\\")
        other[column] = moved
    again = splits.random_split(other, (0.5, 0.3, 0.2), names, seed)
    assert list(again) == [side[rows["path"][i]] for i in order]


def test_chains_of_originals_stay_together():
    paths = [f"/set/{i}.png" for i in range(40)]
    chain = table(path=paths, source_path=["", *paths[:19], *[""] * 20])
    groups = splits.groups(chain)
    assert len(set(groups[:20])) == 1 and len(set(groups)) == 21
    assert splits.random_split(chain, (0.5, 0.5), SIDES, 1)[:20].nunique() == 1


def test_rows_are_linked_through_each_other():
    rows = table(identity=["p", "p", "", "", "q"], video=["", "v", "v", "w", "w"])
    groups = splits.groups(rows)
    assert groups[0] == groups[1] == groups[2] and groups[3] == groups[4] != groups[0]


def test_faces_of_one_picture_and_both_people_of_a_swap_stay_together():
    paths = [f"/set/{i}.png" for i in range(8)]
    rows = table(
        path=paths,
        media=["/p.jpg", "/p.jpg", "", "", "", "", paths[6], ""],
        identity=["", "", "p", "q", "q", "", "", ""],
        source_identity=["", "", "", "p", "", "p", "", ""],
        source_video=["", "", "", "", "", "", "", "p"],
    )
    groups = list(splits.groups(rows))
    assert groups[0] == groups[1]
    assert groups[2] == groups[3] == groups[4] == groups[5]
    assert len(set(groups)) == 4
    assert splits.leaks(rows[:1], rows[1:2]) == [
        "1 x picture, or a fake's original, on both sides: /p.jpg"
    ]
    assert splits.leaks(rows[2:3], rows[3:4]) == ["1 x identity on both sides: /p"]
    assert splits.leaks(rows[:2], rows[2:]) == []


@settings(max_examples=25, deadline=None)
@given(
    st.integers(60, 150), st.integers(60, 150), st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 9)
)
def test_many_people_are_split_in_proportion_and_by_class(reals, fakes, share, seed):
    rows = table(label=[REAL] * reals + [FAKE] * fakes)
    side = splits.random_split(rows, (1 - share, share), SIDES, seed)
    for label, total in ((REAL, reals), (FAKE, fakes)):
        held_out = int(((side == "val") & (rows["label"] == label)).sum())
        assert abs(held_out - share * total) <= 1


def test_people_of_many_rows_are_split_in_proportion():
    sizes = np.random.default_rng(0).integers(1, 30, 80)
    people = np.repeat([f"p{i}" for i in range(80)], sizes)
    rows = table(identity=list(people), label=[i % 2 for i in range(len(people))])
    side = splits.random_split(rows, (0.6, 0.2, 0.2), manifest.SPLITS, 3)
    for name, share in zip(manifest.SPLITS, (0.6, 0.2, 0.2), strict=True):
        for label in (REAL, FAKE):
            of_class = rows["label"] == label
            assert abs((side[of_class] == name).mean() - share) < 0.02


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("people", [2, 3, 5])
def test_few_people_still_make_both_sides(people, share):
    """People are not cut: of two, one is held out, however small the share."""
    each = 10
    names = np.repeat([f"p{i}" for i in range(people)], each)
    rows = table(identity=list(names), label=[i % 2 for i in range(len(names))])
    side = splits.random_split(rows, (1 - share, share), SIDES, 0)
    for name in SIDES:
        assert set(rows["label"][side == name]) == {REAL, FAKE}


def test_a_share_of_nothing_gets_nothing():
    rows = table(label=[REAL, FAKE] * 10)
    assert set(splits.random_split(rows, (1.0, 0.0, 0.0), manifest.SPLITS, 0)) == {"train"}


def test_another_seed_is_another_split():
    rows = table(label=[REAL, FAKE] * 20)
    seen = {tuple(splits.random_split(rows, (0.5, 0.5), SIDES, seed)) for seed in range(4)}
    assert len(seen) == 4


def test_the_split_of_today_is_the_split_of_tomorrow():
    """Frozen: a run that continues on another machine or version must find its own rows."""
    rows = table(label=[REAL, FAKE] * 5)
    side = splits.random_split(rows, (0.6, 0.4), SIDES, 42)
    assert "".join(name[0] for name in side) == "ttvvvttttv"


# ------------------------------------------------------------------------ real pictures


def test_a_set_of_real_faces(faces_csv):
    read = manifest.read(str(faces_csv(6, splits=("train", "val", "test"))))
    assert read.warnings == () and read.has_splits
    assert [len(read.split(name)) for name in manifest.SPLITS] == [4, 4, 4]
    assert len(read.split("train", "val")) == 8
    assert len(set(splits.groups(read.rows))) == 6
