"""prepare.py: films and photos become faces and a manifest, whatever happens on the way."""

from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

import manifest
import prepare
from faces import clips
from faces.detector import make_detector
from faces.image import read_image, write_image
from flags import Face, Frames, Prepare
from preparing import search as search_module
from preparing.rows import face_rows
from preparing.search import search
from tests.deadly import deadly
from utils import UserError


def film(path: Path, picture: np.ndarray, count: int = 12, two: bool = False) -> None:
    """A face that wanders over a plain wall; with `two`, a second and smaller one beside it."""
    face = cv2.resize(picture, (150, 150), interpolation=cv2.INTER_AREA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 480, 240, "yuv420p"
        for number in range(count):
            image = np.full((240, 480, 3), 128, np.uint8)
            image[40 : 40 + 150, 20 + 4 * number : 170 + 4 * number] = face
            if two:
                image[60:180, 330:450] = cv2.resize(face[:, ::-1], (120, 120))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    """Six films of three people, a photo of each kind, and what goes wrong in collections."""
    from skimage import data

    root = tmp_path_factory.mktemp("collection")
    portrait = data.astronaut()[0:256, 96:352]
    for number, person in enumerate(("anna", "ben", "cleo")):
        tinted = np.clip(portrait.astype(int) + 12 * number, 0, 255).astype(np.uint8)
        film(root / "real" / f"{person}_01.mp4", tinted, two=person == "cleo")
        film(root / "fake" / f"{person}_02.mp4", cv2.GaussianBlur(tinted, (5, 5), 0))
    write_image(root / "real" / "anna_photo.png", portrait)
    write_image(root / "fake" / "ben_photo.png", cv2.GaussianBlur(portrait, (7, 7), 0))
    write_image(root / "real" / "cleo_wall.png", np.full((200, 200, 3), 128, np.uint8))
    (root / "real" / "ben_03, =1 ü.mp4").write_bytes(b"text and no film\n" * 40)
    (root / "fake" / "cleo_04.mp4").write_bytes(b"")
    film(root / "real" / "cleo_05.mp4", np.full((256, 256, 3), 90, np.uint8))
    return root


PATTERN = r"--folder.pattern=(?P<identity>[a-z]+)_[^/]*$"


def arguments(root: Path, out: Path, *more: str) -> list[str]:
    return [
        "folder", f"--root={root}", f"--out={out}", PATTERN, "--frames.count=6", "--workers=0",
        "--max_bad=0.5", "--split.shares=.34,.33,.33",
        "--near_duplicates.distance=-1",  # three tints of one portrait play three people
        *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(collection, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert prepare.main(arguments(collection, out)) == 0
    return out


def test_every_clip_gives_its_frames_and_says_where_they_are_from(prepared, collection):
    rows = manifest.read(str(prepared / "manifest.csv")).rows
    clips_ = rows[rows["video"] != ""]
    assert clips_.groupby("video").size().tolist() == [6] * 6
    assert set(clips_["track"]) == {"0"}
    for row in rows.itertuples():
        crop, whole = read_image(row.path), manifest.numbers(row.media_size)
        left, top, right, bottom = manifest.numbers(row.box)
        assert 0 <= left < right <= crop.shape[1] and 0 <= top < bottom <= crop.shape[0]
        if row.video:
            assert whole.tolist() == [480, 240] and 0 <= int(row.frame) < 12
            assert float(row.timestamp) == pytest.approx(int(row.frame) / 12, abs=0.01)
        assert Path(row.media).is_relative_to(collection)
    assert rows[rows["media"].str.contains("fake/")]["label"].eq(manifest.FAKE).all()
    assert sorted(clips_[clips_["video"].str.contains("real/anna")]["frame"].astype(int)) == [
        1, 3, 5, 7, 9, 11,
    ]  # fmt: skip


def test_crops_hold_the_face_that_they_say(prepared):
    rows = manifest.read(str(prepared / "manifest.csv")).rows
    detect = make_detector(Face(select="largest"))
    for row in rows[rows["video"] != ""].iloc[::7].itertuples():
        found = detect(read_image(row.path))[0].box
        assert np.abs(found - manifest.numbers(row.box)).max() < 12


def test_nobody_is_in_two_splits(prepared):
    rows = manifest.read(str(prepared / "manifest.csv")).rows
    people = rows.groupby("identity")["split"].nunique()
    assert sorted(people.index) == ["anna", "ben", "cleo"] and people.eq(1).all()


def test_what_gave_no_face_is_named_and_counted(prepared):
    left = pd.read_csv(prepared / "left_out.csv")
    kinds = {Path(row.path).name: row.kind for row in left.itertuples()}
    assert kinds == {
        "ben_03, =1 ü.mp4": "unreadable", "cleo_04.mp4": "unreadable", "cleo_05.mp4": "no_face",
        "cleo_wall.png": "no_face",
    }  # fmt: skip


def test_the_table_says_what_was_found(collection, prepared, capsys):
    prepare.main(arguments(collection, prepared))
    out = capsys.readouterr().out
    assert "Clips             : 9 (5 real, 4 fake)" in out
    assert "Photos            : 3 (2 real, 1 fake)" in out
    assert "4 left out: 2 no_face, 2 unreadable" in out


def test_another_run_searches_nothing_twice(collection, prepared, monkeypatch):
    before = (prepared / "manifest.csv").read_bytes()
    searched = []
    real = search_module.search_clip
    monkeypatch.setattr(
        search_module, "search_clip", lambda *a: searched.append(Path(a[0]).name) or real(*a)
    )
    assert prepare.main(arguments(collection, prepared)) == 0
    assert sorted(searched) == ["ben_03, =1 ü.mp4", "cleo_04.mp4"]  # these may have been mended
    assert (prepared / "manifest.csv").read_bytes() == before


def test_a_stopped_run_goes_on_and_ends_alike(collection, prepared, tmp_path, monkeypatch):
    real, count = clips.write_image, [0]

    def stopped(*given):
        count[0] += 1
        if count[0] == 20:
            raise KeyboardInterrupt
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(clips, "write_image", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare.main(arguments(collection, tmp_path))
    assert not (tmp_path / "manifest.csv").exists()
    assert prepare.main(arguments(collection, tmp_path)) == 0
    assert names(tmp_path) == names(prepared)
    files = set((tmp_path / "faces").rglob("*.jpg"))
    kept = {Path(path) for path in manifest.read(str(tmp_path / "manifest.csv")).rows["path"]}
    assert files == kept, "a stopped clip left crops behind"


def names(out: Path) -> list[str]:
    rows = manifest.read(str(out / "manifest.csv")).rows
    return sorted(rows["media"] + rows["frame"].astype(str) + rows["box"] + rows["split"])


def test_every_person_of_a_clip_is_a_track_if_wanted(collection, tmp_path):
    prepare.main(arguments(collection, tmp_path, "--face.select=all"))
    rows = manifest.read(str(tmp_path / "manifest.csv")).rows
    tracks = rows[rows["video"].str.contains("real/cleo_01")].groupby("track")
    assert [len(part) for _, part in tracks] == [6, 6]
    middle = [manifest.table(part["media_box"], 4)[:, 0].mean() for _, part in tracks]
    assert abs(middle[0] - middle[1]) > 150


def test_the_classes_are_drawn_and_the_settings_written(prepared):
    assert read_image(prepared / "classes.png").shape[1] > 800
    assert "count: 6" in (prepared / "prepare.yaml").read_text()


def test_one_csv_a_split_for_those_who_want_them(collection, prepared):
    prepare.main(arguments(collection, prepared, "--separate_csv"))
    whole = manifest.read(str(prepared / "manifest.csv")).rows
    parts = [manifest.read(str(prepared / f"{name}.csv")).rows for name in manifest.SPLITS]
    assert sum(len(part) for part in parts) == len(whole)
    assert [set(part["split"]) for part in parts] == [{name} for name in manifest.SPLITS]


# ------------------------------------------------------------------------------- on Dask


def media_of(*names: str, kind: str = "video") -> pd.DataFrame:
    rows = [{"path": f"nowhere/{name}.mp4", "kind": kind, "label": 0} for name in names]
    return pd.DataFrame(rows)


@pytest.fixture
def on_dask(monkeypatch) -> None:
    monkeypatch.setattr(search_module, "work", deadly)
    monkeypatch.setattr(search_module, "_known", lambda *_: None)
    monkeypatch.setattr(search_module, "LATE", 0.5)


def test_a_clip_that_kills_or_hangs_costs_itself_alone(on_dask, tmp_path):
    names_ = ["a", "kill", "b", "hang", *"cdefgh"]
    config = Prepare(workers=2, time_limit=20.0)
    found = search(media_of(*names_), config, tmp_path)
    assert len(found) == len(names_)
    failures = {Path(path).stem: one.failure for path, one in found.items() if one.failure}
    assert set(failures) == {"kill", "hang"}
    assert "killed the process" in failures["kill"]
    assert "longer than time_limit, 20 s" in failures["hang"]


def test_a_photo_that_kills_or_hangs_costs_itself_alone_though_many_are_one_task(on_dask, tmp_path):
    names_ = [f"a{number}" for number in range(40)] + ["kill", "b", "hang"]
    config = Prepare(workers=2, time_limit=10.0)
    found = search(media_of(*names_, kind="photo"), config, tmp_path)
    failures = {Path(path).stem: one.failure for path, one in found.items() if one.failure}
    assert len(found) == len(names_) and set(failures) == {"kill", "hang"}


def test_a_full_disk_ends_the_run(on_dask, tmp_path):
    with pytest.raises(UserError, match="disk is full"):
        search(media_of("a", "full", "b"), Prepare(workers=1), tmp_path)


def test_a_scheduler_of_one_s_own_is_worked_on(collection, prepared, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        more = ["--frames.count=6", f"--scheduler={address}"]
        assert prepare.main(arguments(collection, tmp_path, *more)) == 0
    assert names(tmp_path) == names(prepared)


def test_a_scheduler_that_is_not_there_is_said(on_dask, tmp_path):
    with pytest.raises(UserError, match="no Dask scheduler answers at tcp://127"):
        search(media_of("a"), Prepare(scheduler="tcp://127.0.0.1:9"), tmp_path)


# ------------------------------------------------------------------------------ bad input


def test_damaged_frames_leave_the_sound_ones_and_are_told():
    face = {"file": "f.jpg", "box": [0, 0, 9, 9], "landmarks": None, "confidence": 0.99,
            "media_box": [0, 0, 9, 9], "media_size": [20, 20], "frame": 3, "timestamp": 0.1,
            "track": 0}  # fmt: skip
    media = media_of("a").assign(split="")
    found = {"nowhere/a.mp4": clips.FoundClip("nowhere/a.mp4", (face,), 5, missing=3)}
    rows, failures = face_rows(media, found)
    assert len(rows) == 1 and rows["frame"].tolist() == ["3"]
    assert failures[0].kind == "damaged" and failures[0].reason.startswith("3 of the wanted")
    found = {"nowhere/a.mp4": clips.FoundClip("nowhere/a.mp4", (face,), 5, cut=40)}
    assert face_rows(media, found)[1][0].reason.startswith("cut off: its last 40 frames")


def test_a_clip_that_is_gone_is_named(tmp_path):
    assert "No such file" in clips.known_clip("no.mp4", Face(), Frames(), tmp_path).failure


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--frames.every=2", "--frames.rate=3"], "set one of them to 0"),
        (["--frames.count=0"], "frames.count"),
        (["--split.shares=.5,.5"], "split.shares"),
        (["--face.no_face=whole"], "face.no_face: whole"),
    ],
)
def test_bad_settings_are_one_sentence(tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        prepare.main(arguments(tmp_path, tmp_path / "out", *more))
    assert message in capsys.readouterr().err


def test_nothing_but_walls_is_said(tmp_path):
    for label in ("real", "fake"):
        wall = np.full((200, 200, 3), 128, np.uint8)
        film(tmp_path / "set" / label / "wall_01.mp4", wall, count=4)
    with pytest.raises(UserError, match="no face was found in 2 files"):
        prepare.main(arguments(tmp_path / "set", tmp_path / "out"))


def test_rows_of_films_stand_in_one_order_wherever_the_clips_lie():
    where = [
        (split, label, video, frame, track)
        for split in ("test", "train")
        for label in (0, 1)
        for video in ("a", "b")
        for frame in ("2", "10")
        for track in ("0", "1")
    ]
    rows = pd.DataFrame(where, columns=["split", "label", "video", "frame", "track"])
    orders = []
    for seed in (0, 1):  # two folders: other names of files, and found in another order
        random = np.random.default_rng(seed)
        paths = [f"/{seed}/{name:04x}.jpg" for name in random.permutation(len(rows))]
        here = rows.assign(path=paths, source="films").sample(frac=1, random_state=seed)
        orders.append(prepare.in_order(here)[list(rows)].to_numpy().tolist())
    assert orders[0] == orders[1] == [list(one) for one in where]


def test_photos_stand_by_their_files():
    paths = ["/c.jpg", "/a.jpg", "/b.jpg"]
    photos = pd.DataFrame({"path": paths, "split": "train", "label": 0, "source": "photos"})
    photos = photos.assign(video="", frame="", track="")
    assert prepare.in_order(photos)["path"].tolist() == sorted(paths)
