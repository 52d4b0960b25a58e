"""prepare.py on what collections really hold: each gets a line, is counted, and stops nothing."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

import manifest
import prepare
from faces.image import write_image
from flags import Prepare
from preparing import search as search_module
from preparing.search import search
from tests.films import write
from tests.test_prepare import film
from utils import UserError

ROOT = Path(__file__).parents[1]

STRANGE = [
    "with space", "ü, ñ 日本", '"quoted"', "=1+1", "-x", "+1", "@sum", "new\nline",
    "carriage\rreturn", "both\r\nends", "tab\there", "#", "%s", "NA", "a;b",
]  # fmt: skip

FACES = [f"{label}/{number:02d}.png" for label in ("real", "fake") for number in range(12)]


def portraits(root: Path, *names: str) -> Path:
    """A face under each name below `root`, no two alike to a perceptual hash."""
    from skimage import data

    face = data.astronaut()[0:256, 96:352]
    for number, name in enumerate(names):
        tinted = np.clip(face.astype(int) + number, 0, 255).astype(np.uint8)
        write_image(root / name, cv2.resize(tinted, (200, 200)))
    return root


def run(root: Path, *more: str) -> int:
    return prepare.main([
        "folder", f"--root={root}", f"--out={root.parent / 'out'}", "--workers=0", "--max_bad=1",
        "--near_duplicates.distance=-1", "--face.detector=haar", *more,
    ])  # fmt: skip


def left_out(root: Path) -> dict[str, tuple[str, str]]:
    """Name -> kind and reason."""
    table = pd.read_csv(root.parent / "out" / "left_out.csv", dtype=str, keep_default_na=False)
    return {Path(row.path).name: (row.kind, row.reason) for row in table.itertuples()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve faces of either class."""
    return portraits(tmp_path / "set", *FACES)


def rows_of(root: Path) -> pd.DataFrame:
    return manifest.read(str(root.parent / "out" / "manifest.csv")).rows


# ----------------------------------------------------------------------------------- files


def test_every_broken_file_is_named_with_its_reason_and_counted(root, capsys):
    with av.open(str(root / "real" / "sound.mp4"), "w") as film:
        stream = film.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        film.mux(stream.encode(frame))
        film.mux(stream.encode())
    (root / "fake" / "text.mp4").write_text("no film\n" * 100)
    (root / "fake" / "empty.mp4").write_bytes(b"")
    (root / "fake" / "empty.jpg").write_bytes(b"")
    (root / "fake" / "text.jpg").write_text("no picture\n")
    write(root, "real/wall.mp4")
    outside = portraits(root.parent / "elsewhere", "face.png")
    (root / "real" / "link.png").symlink_to(outside / "face.png")
    (root / "real" / "linked").symlink_to(outside)
    (root / "real" / "gone.png").symlink_to(root / "nowhere.png")
    portraits(root, "unsorted/face.png")
    assert run(root) == 0
    found = left_out(root)
    assert {name: kind for name, (kind, _) in found.items()} == {
        "sound.mp4": "unreadable", "text.mp4": "unreadable", "empty.mp4": "unreadable",
        "empty.jpg": "unreadable", "text.jpg": "unreadable", "wall.mp4": "no_face",
        "link.png": "unreadable", "linked": "unreadable", "gone.png": "missing",
        "face.png": "unlabelled",
    }  # fmt: skip
    for name, words in (
        ("sound.mp4", "no video stream"), ("text.mp4", "no film that"), ("empty.jpg", "is empty"),
        ("text.jpg", "not a picture"), ("wall.mp4", "no face found in 3 frames"),
        ("link.png", "leads out of the collection"), ("linked", "leads out of the collection"),
        ("gone.png", "leads to nothing"), ("face.png", "no real/ or fake/ above it"),
    ):  # fmt: skip
        assert words in found[name][1]
    out = capsys.readouterr().out
    assert "10 left out: 1 missing, 1 no_face, 1 unlabelled, 7 unreadable" in out
    assert len(rows_of(root)) == 24


def test_odd_names_come_through_to_the_letter(tmp_path):
    names = [f"{label}/{name}.png" for label in ("real", "fake") for name in STRANGE]
    root = portraits(tmp_path / "set", *names)
    assert run(root, r"--folder.pattern=/(?P<identity>[^/]+)\.png$") == 0
    rows = rows_of(root)
    assert sorted(set(rows["identity"])) == sorted(STRANGE)
    assert sorted(rows["media"]) == sorted(str(root / name) for name in names)
    assert all(Path(path).is_file() for path in rows["path"])
    (root / "real" / "new\r\nline,.png").write_bytes(b"")
    assert run(root) == 0
    assert left_out(root)["new\r\nline,.png"][0] == "unreadable"


def test_one_picture_among_reals_and_fakes_is_left_out_of_both(root, capsys):
    shutil.copy(root / "real" / "03.png", root / "fake" / "copy.png")
    assert run(root) == 0
    assert len(rows_of(root)) == 23
    found = left_out(root)
    assert set(found) == {"03.png", "copy.png"}
    assert found["copy.png"] == (
        "unlabelled",
        "called both real and fake: the same as 03.png",
    )


def test_one_film_among_reals_and_fakes_is_left_out_of_both(tmp_path, portrait):
    root = tmp_path / "set"
    for number, name in enumerate(["real/a", "real/b", "fake/c", "fake/d"]):
        tinted = np.clip(portrait[0:256, 96:352].astype(int) + 12 * number, 0, 255)
        film(root / f"{name}.mp4", tinted.astype(np.uint8), count=5)
    shutil.copy(root / "real" / "a.mp4", root / "fake" / "e.mp4")
    assert run(root, "--frames.count=3") == 0
    assert left_out(root) == {
        "a.mp4": ("unlabelled", "called both real and fake: the same as e.mp4"),
        "e.mp4": ("unlabelled", "called both real and fake: the same as a.mp4"),
    }
    assert sorted(set(rows_of(root)["video"])) == [
        "fake/c.mp4", "fake/d.mp4", "real/b.mp4",
    ]  # fmt: skip


def test_a_face_that_is_there_twice_counts_once(root, capsys):
    for number in range(4):
        shutil.copy(root / "real" / f"{number:02d}.png", root / "real" / f"{number:02d}_copy.png")
    assert run(root, "--balance.how=overall") == 0
    said = capsys.readouterr().out
    assert "4 faces are there twice, in pictures that are the same: taken once" in said
    table = pd.read_csv(root.parent / "out" / "manifest.csv")
    assert (table["label"] == 0).sum() == 12 and (table["label"] == 1).sum() <= 12
    assert len(rows_of(root)) == len(table)  # nothing is left for a reader to take once


@pytest.mark.parametrize("out", ["set", "set/out", "linked/out"])
def test_faces_are_not_written_into_their_collection(root, out):
    (root.parent / "linked").symlink_to(root)
    before = sorted(root.rglob("*"))
    with pytest.raises(UserError, match=r"lies in root .*name a folder outside"):
        run(root, f"--out={root.parent / out}")
    assert sorted(root.rglob("*")) == before


def test_csvs_of_splits_that_are_no_more_go_and_others_stay(root):
    out = root.parent / "out"
    out.mkdir()
    (out / "val.csv").write_text("mine")
    assert run(root, "--split.shares=.5,0,.5") == 0
    assert (out / "val.csv").read_text() == "mine" and not (out / "train.csv").exists()
    assert run(root, "--split.shares=.5,.25,.25", "--separate_csv=True") == 0
    assert all((out / f"{name}.csv").is_file() for name in ("train", "val", "test"))
    assert run(root, "--split.shares=0,0,1", "--separate_csv=True") == 0
    assert [(out / f"{name}.csv").is_file() for name in ("train", "val", "test")] == [
        False, False, True,
    ]  # fmt: skip
    assert run(root, "--split.shares=.5,0,.5") == 0
    assert not (out / "test.csv").exists()


def test_a_manifest_goes_before_its_pictures_become_others(root, monkeypatch):
    shutil.rmtree(root / "fake")
    argv = ["--fakes.type=warp", "--split.shares=.4,.3,.3", "--face.detector=mtcnn"]
    argv += ["--separate_csv=True"]
    assert run(root, *argv) == 0
    out = root.parent / "out" / "manifest.csv"
    whole = out.read_bytes()
    written = prepare.write_image

    def stops(path, image):
        if not out.exists():
            raise KeyboardInterrupt
        written(path, image)

    monkeypatch.setattr(prepare, "write_image", stops)
    assert run(root, *argv) == 0 and out.read_bytes() == whole  # the same settings: the same
    with pytest.raises(KeyboardInterrupt):
        run(root, *argv, "--fakes.type=blend")
    assert not out.exists() and not (out.parent / "test.csv").exists()
    monkeypatch.undo()
    assert run(root, *argv, "--fakes.type=blend") == 0
    assert set(rows_of(root)["method"]) == {"", "blend"}


def test_no_fake_of_anybody_ends_the_run_and_says_why(root):
    """A cascade finds no landmarks, and a blend needs them."""
    assert run(root) == 0
    before = (root.parent / "out" / "manifest.csv").read_bytes()
    shutil.rmtree(root / "fake")
    with pytest.raises(UserError, match="not one fake could be made"):
        run(root, "--fakes.type=blend", "--split.shares=0,0,1")
    assert {kind for kind, _ in left_out(root).values()} == {"no_fake"}
    assert (root.parent / "out" / "manifest.csv").read_bytes() == before


def test_a_split_that_loses_all_its_faces_is_said(root, capsys):
    shutil.rmtree(root / "fake")
    assert run(root, "--fakes.type=blend", "--split.shares=.5,.25,.25") == 0
    out = capsys.readouterr().out
    assert "test has no row left" in out and "val has no row left" in out


def test_an_empty_folder_is_said(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match=r"real/ and fake/, found nothing"):
        run(tmp_path / "set")


def test_one_class_alone_is_prepared(tmp_path, capsys):
    root = portraits(tmp_path / "set", *[f"real/{n:02d}.png" for n in range(10)])
    assert run(root) == 0
    assert rows_of(root)["label"].eq(manifest.REAL).all()
    assert "(10 real, 0 fake)" in capsys.readouterr().out


def test_labels_without_clips_and_clips_without_labels_are_named(tmp_path, capsys):
    root = tmp_path / "set"
    part = root / "dfdc_train_part_0"
    write(part, "a.mp4", "b.mp4", "c.mp4")
    fake = {"label": "FAKE", "split": "train", "original": "a.mp4"}
    labels = {"a.mp4": {"label": "REAL", "split": "train"}, "b.mp4": fake, "gone.mp4": fake}
    (part / "metadata.json").write_text(json.dumps(labels))
    with pytest.raises(UserError, match="no face was found in 2 files"):
        prepare.main([
            "dfdc", f"--root={root}", f"--out={tmp_path / 'out'}", "--workers=0", "--max_bad=1",
            "--face.detector=haar",
        ])  # fmt: skip
    found = left_out(root)  # named though nothing was left to write a manifest of
    assert found["gone.mp4"][0] == "missing" and "names it" in found["gone.mp4"][1]
    assert found["c.mp4"][0] == "unlabelled"
    assert found["a.mp4"][0] == found["b.mp4"][0] == "no_face"


# ------------------------------------------------------------------------------ permission


def as_nobody(root: Path, *more: str) -> subprocess.CompletedProcess:
    """The same run by a user who may not read everything; root may, so it becomes another."""
    code = (
        "import os, sys; import prepare, utils\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "utils.run_command(prepare.main)"
    )
    words = ["folder", f"--root={root}", f"--out={root.parent / 'out'}", "--workers=0", *more]
    command = [sys.executable, "-c", code, *words, "--max_bad=1", "--face.detector=haar"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o777)
        yield Path(home)


def test_what_may_not_be_read_is_named_and_the_rest_is_prepared(open_home):
    root = portraits(open_home / "set", *FACES)
    write(root, "fake/closed/a.mp4", "real/film.mp4")
    (root / "fake" / "closed").chmod(0)
    (root / "fake" / "00.png").chmod(0)
    (root / "real" / "film.mp4").chmod(0)
    try:
        done = as_nobody(root, "--near_duplicates.distance=-1")
        assert done.returncode == 0, done.stderr[-2000:]
        found = left_out(root)
        assert {name: kind for name, (kind, _) in found.items()} == dict.fromkeys(
            ("closed", "00.png", "film.mp4"), "unreadable"
        )
        assert all("Permission denied" in reason for _, reason in found.values())
        assert len(rows_of(root)) == 23
        root.chmod(0)
        done = as_nobody(root)
        assert done.returncode == 2
        assert f"{root}: the folder cannot be read: Permission denied" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        root.chmod(0o755)
        (root / "fake" / "closed").chmod(0o755)


def test_a_folder_that_cannot_be_listed_is_named_on_any_system(root, monkeypatch):
    from sources import _tree

    real = os.scandir
    (root / "real" / "closed").mkdir()

    def refusing(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(_tree.os, "scandir", refusing)
    tree = _tree.walk(root)
    assert len(tree.files) == 24
    assert [(Path(f.path).name, f.kind) for f in tree.refused] == [("closed", "unreadable")]
    assert tree.refused[0].reason == "the folder cannot be read: Permission denied"


# ------------------------------------------------------------------------ unexpected errors


def odd(error: BaseException):
    """A search that raises for each medium whose name has `odd` in it."""
    real = search_module.search_picture

    def searched(path, *given):
        if "odd" in path:
            raise error
        return real(path, *given)

    return searched


def media_of(root: Path) -> pd.DataFrame:
    files = sorted(str(file) for file in root.rglob("*.png"))
    return pd.DataFrame([{"path": path, "kind": "photo", "label": 0} for path in files])


ODD = [
    ValueError("an odd\nvalue"), KeyError("odd"), AssertionError(), RecursionError("too deep"),
    OSError(errno.EIO, "Input/output error"), cv2.error("not in a mood"), RuntimeError("of torch"),
]  # fmt: skip


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_whatever_one_photo_raises_costs_that_photo(tmp_path, monkeypatch, error):
    root = portraits(tmp_path, "a.png", "odd.png", "z.png")
    monkeypatch.setattr(search_module, "search_picture", odd(error))
    found = search(media_of(root), Prepare(workers=0), tmp_path / "out")
    assert [len(found[str(root / f"{name}.png")].faces) for name in ("a", "z")] == [1, 1]
    failure = found[str(root / "odd.png")].failure
    assert failure.startswith(type(error).__name__) and "\n" not in failure


def test_on_dask_it_is_the_same(tmp_path, monkeypatch):
    """The process of a worker is another one: an odd clip is a name that no file system takes."""
    media = media_of(portraits(tmp_path, "a.png", "z.png"))
    odd_one = {"path": str(tmp_path / "nul\0.mp4"), "kind": "video", "label": 0}
    monkeypatch.setattr(search_module, "_known", lambda *_: None)
    failures = []
    for workers in (0, 1):
        both = pd.concat([media, pd.DataFrame([odd_one])], ignore_index=True)
        found = search(both, Prepare(workers=workers), tmp_path / f"out{workers}")
        assert len(found[media["path"][0]].faces) == len(found[media["path"][1]].faces) == 1
        failures.append(found[odd_one["path"]].failure)
    assert failures[0] == failures[1] == "ValueError: embedded null byte"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "the disk is read-only now"),
        (MemoryError(), "no memory is left"),
    ],
    ids=["ENOSPC", "EDQUOT", "EROFS", "memory"],
)
def test_what_the_next_would_meet_too_ends_the_run(tmp_path, monkeypatch, error, message):
    root = portraits(tmp_path, "a.png", "odd.png", "z.png")
    with monkeypatch.context() as patch:
        patch.setattr(search_module, "search_picture", odd(error))
        with pytest.raises(UserError, match=message):
            search(media_of(root), Prepare(workers=0), tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.json"))) == 1, "what was found stays"
    found = search(media_of(root), Prepare(workers=0), tmp_path / "out")
    assert [len(one.faces) for one in found.values()] == [1, 1, 1]


def test_ctrl_c_ends_the_run(tmp_path, monkeypatch):
    root = portraits(tmp_path, "odd.png", "z.png")
    monkeypatch.setattr(search_module, "search_picture", odd(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        search(media_of(root), Prepare(workers=0), tmp_path / "out")


def test_a_spoilt_record_is_made_anew(tmp_path):
    root = portraits(tmp_path, "a.png")
    search(media_of(root), Prepare(workers=0), tmp_path / "out")
    (record,) = (tmp_path / "out").rglob("*.json")
    whole = record.read_bytes()
    record.write_bytes(whole[:20])
    found = search(media_of(root), Prepare(workers=0), tmp_path / "out")
    assert [len(one.faces) for one in found.values()] == [1] and record.read_bytes() == whole


def test_a_device_that_is_not_there_is_one_sentence(tmp_path):
    root = portraits(tmp_path, "a.png")
    with pytest.raises(UserError, match="device"):
        search(media_of(root), Prepare(workers=0, device="cuda:99"), tmp_path / "out")
