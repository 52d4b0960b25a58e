"""The collections: labels, people, links and splits of each layout; what is refused, by name."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from films import film, write
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import manifest
import prepare
import settings
import sources
import splits
from failures import MISSING, UNLABELLED, UNREADABLE
from flags import Prepare
from manifest import FAKE, REAL
from settings import ConfigError
from utils import UserError

few = hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

ROOT = Path(__file__).parents[1]
FACTS = Path(os.environ.get("DEEPFAKE_FACTS", ROOT / "shared" / "faces" / "facts"))
"""Where the official split and label files are, for the slow tests."""


def index(name: str, root: Path | str, **keys: object) -> pd.DataFrame:
    """The rows of a collection; `folder__label="real"` sets folder.label."""
    overrides = {key.replace("__", "."): value for key, value in keys.items()}
    return sources.find(name).index(str(root), settings.load(Prepare, "", overrides))


def rows_of(media: pd.DataFrame, root: Path) -> dict[str, dict]:
    """Rows by their path below the root."""
    return {os.path.relpath(row["path"], root): row for row in media.to_dict("records")}


def left_out(media: pd.DataFrame, root: Path) -> dict[str, str]:
    """Kind of each failure by its path below the root."""
    return {os.path.relpath(f.path, root): f.kind for f in media.attrs["left_out"]}


def refused(name: str, root: Path | str, **keys: object) -> str:
    with pytest.raises(UserError) as error:
        index(name, root, **keys)
    return str(error.value)


# --------------------------------------------------------------------- one of each layout


def faceforensics(root: Path) -> Path:
    pairs = ("071_054", "054_071", "087_081")
    methods = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
    fakes = [f"manipulated_sequences/{m}/c23/videos/{p}.mp4" for m in methods for p in pairs]
    reals = [f"original_sequences/youtube/c23/videos/{n}.mp4" for n in ("071", "054", "087", "081")]
    return write(root, *reals, *fakes)


def dfd(root: Path) -> Path:
    fakes = "manipulated_sequences/DeepFakeDetection/c23/videos"
    reals = "original_sequences/actors/c23/videos"
    return write(
        root, f"{reals}/01__kitchen_pan.mp4", f"{reals}/02__walk__slow.mp4",
        f"{fakes}/01_02__kitchen_pan__YVGY8LOK.mp4", f"{fakes}/02_01__walk__slow__0XUW13RW.mp4",
    )  # fmt: skip


def celeb_df(root: Path) -> Path:
    write(
        root, "Celeb-real/id0_0000.mp4", "Celeb-real/id1_0001.mp4", "Celeb-real/00001.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/id1_id0_0005.mp4",
        "YouTube-real/00001.mp4", "YouTube-real/00170.mp4",
    )  # fmt: skip
    (root / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\r\n0 Celeb-synthesis/id0_id1_0000.mp4\n1 Celeb-real/id9_0000.mp4"
    )
    return root


def dfdc(root: Path) -> Path:
    write(root, "part_0/a.mp4", "part_0/b.mp4", "part_1/c.mp4", "part_1/d.mp4", "part_1/lost.mp4")
    labels = {
        "part_0": {
            "a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"},
            "b.mp4": {"label": "REAL", "split": "train", "original": None},
            "gone.mp4": {"label": "REAL", "split": "train"},
        },
        "part_1": {
            "c.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"},
            "d.mp4": {"label": "perhaps", "split": "train"},
        },
    }
    for part, table in labels.items():
        (root / part / "metadata.json").write_text(json.dumps(table))
    return root


def deepfake_timit(root: Path) -> Path:
    return write(
        root, "lower_quality/fadg0/sa1-video-fram1.avi", "higher_quality/fadg0/sa1-video-fram1.avi",
        "higher_quality/fram1/sx3-video-fadg0.avi",
    )  # fmt: skip


def vidtimit(root: Path) -> Path:
    for clip in ("fadg0/video/sa1", "fadg0/video/head", "fram1/video/sx3"):
        write(root, f"{clip}/001", f"{clip}/002")
    (root / "fram1/video/empty").mkdir()
    return root


def uadfv(root: Path) -> Path:
    return write(root, "real/0000.mp4", "real/0001.mp4", "fake/0000_fake.mp4", "fake/0002_fake.mp4")


def aberdeen(root: Path) -> Path:
    return write(root, "anna1.jpg", "Anna2.JPG", "ben.jpg", "m01_smile.jpg", "m02.jpg", "042_x.png")


def muct(root: Path) -> Path:
    return write(root, "jpg/i000qa-fn.jpg", "jpg/i000rb-fn.jpg", "muct-b/jpg/i012qe-mg.jpg")


def ffhq(root: Path) -> Path:
    return write(root, "real/00000/00001.png", "fake/1m_faces/ABC.jpg", "fake/ABD.jpg")


def folder(root: Path) -> Path:
    return write(
        root, "Real/anna_1/0001.jpg", "REAL/anna_1/0002.png", "real/anna_2/0001.JPG",
        "train/fake/swap/ben_1.MP4", "FAKE/cleo_7.avi",
    )  # fmt: skip


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "faceforensics": faceforensics, "dfd": dfd, "celeb_df": celeb_df, "dfdc": dfdc,
    "deepfake_timit": deepfake_timit, "uadfv": uadfv, "aberdeen": aberdeen, "utrecht": aberdeen,
    "muct": muct, "ffhq": ffhq, "folder": folder,
}  # fmt: skip

every_layout = pytest.mark.parametrize("name", LAYOUTS)
ALL = {"deepfake_timit__quality": ["lower", "higher"]}
"""Settings that take all that the layouts hold."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "collection"


# -------------------------------------------------------------------- what holds for each


@every_layout
def test_rows_have_the_manifests_columns_and_a_kind(name, root):
    media = index(name, LAYOUTS[name](root), **ALL)
    assert list(media.columns) == [*manifest.COLUMNS, "kind"]
    assert set(media["label"]) <= {REAL, FAKE} and set(media["source"]) == {name}
    texts = media.drop(columns="label")
    assert all(isinstance(cell, str) for cell in texts.to_numpy().ravel())
    assert all(Path(path).is_absolute() and Path(path).exists() for path in media["path"])
    assert media["path"].is_monotonic_increasing
    assert set(media["split"]) <= {*manifest.SPLITS, ""}
    assert set(media["kind"]) <= {"photo", "video"}
    clips = media[media["kind"] == "video"]
    assert (clips["video"] != "").all() and clips["video"].is_unique
    assert (media[media["kind"] == "photo"]["video"] == "").all()
    assert (media[media["label"] == REAL][["method", "source_video", "source_identity"]] == "").all(
        axis=None
    )


@every_layout
def test_every_medium_is_a_row_or_named_and_never_twice(name, root):
    LAYOUTS[name](root)
    write(root, ".hidden.mp4", ".cache/x.jpg", "__MACOSX/y.jpg")
    media = index(name, root, **ALL)
    suffixes = {".mp4", ".avi", ".jpg", ".png"}
    files = {str(f.relative_to(root)) for f in root.rglob("*") if f.suffix.lower() in suffixes}
    files -= {".hidden.mp4", ".cache/x.jpg", "__MACOSX/y.jpg"}
    named = {path for path, kind in left_out(media, root).items() if kind != MISSING}
    assert set(rows_of(media, root)) | named == files
    assert len(media) + len(named) == len(files)


@every_layout
def test_nothing_is_decoded(name, root, monkeypatch):
    before = index(name, LAYOUTS[name](root), **ALL)
    for file in root.rglob("*"):
        if file.suffix.lower() in (".mp4", ".avi", ".jpg", ".png"):
            file.write_bytes(b"no film and no picture")
    pd.testing.assert_frame_equal(index(name, root, **ALL), before)


@every_layout
def test_suffixes_in_capitals_are_taken_too(name, root):
    before = rows_of(index(name, LAYOUTS[name](root), **ALL), root)
    for file in [f for f in root.rglob("*") if f.suffix in (".mp4", ".avi", ".jpg", ".png")]:
        file.rename(file.with_suffix(file.suffix.upper()))
    for table in root.rglob("metadata.json"):
        table.write_text(table.read_text().replace(".mp4", ".MP4"))
    after = rows_of(index(name, root, **ALL), root)
    assert {path.lower() for path in after} == {path.lower() for path in before}


@every_layout
def test_a_link_that_leads_out_is_refused_and_named(name, root, tmp_path):
    LAYOUTS[name](root)
    outside = write(tmp_path / "elsewhere", "film.mp4", "picture.jpg")
    place = next(f for f in sorted(root.rglob("*")) if f.suffix in (".mp4", ".avi", ".jpg")).parent
    (place / "linked.mp4").symlink_to(outside / "film.mp4")
    (place / "linked.jpg").symlink_to(outside / "picture.jpg")
    (place / "folder").symlink_to(outside)
    (place / "nothing.jpg").symlink_to(place / "nowhere.jpg")
    media = index(name, root, **ALL)
    named = left_out(media, root)
    for link in ("linked.mp4", "linked.jpg", "folder"):
        assert named[os.path.relpath(place / link, root)] == UNREADABLE
    assert named[os.path.relpath(place / "nothing.jpg", root)] == MISSING
    assert not media["path"].str.contains("linked|elsewhere|nothing").any()


@every_layout
def test_a_split_by_the_links_shares_nobody(name, root):
    media = index(name, LAYOUTS[name](root), **ALL).drop_duplicates("path")
    side = splits.random_split(media, [0.5, 0.5], ["train", "test"], 1)
    assert splits.leaks(media[side == "train"], media[side == "test"]) == []


@every_layout
def test_an_empty_folder_and_a_wrong_one_are_said(name, root, tmp_path):
    root.mkdir()
    (root / "notes.txt").write_text("no media")
    message = refused(name, root)
    assert str(root) in message
    assert "notes.txt" in message or "holds no media" in message
    assert "no such folder" in refused(name, root / "nowhere")
    assert "Set --root" in refused(name, "")
    zipped = write(tmp_path, "collection.zip") / "collection.zip"
    assert "unpack it" in refused(name, zipped)


@pytest.mark.parametrize("name", ["faceforensics", "dfd", "celeb_df", "deepfake_timit", "uadfv"])
def test_the_parent_or_a_child_of_the_right_folder_gets_a_hint(name, root):
    LAYOUTS[name](root)
    for near in (root.parent, next(f for f in sorted(root.iterdir()) if f.is_dir())):
        message = refused(name, near)
        assert "looked for" in message and "found" in message
        assert message.endswith(f"they are in {root}: give that folder")


@pytest.mark.parametrize(
    ("name", "label"), [("uadfv", "real"), ("ffhq", "fake"), ("folder", "real")]
)
def test_one_class_alone_is_taken(name, label, root):
    LAYOUTS[name](root)
    for file in [f for f in root.rglob("*.*") if label not in str(f.relative_to(root)).lower()]:
        file.unlink()
    assert set(index(name, root)["label"]) == {REAL if label == "real" else FAKE}


def test_the_overview_has_a_line_a_source():
    lines = sources.overview().splitlines()
    assert [line.split()[0] for line in lines] == sources.known_sources()
    assert all(len(line) < 120 and "_" not in line.split()[0][0] for line in lines)
    assert {*LAYOUTS, "portraits", "unsplash"} == set(sources.known_sources())


SAYS = {
    "page or form": r"[Oo]btained",
    "address": r"\w\.(com|org|uk|ch|au)\b|by yourself",
    "licence": r"[Ll]icen[cs]e|terms",
    "citation": r"(19|20|arXiv )\d\d|cite|citation",
    "layout": r"\n    \S*[/.]",
}


@pytest.mark.parametrize("name", sources.known_sources())
def test_a_source_says_where_it_comes_from(name, capsys):
    text = sources.find(name).__doc__
    if name != "portraits":  # inside a package, which says it
        for what, words in SAYS.items():
            assert re.search(words, text), f"{name} does not say its {what}"
    with pytest.raises(SystemExit) as ended:
        prepare.main([name, "--help"])
    assert ended.value.code == 0
    assert text.splitlines()[0] in capsys.readouterr().out


def test_counts_are_the_bars_of_a_plot(root, tmp_path):
    media = pd.concat([index("uadfv", uadfv(root)), index("folder", folder(tmp_path / "other"))])
    counts = sources.counts(media)
    assert counts["n"].sum() == len(media)
    real = counts[(counts["source"] == "uadfv") & (counts["label"] == "real")]
    assert real[["method", "kind", "n"]].to_numpy().tolist() == [["", "video", 2]]


# -------------------------------------------------------------------------- FaceForensics++


def official(folder: Path, **pairs: list[list[str]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("train", "val", "test"):
        (folder / f"{name}.json").write_text(json.dumps(pairs.get(name, [])))
    return folder


def test_faceforensics_names_people_and_originals(root):
    rows = rows_of(index("faceforensics", faceforensics(root)), root)
    assert len(rows) == 4 + 5 * 3
    real = rows["original_sequences/youtube/c23/videos/071.mp4"]
    assert (real["label"], real["identity"], real["video"]) == (REAL, "071", "youtube/c23/071")
    fake = rows["manipulated_sequences/FaceSwap/c23/videos/071_054.mp4"]
    assert (fake["label"], fake["identity"], fake["source_identity"]) == (FAKE, "071", "054")
    assert (fake["video"], fake["method"]) == ("FaceSwap/c23/071_054", "FaceSwap")
    assert fake["source_video"] == real["video"]
    assert {row["split"] for row in rows.values()} == {""}


def test_faceforensics_takes_the_qualities_and_methods_that_are_set(root):
    faceforensics(root)
    write(root, "original_sequences/youtube/c40/videos/071.mp4")
    write(root, "manipulated_sequences/Deepfakes/c40/videos/071_054.mp4")
    write(root, "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4")
    both = index(
        "faceforensics", root, faceforensics__quality=["c40", "c23"],
        faceforensics__methods=["Deepfakes"],
    )  # fmt: skip
    assert len(both) == (4 + 3) + (1 + 1) and both["video"].is_unique
    fake = both[both["video"] == "Deepfakes/c40/071_054"].iloc[0]
    assert fake["source_video"] == "youtube/c40/071"
    message = refused("faceforensics", root, faceforensics__quality=["raw"])
    assert "youtube/c23" in message and "set --faceforensics.quality" in message
    notes = index("faceforensics", root, faceforensics__quality=["c23", "c40"]).attrs["notes"]
    assert any("FaceShifter/c40" in note for note in notes)


def test_faceforensics_settings_are_read_from_the_command_line():
    given = ["--faceforensics.quality=raw,c40", "--faceforensics.methods", "FaceSwap"]
    config = settings.parse(Prepare, given, "")
    assert config.faceforensics.quality == ["raw", "c40"]
    assert config.faceforensics.methods == ["FaceSwap"]
    with pytest.raises(ConfigError, match=r"faceforensics\.quality"):
        settings.load(Prepare, "", {"faceforensics.quality": ["c24"]})


def test_faceforensics_splits_go_by_the_official_pairs(root, tmp_path):
    faceforensics(root)
    write(root, "manipulated_sequences/Deepfakes/c23/videos/071_087.mp4")
    write(root, "manipulated_sequences/Deepfakes/c23/videos/071_999.mp4")
    write(root, "manipulated_sequences/Deepfakes/c23/videos/copy of 071_054.mp4")
    folder = official(tmp_path / "splits", train=[["071", "054"]], test=[["087", "081"]])
    media = index("faceforensics", root, faceforensics__splits=str(folder))
    assert set(media[media["identity"].isin(["071", "054"])]["split"]) == {"train"}
    assert set(media[media["identity"].isin(["087", "081"])]["split"]) == {"test"}
    reasons = {Path(f.path).stem: f.reason for f in media.attrs["left_out"]}
    assert "two official splits" in reasons["071_087"]
    assert "no official split names it" in reasons["071_999"]
    assert "TTT_SSS" in reasons["copy of 071_054"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "not a JSON"),
        ('{"071": "054"}', "looked for pairs"),
        ('[["071", 54]]', "looked for pairs"),
        ('[["087", "054"]]', "087 is in train.json too"),
    ],
)
def test_faceforensics_split_files_are_checked(root, tmp_path, text, message):
    folder = official(tmp_path / "splits", train=[["087", "081"]])
    (folder / "val.json").unlink() if text is None else (folder / "val.json").write_text(text)
    assert message in refused(
        "faceforensics", faceforensics(root), faceforensics__splits=str(folder)
    )


@few
@given(data=st.data())
def test_official_pairs_are_never_separated(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("ff")
    people = data.draw(st.permutations([f"{n:03d}" for n in range(12)]))
    pairs = [list(pair) for pair in zip(people[::2], people[1::2], strict=True)]
    cut = sorted(data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=2)))
    parts = {"train": pairs[: cut[0]], "val": pairs[cut[0] : cut[1]], "test": pairs[cut[1] :]}
    swaps = st.tuples(st.sampled_from(people), st.sampled_from(people))
    for target, source in data.draw(st.sets(swaps, min_size=1)):
        write(root, f"manipulated_sequences/Deepfakes/c23/videos/{target}_{source}.mp4")
    for person in data.draw(st.sets(st.sampled_from(people), min_size=1)):
        write(root, f"original_sequences/youtube/c23/videos/{person}.mp4")
    folder = official(tmp_path_factory.mktemp("splits"), **parts)
    media = index("faceforensics", root, faceforensics__splits=str(folder))
    sides = {person: name for name, part in parts.items() for pair in part for person in pair}
    assert all(row.split == sides[row.identity] for row in media.itertuples())
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        rows = [media[media["split"] == name] for name in (first, second)]
        assert splits.leaks(*rows) == []
    assert len(media) + len(media.attrs["left_out"]) == len(list(root.rglob("*.mp4")))


# --------------------------------------------------------------------- the other clips


def test_dfd_names_actors_and_the_scene_that_was_swapped(root):
    dfd(root)
    write(root, "original_sequences/actors/c23/videos/scene.mp4")
    media = index("dfd", root)
    rows = {row["video"]: row for row in media.to_dict("records")}
    fake = rows["DeepFakeDetection/c23/02_01__walk__slow__0XUW13RW"]
    assert (fake["identity"], fake["source_identity"]) == ("02", "01")
    assert fake["source_video"] == "actors/c23/02__walk__slow" in rows
    assert rows["actors/c23/01__kitchen_pan"]["identity"] == "01"
    assert list(left_out(media, root).values()) == [UNLABELLED]
    assert "set --dfd.quality" in refused("dfd", root, dfd__quality=["raw"])


def test_celeb_dfs_list_says_1_for_real(root):
    media = index("celeb_df", celeb_df(root))
    rows = rows_of(media, root)
    assert rows["YouTube-real/00170.mp4"]["label"] == REAL
    assert rows["Celeb-synthesis/id0_id1_0000.mp4"]["label"] == FAKE
    test = {path for path, row in rows.items() if row["split"] == "test"}
    assert test == {"YouTube-real/00170.mp4", "Celeb-synthesis/id0_id1_0000.mp4"}
    assert {row["split"] for row in rows.values()} == {"test", ""}
    assert left_out(media, root) == {
        "Celeb-real/id9_0000.mp4": MISSING, "Celeb-real/00001.mp4": UNLABELLED,
    }  # fmt: skip


def test_celeb_df_tells_equal_names_apart_and_knows_its_people(root):
    write(root, "Celeb-real/id1_00001.mp4", "YouTube-real/00002.mp4")
    media = index("celeb_df", celeb_df(root), celeb_df__official_test=False)
    rows = rows_of(media, root)
    assert rows["YouTube-real/00001.mp4"]["video"] == "YouTube-real/00001"
    others = {row["identity"] for path, row in rows.items() if path.startswith("YouTube")}
    assert others == {"YouTube-real/00001", "YouTube-real/00002", "YouTube-real/00170"}
    fake = rows["Celeb-synthesis/id0_id1_0000.mp4"]
    assert (fake["identity"], fake["source_identity"]) == ("id0", "id1")
    assert fake["source_video"] == rows["Celeb-real/id0_0000.mp4"]["video"]
    assert rows["Celeb-synthesis/id1_id0_0005.mp4"]["source_video"] == ""  # is not there
    assert {row["split"] for row in rows.values()} == {""}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 YouTube-real/00001.mp4", "is fake, its folder says it is not"),
        ("1 Celeb-synthesis/id0_id1_0000.mp4", "is called both real and fake"),
        ("YouTube-real/00001.mp4", "line 4: looked for"),
        ("2 YouTube-real/00001.mp4", "line 4: looked for"),
        ("1", "line 4: looked for"),
    ],
)
def test_celeb_dfs_list_is_checked(root, line, message):
    with (celeb_df(root) / "List_of_testing_videos.txt").open("a") as file:
        file.write(f"\n{line}\n")
    assert message in refused("celeb_df", root)


def test_celeb_df_without_its_list_has_no_split(root):
    (celeb_df(root) / "List_of_testing_videos.txt").unlink()
    media = index("celeb_df", root)
    assert set(media["split"]) == {""} and "no official split" in media.attrs["notes"][0]


def test_dfdc_links_a_fake_to_its_original(root):
    media = index("dfdc", dfdc(root))
    rows = rows_of(media, root)
    assert {path: row["label"] for path, row in rows.items()} == {
        "part_0/a.mp4": FAKE, "part_0/b.mp4": REAL, "part_1/c.mp4": FAKE,
    }  # fmt: skip
    assert rows["part_0/b.mp4"]["video"] == "b"
    assert rows["part_0/a.mp4"]["source_video"] == rows["part_1/c.mp4"]["source_video"] == "b"
    assert {row["split"] for row in rows.values()} == {""}  # "train" everywhere says nothing
    assert {row["identity"] for row in rows.values()} == {""}  # its actors are not named
    assert left_out(media, root) == {
        "part_0/gone.mp4": MISSING, "part_1/d.mp4": UNLABELLED, "part_1/lost.mp4": UNLABELLED,
    }  # fmt: skip
    assert len(index("dfdc", root / "part_0")) == 2


def test_dfdcs_preview_is_read(root):
    names = {
        "original_videos/643049/643049_A_001.mp4": ("real", "train", "643049", None),
        "original_videos/126/126_C_001.mp4": ("real", "test", "126", None),
        "method_B/126/126_C/125_126_C_001.mp4": ("fake", "test", "126", "125"),
        "method_A/126/126_C/125_126_C_009.mp4": ("fake", "test", "126", "125"),
    }
    keys = ("label", "set", "target_id", "swapped_id")
    table = {name: dict(zip(keys, said, strict=True)) for name, said in names.items()}
    write(root, *names)
    (root / "dataset.json").write_text(json.dumps(table))
    rows = rows_of(index("dfdc", root), root)
    fake = rows["method_B/126/126_C/125_126_C_001.mp4"]
    assert (fake["split"], fake["method"]) == ("test", "method_B")
    assert (fake["identity"], fake["source_identity"]) == ("126", "125")
    assert fake["source_video"] == "original_videos/126/126_C_001"
    assert rows["method_A/126/126_C/125_126_C_009.mp4"]["source_video"] == ""
    assert rows["original_videos/643049/643049_A_001.mp4"]["split"] == "train"


def test_dfdcs_labels_csv_says_1_for_fake(root):
    write(root, "a.mp4", "b.mp4")
    (root / "labels.csv").write_text("filename,label\na.mp4,1\nb.mp4,0\n")
    rows = rows_of(index("dfdc", root), root)
    assert {path: row["label"] for path, row in rows.items()} == {"a.mp4": FAKE, "b.mp4": REAL}
    (root / "labels.csv").write_text("name;label\na.mp4;1\n")
    assert "looked for filename,label" in refused("dfdc", root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON"),
        (b"\xff\xfe{}", "not a JSON"),
        ("[" * 100_000, "not a JSON"),
        ("[1, 2]", "looked for"),
        ('{"a.mp4": "FAKE"}', "looked for"),
        ('{"a.mp4": {"label": "FAKE", "split": "holdout"}}', "unknown split 'holdout'"),
        ('{"../a.mp4": {"label": "FAKE"}}', "leads out of its folder"),
        ('{"/a.mp4": {"label": "FAKE"}}', "leads out of its folder"),
        ('{"": {"label": "FAKE"}, ".": {"label": "FAKE", "original": "."}}', "no media"),
    ],
)
def test_dfdcs_label_files_are_checked(root, text, message):
    write(root, "b.mp4")
    content = text if isinstance(text, bytes) else text.encode()
    (root / "metadata.json").write_bytes(content)
    error = refused("dfdc", root)
    assert message in error and str(root) in error


def test_dfdc_refuses_two_labels_and_two_files_of_one_name(root):
    dfdc(root)
    (root / "part_0/labels.csv").write_text("filename,label\na.mp4,0\n")
    assert "is called both real and fake" in refused("dfdc", root)
    (root / "part_0/labels.csv").unlink()
    write(root, "part_1/a.mp4")
    table = {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}}
    (root / "part_1/metadata.json").write_text(json.dumps(table))
    assert "would count as one clip" in refused("dfdc", root)


def test_dfdc_without_label_files_is_refused(root):
    message = refused("dfdc", write(root, "a.mp4"))
    assert "looked for metadata.json" in message and "found a.mp4" in message


def test_dfdcs_labelled_test_beside_its_training_parts_is_no_split(root):
    dfdc(root)
    write(root, "test/x.mp4", "test/y.mp4")
    (root / "test/labels.csv").write_text("filename,label\nx.mp4,1\ny.mp4,0\n")
    # "train" of some and nothing of others: an official split would train on the test.
    assert set(index("dfdc", root)["split"]) == {""}


def test_dfdcs_test_part_says_is_fake_and_what_one_file_leaves_open_another_knows(root):
    write(root, "x.mp4", "y.mp4", "z.mp4")
    said = {"x.mp4": {"is_fake": 1}, "y.mp4": {"is_fake": 0}, "z.mp4": {"original": None}}
    (root / "metadata.json").write_text(json.dumps(said))
    (root / "labels.csv").write_text("filename,label\nx.mp4,1\nz.mp4,0\n")
    rows = rows_of(index("dfdc", root), root)
    found = {path: row["label"] for path, row in rows.items()}
    assert found == {"x.mp4": FAKE, "y.mp4": REAL, "z.mp4": REAL}


def test_dfdc_knows_what_all_label_files_of_a_clip_say(root):
    """A CSV of labels beside a metadata.json takes neither originals nor splits away."""
    said = {
        "p/a.mp4": {"label": "REAL", "split": "test", "original": "x.mp4"},
        "p/b.mp4": {"label": "FAKE", "split": "train", "original": "a.mp4"},
        "p/c.mp4": {"split": "train", "original": "a.mp4"},
        "p/d.mp4": {"label": "REAL", "split": "train"},
    }
    write(root, *said)
    inside = {key.removeprefix("p/"): value for key, value in said.items()}
    (root / "p" / "metadata.json").write_text(json.dumps(inside))
    alone = {path: dict(row) for path, row in rows_of(index("dfdc", root), root).items()}
    assert "p/c.mp4" not in alone
    text = "filename,label\n" + "".join(f"{{}}{n}.mp4,{int(n in 'bc')}\n" for n in "abcd")
    for file, prefix in ((root / "p" / "labels.csv", ""), (root / "labels.csv", "p/")):
        file.write_text(text.replace("{}", prefix))
        found = rows_of(index("dfdc", root), root)
        for name, row in alone.items():
            assert dict(found[name]) == row
        assert found["p/c.mp4"]["label"] == FAKE and found["p/a.mp4"]["source_video"] == ""
        assert {found[f"p/{n}.mp4"]["source_video"] for n in "bc"} == {"a"}
        assert {found[f"p/{n}.mp4"]["split"] for n in "abc"} == {"test"}
        file.unlink()


def test_dfdcs_splits_are_the_originals(root):
    said = {
        "real.mp4": ("REAL", "test", None),
        "fake.mp4": ("FAKE", "train", "real.mp4"),
        "other.mp4": ("REAL", "train", None),
        "orphan.mp4": ("FAKE", "validation", "elsewhere.mp4"),
        "one.mp4": ("FAKE", "train", "nowhere.mp4"),
        "two.mp4": ("FAKE", "test", "nowhere.mp4"),
    }
    keys = ("label", "split", "original")
    write(root, *said)
    table = {name: dict(zip(keys, values, strict=True)) for name, values in said.items()}
    (root / "metadata.json").write_text(json.dumps(table))
    media = index("dfdc", root)
    assert dict(zip(media["video"], media["split"], strict=True)) == {
        "real": "test", "fake": "test", "other": "train", "orphan": "val",
    }  # fmt: skip
    assert left_out(media, root) == {"one.mp4": UNLABELLED, "two.mp4": UNLABELLED}


@few
@given(data=st.data())
def test_a_fake_goes_where_its_original_goes(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("dfdc")
    names = [f"{letter}.mp4" for letter in "abcdefgh"]
    split = st.sampled_from(["train", "test", "validation", ""])
    fake = st.fixed_dictionaries(
        {"label": st.just("FAKE"), "split": split, "original": st.sampled_from([*names, "z.mp4"])}
    )
    real = st.fixed_dictionaries({"label": st.just("REAL"), "split": split})
    table = {
        name: data.draw(real if name < "d" else fake) for name in names if data.draw(st.booleans())
    }
    for fake_row in table.values():  # an original is a real
        if fake_row.get("original", "a") not in ("a.mp4", "b.mp4", "c.mp4", "z.mp4"):
            fake_row["original"] = "a.mp4"
    write(root, *names)
    (root / "metadata.json").write_text(json.dumps(table))
    try:
        media = index("dfdc", root)
    except UserError as error:
        assert "holds no media" in str(error)
        return
    assert len(media) + len(media.attrs["left_out"]) == len(names)
    sides = dict(zip(media["video"], media["split"], strict=True))
    for row in media[media["label"] == FAKE].itertuples():
        assert row.split == sides.get(row.source_video, row.split)
    for first in set(media["split"]):
        rest = media[media["split"] != first]
        assert splits.leaks(media[media["split"] == first], rest) == []


def test_deepfake_timit_pairs_fakes_with_vidtimits_frames(root, tmp_path):
    deepfake_timit(root)
    write(root, "higher_quality/fadg0/sa1.avi")
    reals = vidtimit(tmp_path / "VidTIMIT")
    media = index("deepfake_timit", root, deepfake_timit__vidtimit=str(reals))
    rows = {row["video"]: row for row in media.to_dict("records")}
    fake = rows["higher/fadg0/sa1-video-fram1"]
    assert (fake["label"], fake["identity"], fake["source_identity"]) == (FAKE, "fadg0", "fram1")
    real = rows[fake["source_video"]]
    assert (real["label"], real["kind"], real["identity"]) == (REAL, "frames", "fadg0")
    assert real["path"] == str(reals / "fadg0/video/sa1") and Path(real["path"]).is_dir()
    assert sorted(rows) == [
        "higher/fadg0/sa1-video-fram1", "higher/fram1/sx3-video-fadg0", "vidtimit/fadg0/head",
        "vidtimit/fadg0/sa1", "vidtimit/fram1/sx3",
    ]  # fmt: skip
    named = {Path(f.path).name: f.kind for f in media.attrs["left_out"]}
    assert named == {"sa1.avi": UNLABELLED, "empty": UNREADABLE}
    assert "vidtimit" in index("deepfake_timit", root).attrs["notes"][0]
    message = refused("deepfake_timit", root, deepfake_timit__vidtimit=str(tmp_path))
    assert f"they are in {reals}" in message


def test_uadfv_pairs_by_number(root):
    uadfv(root)
    write(root, "fake/frames/0000_fake/000.png", "real/holiday.mp4")
    media = index("uadfv", root)
    rows = rows_of(media, root)
    assert {path: row["label"] for path, row in rows.items()} == {
        "real/0000.mp4": REAL, "real/0001.mp4": REAL,
        "fake/0000_fake.mp4": FAKE, "fake/0002_fake.mp4": FAKE,
    }  # fmt: skip
    assert rows["fake/0000_fake.mp4"]["source_video"] == rows["real/0000.mp4"]["video"]
    assert set(left_out(media, root).values()) == {UNLABELLED}


def test_two_clips_of_one_name_are_refused(root):
    write(uadfv(root), "real/0000.avi")
    assert "would count as one clip" in refused("uadfv", root)


# ------------------------------------------------------------------------------ photographs


def test_photographs_name_their_people(root, tmp_path):
    rows = rows_of(index("aberdeen", aberdeen(root)), root)
    assert {path: row["identity"] for path, row in rows.items()} == {
        "anna1.jpg": "anna", "Anna2.JPG": "anna", "ben.jpg": "ben", "m01_smile.jpg": "m01",
        "m02.jpg": "m02", "042_x.png": "042",
    }  # fmt: skip
    media = index("utrecht", write(tmp_path / "u", "_1.jpg", "sub/_1.jpg", "film.mp4"))
    assert sorted(media["identity"]) == ["_1", "sub/_1"]
    assert set(media["label"]) == {REAL} and len(media.attrs["left_out"]) == 1
    same = index("aberdeen", write(tmp_path / "same", "image001.jpg", "image002.jpg"))
    assert "all photos show one person, image" in same.attrs["notes"][0]


def test_muct_names_its_people(root):
    write(muct(root), "jpg/i000.jpg", "jpg/notes.jpg")
    media = index("muct", root)
    assert sorted(media["identity"]) == ["000", "000", "012"] and set(media["label"]) == {REAL}
    assert set(left_out(media, root)) == {"jpg/i000.jpg", "jpg/notes.jpg"}


def test_ffhq_is_two_folders_of_pictures(root):
    rows = rows_of(index("ffhq", ffhq(root)), root)
    assert {path: (row["label"], row["method"]) for path, row in rows.items()} == {
        "real/00000/00001.png": (REAL, ""), "fake/1m_faces/ABC.jpg": (FAKE, "StyleGAN"),
        "fake/ABD.jpg": (FAKE, "StyleGAN"),
    }  # fmt: skip


def test_portraits_have_the_same_columns():
    media = index("portraits", "")
    assert list(media.columns) == [*manifest.COLUMNS, "kind"] and set(media["kind"]) == {"photo"}
    assert media["identity"].is_unique and set(media["label"]) == {REAL}


# ------------------------------------------------------------------------- folders of one's own


def test_a_folder_of_ones_own_is_labelled_by_its_folders(root):
    write(folder(root), "readme.jpg", "real/fake/x.jpg", "realistic/y.jpg")
    media = index("folder", root)
    rows = rows_of(media, root)
    assert {path: row["label"] for path, row in rows.items()} == {
        "Real/anna_1/0001.jpg": REAL, "REAL/anna_1/0002.png": REAL, "real/anna_2/0001.JPG": REAL,
        "train/fake/swap/ben_1.MP4": FAKE, "FAKE/cleo_7.avi": FAKE,
    }  # fmt: skip
    assert rows["FAKE/cleo_7.avi"]["video"] == "FAKE/cleo_7.avi"
    assert left_out(media, root) == dict.fromkeys(
        ["readme.jpg", "real/fake/x.jpg", "realistic/y.jpg"], UNLABELLED
    )


def test_a_pattern_finds_people_and_clips(root):
    pattern = r"(?P<video>\w+/(?P<identity>[a-z]+)_\d+)[/.]"
    media = index("folder", folder(root), folder__pattern=pattern, folder__name="mine")
    rows = rows_of(media, root)
    assert rows["Real/anna_1/0001.jpg"]["identity"] == "anna"
    assert rows["Real/anna_1/0001.jpg"]["video"] == "Real/anna_1"
    assert rows["FAKE/cleo_7.avi"]["identity"] == "cleo"
    assert set(media["source"]) == {"mine"} and media.attrs["notes"] == []
    half = index("folder", root, folder__pattern=r"/(?P<identity>anna)_")
    assert "finds nobody in 2 of 5 paths" in half.attrs["notes"][0]


@pytest.mark.parametrize(
    ("paths", "what"),
    [(("real/anna_1/1.jpg", "fake/anna_1/1.jpg"), "label"),
     (("real/anna_1/1.jpg", "real/ben_1/1.jpg"), "identity")],
)  # fmt: skip
def test_a_pattern_that_makes_one_clip_of_two_is_refused(root, paths, what):
    write(root, *paths)
    pattern = r"(?P<identity>[a-z]+)_(?P<video>\d+)/"
    assert f"their {what} differs" in refused("folder", root, folder__pattern=pattern)


def test_a_flat_folder_has_the_label_that_is_set(root):
    write(root, "a.jpg", "b/c.mp4", "fake/d.jpg")
    media = index("folder", root, folder__label="real")
    assert set(media["label"]) == {REAL} and len(media) == 2
    assert left_out(media, root) == {"fake/d.jpg": UNLABELLED}
    assert "looked for photos and films below folders real/ and fake/" in refused(
        "folder", write(root / "b", "e.jpg")
    )


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "no regular expression"),
        (r"\d+", "no group for people"),
        ("(?P<person>.)", "has the group person"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused(pattern, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        settings.load(Prepare, "", {"folder.pattern": pattern})


ODD = [
    "a b",
    "ü, ñ",
    '"quoted"',
    "=1+1",
    "-x",
    "line\nbreak",
    "a\rb",
    "c\r\nd",
    "tab\there",
    "#",
    "%s",
    "NA",
    "1e5",
]


def test_odd_names_survive_into_the_manifest(root, tmp_path):
    write(root, *[f"real/{name}.jpg" for name in ODD], *[f"fake/{name}.jpg" for name in ODD])
    media = index("folder", root, folder__pattern=r"(?P<identity>[^/]+)\.jpg")
    manifest.write(root / "manifest.csv", media)
    read = manifest.read(str(root / "manifest.csv")).rows
    assert read["path"].tolist() == media["path"].tolist()
    assert read["identity"].tolist() == media["identity"].tolist()
    assert sorted(set(read["identity"])) == sorted(ODD)


letters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/")


@few
@given(names=st.sets(st.text(letters, min_size=1, max_size=20), min_size=1, max_size=5))
def test_any_name_is_a_row_or_hidden(names, tmp_path_factory):
    root = tmp_path_factory.mktemp("names")
    write(root, "real/always.jpg", *[f"fake/{name}.jpg" for name in names])
    files = {f"fake/{name}.jpg" for name in names if not name.startswith(".")}
    assert set(rows_of(index("folder", root), root)) == files | {"real/always.jpg"}


def test_a_name_that_is_no_utf8_is_named(root):
    write(root, "real/a.jpg")
    Path(os.fsdecode(os.fsencode(root) + b"/real/\xff.jpg")).write_bytes(film(".mp4"))
    media = index("folder", root)
    assert len(media) == 1 and media.attrs["left_out"][0].kind == UNREADABLE


def test_a_pipe_is_not_read(root):
    os.mkfifo(write(root, "real/a.jpg") / "real/b.jpg")
    media = index("folder", root)
    assert left_out(media, root) == {"real/b.jpg": UNREADABLE}


def test_a_link_inside_is_taken_once(root):
    write(root, "real/a.jpg", ".annex/objects/b")
    (root / "real/again.jpg").symlink_to(root / "real/a.jpg")
    (root / "real/b.jpg").symlink_to("../.annex/objects/b")  # git-annex stores files so
    (root / "real/c.jpg").symlink_to("../.annex/objects/b")
    (root / "real/loop").symlink_to(root)
    (root / "real/self.jpg").symlink_to("self.jpg")
    media = index("folder", root)
    assert set(rows_of(media, root)) == {"real/a.jpg", "real/b.jpg"}
    assert left_out(media, root) == {"real/self.jpg": MISSING}


def test_a_link_to_a_hidden_folder_is_named(root):
    write(root, "fake/a.jpg", ".store/real/b.jpg")
    (root / "real").symlink_to(".store/real")
    media = index("folder", root)
    assert set(rows_of(media, root)) == {"fake/a.jpg"}
    assert left_out(media, root) == {"real": UNREADABLE}


def test_a_collection_behind_a_link_is_read(root, tmp_path):
    folder(root)
    (tmp_path / "link").symlink_to(root)
    media = index("folder", tmp_path / "link")
    assert len(media) == 5 and media["path"].str.startswith(str(tmp_path / "link")).all()


def test_a_linked_folder_of_clips_is_refused(root, tmp_path):
    clips = write(tmp_path / "disk", "071.mp4")
    (root / "original_sequences/youtube/c23").mkdir(parents=True)
    (root / "original_sequences/youtube/c23/videos").symlink_to(clips)
    assert "leads out of the collection" in refused("faceforensics", root)


# ----------------------------------------------------------------------------------- Unsplash


@pytest.fixture
def photos(root) -> Iterator[Path]:
    from fetch.unsplash import COLUMNS

    write(root, "abc.jpg", "-d_f.jpg", "stranger.jpg")
    done = {"abc": "abc.jpg", "-d_f": "-d_f.jpg", "lost": "lost.jpg", "later": ""}
    rows = [
        dict.fromkeys(COLUMNS, "") | {"id": name, "file": file, "sha256": "0" if file else ""}
        for name, file in done.items()
    ]
    pd.DataFrame(rows).to_csv(root / "links.csv", index=False)
    return root


def test_unsplash_takes_what_its_csv_names(photos, tmp_path):
    media = index("unsplash", photos)
    rows = rows_of(media, photos)
    assert {path: row["identity"] for path, row in rows.items()} == {
        "abc.jpg": "abc", "-d_f.jpg": "-d_f",
    }  # fmt: skip
    assert set(media["label"]) == {REAL}
    assert left_out(media, photos) == {"stranger.jpg": UNLABELLED, "lost.jpg": MISSING}
    assert "1 of 4 links" in media.attrs["notes"][0]
    moved = (photos / "links.csv").rename(tmp_path / "elsewhere.csv")
    assert len(index("unsplash", photos, unsplash__links=str(moved))) == 2
    assert "looked for links.csv" in refused("unsplash", photos)


@pytest.mark.parametrize("file", ["../secret.jpg", "/etc/x.jpg", "a/b.jpg", "..", ".x.jpg"])
def test_unsplashs_csv_names_no_other_place(photos, file):
    table = pd.read_csv(photos / "links.csv", dtype=str, keep_default_na=False)
    table.assign(file=file).to_csv(photos / "links.csv", index=False)
    assert "no bare name" in refused("unsplash", photos)


# --------------------------------------------------------------------------- official files


@pytest.fixture
def facts() -> Path:
    if not FACTS.is_dir():
        pytest.skip("the official files are not in shared/faces/facts (or DEEPFAKE_FACTS)")
    return FACTS


@pytest.mark.slow
def test_the_official_splits_of_faceforensics(facts, root):
    folder = facts / "ffpp_splits"
    pairs = [p for f in sorted(folder.glob("*.json")) for p in json.loads(f.read_text())]
    for a, b in pairs:
        names = [
            f"manipulated_sequences/Deepfakes/c23/videos/{x}_{y}.mp4" for x, y in ((a, b), (b, a))
        ]
        write(root, *names, *[f"original_sequences/youtube/c23/videos/{x}.mp4" for x in (a, b)])
    media = index(
        "faceforensics",
        root,
        faceforensics__splits=str(folder),
        faceforensics__methods=["Deepfakes"],
    )
    counts = media.groupby(["split", "label"]).size()
    assert counts["train"].tolist() == [720, 720]
    assert counts["val"].tolist() == counts["test"].tolist() == [140, 140]
    assert media.attrs["left_out"] == []
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        assert splits.leaks(*(media[media["split"] == name] for name in (first, second))) == []


@pytest.mark.slow
def test_the_official_test_list_of_celeb_df(facts, root):
    text = (facts / "celebdf" / "List_of_testing_videos.txt").read_text()
    write(root, "Celeb-real/id61_0000.mp4", *[line.split()[1] for line in text.splitlines()])
    (root / "List_of_testing_videos.txt").write_text(text)
    media = index("celeb_df", root)
    test = media[media["split"] == "test"]
    assert np.bincount(test["label"]).tolist() == [178, 340] and len(media) == 519
    assert media.attrs["left_out"] == []


@pytest.mark.slow
def test_the_official_labels_of_a_dfdc_part(facts, root):
    text = (facts / "dfdc" / "dfdc_train_part_3_metadata.json").read_text()
    write(root, *json.loads(text))
    (root / "metadata.json").write_text(text)
    media = index("dfdc", root)
    assert np.bincount(media["label"]).tolist() == [219, 1236]
    assert set(media[media["label"] == FAKE]["source_video"]) <= set(media["video"])
    assert splits.groups(media).size == 1455 and len(set(splits.groups(media))) <= 219
