"""prepare.py check, merge, overlap: planted faults are found, and a fair set gives no warning."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import manifest
import prepare
from audit import duplicates, measures, shortcuts
from faces.encoding import encoding
from faces.image import UnreadableImage
from flags import NearDuplicates
from manifest import FAKE
from utils import UserError

N = 24
"""Pictures of each class: so many that an AUC of 1 is no chance."""


def picture(number: int, side: int = 64) -> Image.Image:
    """A picture of its own: blurred noise, so that looks differ and a JPEG has something to do."""
    noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def made(tmp_path):
    """A function that writes N reals and N fakes with their manifest, and returns its name.

    `save(number, label) -> (picture, name's suffix, options of save)`; `columns(number, label)`
    -> cells. Two persons in each split: nobody leaks.
    """

    def write(save=None, columns=None, folder="set", n=N, first=0):
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        rows = []
        for number in range(2 * n):
            label = number % 2
            image, suffix, options = (
                save(number, label) if save else (picture(first + number), "jpg", {"quality": 95})
            )
            name = f"{number:03d}.{suffix}"
            image.save(home / name, **options)
            split = ("train", "val", "test")[number // 2 % 3]
            row = {"path": name, "label": label, "split": split, "source": "one"}
            row |= {"identity": f"{split}{first + number}", "box": "8 8 40 40"}
            rows.append(row | (columns(number, label) if columns else {}))
        pd.DataFrame(rows).to_csv(home / "faces.csv", index=False)
        return str(home / "faces.csv")

    return write


def check(file, *words, status=1):
    """check.json's content; the status is as said."""
    assert prepare.main(["check", file, *words]) == status
    return json.loads((Path(file).parent / "check.json").read_text())


def warned(report) -> set[str]:
    """Measures that a warning names."""
    names = {text: name for name, text in shortcuts.NAMES.items()}
    heads = (w.split(" alone tells")[0] for w in report["warnings"] if " alone tells" in w)
    return {names[head] for head in heads}


# ------------------------------------------------------------------------------ shortcuts


def test_a_fair_set_gives_no_warning(made, capsys):
    report = check(made(), status=0)
    assert report["ok"] and report["warnings"] == []
    assert report["files"] == {"read": 2 * N, "missing": 0, "unreadable": 0}
    shown = capsys.readouterr().out
    assert "[+] No warning" in shown and "JPEG quality" in shown
    assert {row["split"] for row in report["balance"]} == set(manifest.SPLITS)
    assert sum(row["persons"] for row in report["balance"]) == 2 * N


def jpeg(number, label):
    return picture(number), "jpg", {"quality": 60 if label else 95}


def smaller(number, label):
    return picture(number, 48 if label else 64), "png", {}


def wide(number, label):
    image = picture(number)
    return image.resize((80, 64)) if label else image, "png", {}


def watermarked(number, label):
    image = picture(number, 128)
    if label:
        ImageDraw.Draw(image).text((100, 122), "made by", fill="white", font_size=6)
    return image, "png", {}


def other_format(number, label):
    return picture(number), "png" if label else "jpg", {}


@pytest.mark.parametrize(
    ("save", "columns", "measure", "larger"),
    [
        (jpeg, None, "jpeg_quality", "reals"),
        (jpeg, None, "file_size", "reals"),
        (jpeg, None, "bytes_per_pixel", "reals"),
        (smaller, None, "area", "reals"),
        (wide, None, "aspect", "fakes"),
        (other_format, None, "is_jpeg", "reals"),
        (watermarked, None, "corner_bottom_right", "fakes"),
        (None, lambda n, y: {"box": f"4 4 {30 + 20 * y} 40"}, "face_side", "fakes"),
        (None, lambda n, y: {"box": f"4 4 {30 + 20 * y} 40"}, "face_share", "fakes"),
        (None, lambda n, y: {"media_size": f"{640 - y * 320} 480"}, "media_area", "reals"),
        (None, lambda n, y: {"source": "ab"[y]}, "source", "fakes"),
    ],
)
def test_a_planted_shortcut_is_found(made, save, columns, measure, larger):
    report = check(made(save, columns))
    assert measure in warned(report)
    (whole,) = (
        s
        for s in report["shortcuts"]
        if s["measure"] == measure and not s["split"] and not s["source"]
    )
    assert whole["auc"] == 1 and (whole["reals"], whole["fakes"]) == (N, N)
    assert whole["more"] == larger
    by_split = [s for s in report["shortcuts"] if s["measure"] == measure and s["split"]]
    assert {s["split"] for s in by_split} == set(manifest.SPLITS)


def test_a_shortcut_of_one_source_is_found(made):
    """Two collections that cheat in opposite ways: over all rows nothing is to be seen."""

    def save(number, label):
        return picture(number, 64 if label == (number % 4 < 2) else 48), "png", {}

    report = check(made(save, lambda n, y: {"source": "ab"[n % 4 < 2]}))
    whole = [s for s in report["shortcuts"] if s["measure"] == "area" and not s["source"]]
    assert not any(s["certain"] for s in whole)
    assert "area" in warned(report) and any(" in a:" in w for w in report["warnings"])


def test_rows_without_a_source_are_a_part_with_a_name(made):
    """Some that cheat, beside a collection that does not."""

    def save(number, label):
        cheats = number % 4 < 2
        return picture(number, 64 if label and cheats else 48), "png", {}

    report = check(made(save, lambda n, y: {"source": "" if n % 4 < 2 else "a"}))
    parts = [s["source"] for s in report["shortcuts"] if s["measure"] == "area" and not s["split"]]
    assert sorted(parts) == ["", "(no source)", "a"]


def test_few_faces_are_no_proof(made):
    report = check(made(jpeg, n=3), status=0)
    assert report["warnings"] == []
    assert any(s["auc"] == 1 and not s["certain"] for s in report["shortcuts"])


@pytest.mark.parametrize("quality", [30, 60, 75, 90, 95, 100])
def test_jpeg_quality_is_read_from_the_tables(tmp_path, quality):
    picture(1).save(tmp_path / "a.jpg", quality=quality)
    picture(1).convert("L").save(tmp_path / "grey.jpg", quality=quality)
    for name in ("a.jpg", "grey.jpg"):
        assert encoding((tmp_path / name).read_bytes()) == ("JPEG", quality)
    picture(1).save(tmp_path / "a.png")
    form, none = encoding((tmp_path / "a.png").read_bytes())
    assert form == "PNG" and np.isnan(none)
    with pytest.raises(UnreadableImage):
        encoding(b"no picture")


# ------------------------------------------------------------------------- leaks and files


def test_leaks_of_every_kind_are_found(made, tmp_path):
    file = made()
    rows = pd.read_csv(file, dtype=str)
    train, val = rows[rows["split"] == "train"].index, rows[rows["split"] == "val"].index
    rows.loc[val[0], "identity"] = rows.loc[train[0], "identity"]
    rows["video"] = ""
    rows.loc[[train[1], val[1]], "video"] = "clip"
    rows.to_csv(file, index=False)
    home = tmp_path / "set"
    shutil.copy(home / rows["path"][train[2]], home / rows["path"][val[2]])
    Image.open(home / rows["path"][train[3]]).save(home / rows["path"][val[3]], quality=80)
    report = check(file)
    leaks = [w for w in report["warnings"] if w.startswith("train and val")]
    for what in ("identity", "video", "picture (by content)", "near-duplicate"):
        assert any(what in leak for leak in leaks), what
    listed = pd.read_csv(home / "check.csv")
    assert {"duplicate", "near_duplicate"} <= set(listed["kind"])


def test_broken_and_contradicting_files_are_listed(made, tmp_path):
    file = made()
    home = tmp_path / "set"
    (home / "000.jpg").unlink()
    (home / "001.jpg").write_bytes(b"no picture")
    whole = (home / "002.jpg").read_bytes()
    (home / "002.jpg").write_bytes(whole[: len(whole) // 2])
    shutil.copy(home / "006.jpg", home / "007.jpg")
    report = check(file)
    assert report["files"] == {"read": 2 * N - 3, "missing": 1, "unreadable": 2}
    assert any("called real and fake" in w for w in report["warnings"])
    listed = pd.read_csv(home / "check.csv").set_index("path")["kind"]
    assert listed["000.jpg"] == "missing" and listed["001.jpg"] == "unreadable"


def test_one_class_only_is_said_and_no_error(made, tmp_path):
    file = made()
    rows = pd.read_csv(file, dtype=str)
    rows[rows["label"] == "0"].to_csv(file, index=False)
    report = check(file, status=0)
    assert report["shortcuts"] == [] and any("reals only" in note for note in report["notes"])


def test_names_may_be_anything(made, tmp_path, capsys):
    file = made()
    rows = pd.read_csv(file, dtype=str)
    odd = ['a,"b".jpg', "new\nline.jpg", "=1+2.jpg", "naïve 人.jpg"]
    for i, name in enumerate(odd):
        (tmp_path / "set" / rows["path"][i]).rename(tmp_path / "set" / name)
        (tmp_path / "set" / name).write_bytes(b"no picture")
        rows.loc[i, "path"] = name
    rows.to_csv(file, index=False)
    check(file)
    listed = pd.read_csv(tmp_path / "set" / "check.csv")
    assert list(listed["path"]) == odd


def test_commands_that_cannot_be_followed(tmp_path, made):
    for words, said in (
        (["check"], "reads 1 manifest"),
        (["check", str(tmp_path / "none.csv")], "no such CSV"),
        (["merge", "a.csv", "--out", "b.csv"], "reads 2 manifests"),
    ):
        with pytest.raises(UserError, match=said):
            prepare.main(words)
    file = made(n=1)
    for name in ("000.jpg", "001.jpg"):
        (tmp_path / "set" / name).write_bytes(b"")
    with pytest.raises(UserError, match="no picture can be read"):
        prepare.main(["check", file])
    rows = pd.read_csv(file).assign(label="deepfake")
    rows.to_csv(file, index=False)
    with pytest.raises(UserError, match=r"no row can be checked:\n.*neither real nor fake"):
        prepare.main(["check", file])


# -------------------------------------------------------------------------- near-duplicates


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(2, 60))
def test_near_pairs_are_all_that_a_comparison_of_all_finds(seed, threshold, n):
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**63, n, dtype=np.uint64)
    for i in range(1, n, 2):  # every other one is a neighbour of the one before
        for bit in random.integers(0, 64, random.integers(0, threshold + 3)):
            hashes[i] = hashes[i - 1 if bit % 2 else i] ^ np.uint64(1 << int(bit))
    hashes = np.unique(hashes)
    wanted = [
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if int(hashes[i] ^ hashes[j]).bit_count() <= threshold
    ]
    assert [tuple(pair) for pair in duplicates.near_pairs(hashes, threshold)] == wanted


def test_likeness_chains_and_names_are_the_least_hash():
    hashes = np.array([0b1111, 0b0, 0b11111111, 2**60 - 1, 0b1111], np.uint64)
    names = duplicates.group_names(hashes, 4)
    assert names == [f"{0:016x}"] * 3 + [""] + [f"{0:016x}"]
    assert duplicates.group_names(hashes[:0], 4) == []


def test_a_track_is_looked_at_twice_and_a_saved_again_picture_is_found(tmp_path):
    for i in range(6):
        picture(i).save(tmp_path / f"{i}.png")
    picture(0).resize((90, 90)).save(tmp_path / "6.jpg", quality=80)
    (tmp_path / "7.png").write_bytes(b"no picture")
    rows = pd.DataFrame({"path": [str(tmp_path / f"{i}.png") for i in range(6)]})
    rows = rows.assign(video=["", *["v"] * 5], source="s", track="0", label=0)
    rows.loc[6] = [str(tmp_path / "6.jpg"), "", "s", "", 0]
    rows.loc[7] = [str(tmp_path / "7.png"), "", "s", "", 0]
    found = duplicates.with_near_duplicates(rows, NearDuplicates(per_track=2))
    names = found["near_duplicate_group"].tolist()
    assert names[0] == names[6] != "" and not any(names[1:6]) and names[7] == ""
    assert duplicates.with_near_duplicates(rows, NearDuplicates(distance=-1)) is rows
    assert list(duplicates._some_of_each_track(rows, 2)) == [0, 2, 4, 6, 7]


# ------------------------------------------------------------------------ merge and overlap


def test_two_manifests_become_one(made, tmp_path, capsys):
    one, other = made(folder="one", n=6), made(folder="two", n=6, first=100)
    shutil.copy(tmp_path / "one" / "000.jpg", tmp_path / "two" / "000.jpg")
    out = tmp_path / "both" / "both.csv"
    assert prepare.main(["merge", one, other, "--out", str(out), "--apart", "True"]) == 0
    rows = manifest.read(str(out)).rows
    assert len(rows) == 23 and set(rows["source"]) == {"one", "one_2"}
    assert pd.read_csv(out)["path"][0] == "../one/000.jpg"
    assert "1 rows of" in capsys.readouterr().out
    prepare.main(["merge", one, other, "--out", str(out)])
    assert "one: equal names in it are one person" in capsys.readouterr().out


@pytest.mark.parametrize("named", [False, True])
def test_copies_across_the_two_are_one_group(made, tmp_path, named):
    """Else leaving the source of the one out would train on copies of what is tested."""
    one, other = made(folder="one", n=6), made(folder="two", n=6, first=100)
    Image.open(tmp_path / "one" / "000.jpg").save(tmp_path / "two" / "000.jpg", quality=80)
    if named:  # two of one manifest that look alike: theirs and the copy are one group then
        rows = pd.read_csv(one, dtype=str)
        rows["near_duplicate_group"] = ["g", *[""] * 5, "g", *[""] * 4, "h"]
        rows.to_csv(one, index=False)
    out = tmp_path / "both.csv"
    assert prepare.main(["merge", one, other, "--out", str(out), "--apart", "True"]) == 0
    rows = manifest.read(str(out)).rows
    group = dict(zip(rows["path"], rows["near_duplicate_group"], strict=True))
    of = {str(Path(path).relative_to(tmp_path)): name for path, name in group.items() if name}
    alike = {"one/000.jpg", "two/000.jpg"} | ({"one/006.jpg"} if named else set())
    assert {path for path in of if path != "one/011.jpg"} == alike
    assert len({of[path] for path in alike}) == 1 and (of.get("one/011.jpg") == "h") is named


def test_sources_stay_apart_over_several_merges(made, tmp_path):
    files = [
        made(folder=name, n=6, first=100 * i) for i, name in enumerate(("one", "two", "three"))
    ]
    first, both, whole = (str(tmp_path / f"{name}.csv") for name in ("first", "both", "all"))
    shutil.copy(files[2], first)
    assert prepare.main(["merge", *files[:2], "--out", both, "--apart", "True"]) == 0
    assert prepare.main(["merge", files[2], both, "--out", whole, "--apart", "True"]) == 0
    assert manifest.read(whole).rows["source"].value_counts().tolist() == [12, 12, 12]


@pytest.mark.parametrize("fault", ["label", "identity", "content", "look", "no splits"])
def test_what_contradicts_is_not_merged(made, tmp_path, fault):
    one, other = made(folder="one", n=6), made(folder="two", n=6, first=100)
    rows = pd.read_csv(other, dtype=str)
    if fault == "label":
        shutil.copy(tmp_path / "one" / "000.jpg", tmp_path / "two" / "001.jpg")
        said = "one calls real and the other fake"
    elif fault == "identity":  # row 0 is in train, row 2 in val
        rows.loc[2, "identity"] = "train0"
        said = "identity on both sides"
    elif fault == "content":
        shutil.copy(tmp_path / "one" / "000.jpg", tmp_path / "two" / "002.jpg")
        said = "by content"
    elif fault == "look":
        Image.open(tmp_path / "one" / "000.jpg").save(tmp_path / "two" / "002.jpg", quality=80)
        said = "look on both sides"
    else:
        rows = rows.drop(columns="split")
        said = "has no splits"
    rows.to_csv(other, index=False)
    with pytest.raises(UserError, match=said):
        prepare.main(["merge", one, other, "--out", str(tmp_path / "both.csv")])
    assert not (tmp_path / "both.csv").exists()


def test_merge_wants_a_name(made):
    file = made(n=2)
    with pytest.raises(UserError, match="name the new manifest"):
        prepare.main(["merge", file, file])


def test_overlap_finds_what_is_shared(made, tmp_path, capsys):
    one, other = made(folder="one", n=6), made(folder="two", n=6, first=100)
    assert prepare.main(["overlap", one, other]) == 0
    shutil.copy(tmp_path / "one" / "000.jpg", tmp_path / "two" / "000.jpg")
    Image.open(tmp_path / "one" / "001.jpg").save(tmp_path / "two" / "001.jpg", quality=80)
    rows = pd.read_csv(other, dtype=str)
    rows.loc[4, "identity"] = pd.read_csv(one)["identity"][4]
    rows.to_csv(other, index=False)
    out = tmp_path / "overlap.csv"
    assert prepare.main(["overlap", one, other, "--out", str(out)]) == 1
    found = pd.read_csv(out).set_index("path")["why"]
    assert found["two/000.jpg"] == "picture (by content); near-duplicate"
    assert found["two/001.jpg"] == "near-duplicate" and found["two/004.jpg"] == "person"
    assert "3 of 12 rows" in capsys.readouterr().out
    before = Path(one).read_bytes()
    with pytest.raises(UserError, match="would be written over"):
        prepare.main(["overlap", one, other, "--out", one])
    assert Path(one).read_bytes() == before


def test_measures_know_nothing_of_what_is_broken(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    rows = pd.DataFrame({"path": [str(tmp_path / "a.png")], "label": [FAKE], "split": [""]})
    rows = rows.assign(source="", box="", media_size="")
    files = measures.measured(rows["path"], 1)
    assert files[rows["path"][0]].reason == "the file is empty"
    assert len(measures.table(rows, files)) == 0
    assert shortcuts.find(measures.table(rows, files), []) == []
