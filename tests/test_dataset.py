"""Rows become batches: the same ones however they are loaded, and no failure becomes a sample."""

import hashlib
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st

import dataset
import manifest
from augment import augmentation
from batches import Batch, EpochBatches, collate, make_loader
from dataset import FaceDataset, RandomFaces
from faces.image import read_image, write_image
from failures import NO_FACE, NO_FAKE, NO_LANDMARKS, UNREADABLE, Failure
from flags import Augment, Config, Data, Face, Fakes, InputSize
from manifest import FAKE, REAL
from utils import UserError

SIZE = InputSize(height=24, width=20)
WARP = Fakes(type="warp", probability=0.5)
STRONG = Augment(color=0.5, rotation=20.0, jpeg=0.5, blur=0.5, resize=0.5, erasing=0.5)
CPU = torch.device("cpu")


def table(**columns) -> pd.DataFrame:
    """Rows with the given columns and empty text in all others."""
    names = [*manifest.COLUMNS, *(c for c in columns if c not in manifest.COLUMNS)]
    return pd.DataFrame(columns).reindex(columns=names, fill_value="")


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> pd.DataFrame:
    """Twenty-two stored faces of 40 px, each its own noise; every second one is real."""
    folder = tmp_path_factory.mktemp("faces")
    noise = np.random.default_rng(0)
    files = [str(folder / f"{i:02d}.png") for i in range(22)]
    for file in files:
        write_image(file, noise.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    # `box` is of the picture that a crop was cut from: nothing here may read it.
    where = {"box": "90 90 95 99", "file_box": "10 10 30 30", "file_landmarks": ""}
    return table(path=files, file=files, label=[REAL, FAKE] * 11, **where)


def faces(rows: pd.DataFrame, **options) -> FaceDataset:
    return FaceDataset(
        rows, Face(), SIZE, **{"seed": 7, "fakes": WARP, "augment": STRONG} | options
    )


def digest(batches) -> list[str]:
    """One hash a batch over all that it holds."""
    return [
        hashlib.sha256(
            b.images.numpy().tobytes() + b.labels.numpy().tobytes() + b.rows.numpy().tobytes()
        ).hexdigest()
        + repr(b.failures)
        for b in batches
    ]


def same(one, other) -> bool:
    return torch.equal(one[0], other[0]) and one[1:] == other[1:]


# -------------------------------------------------------------------------------- samples


def test_a_sample_is_a_uint8_crop_with_label_and_row(rows):
    picture, label, row = faces(rows, fakes=None, augment=None)[1, 3]
    assert picture.shape == (3, 24, 20) and picture.dtype == torch.uint8
    assert (label, row) == (FAKE, 3)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_same_batches_with_any_number_of_workers(rows, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    rows = rows.copy()
    rows.loc[5, ["path", "file"]] = str(broken)
    runs = []
    for workers in (0, 2, 8):
        order = EpochBatches(len(rows), 4, seed=3, shuffle=True)
        loader = make_loader(faces(rows), order, workers)
        run = []
        for epoch in (1, 2):
            order.epoch = epoch
            run.append(digest(loader))
        runs.append(run)
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] != runs[0][1]
    assert sum("broken.png" in text for text in runs[0][0]) == 1


def test_a_sample_is_a_function_of_seed_epoch_and_index(rows):
    first = [faces(rows)[1, i] for i in range(8)]
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    again = faces(rows)
    for i in reversed(range(8)):
        assert same(again[1, i], first[i])
    assert not any(same(again[2, i], first[i]) for i in range(8))
    other = faces(rows, seed=8)
    assert not any(same(other[1, i], first[i]) for i in range(8))


def test_samples_leave_the_global_generators_alone(rows):
    def states():
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
        )

    samples = faces(rows)
    before = states()
    for i in range(10):
        samples[1, i]
    for workers in (0, 2):
        for _ in make_loader(samples, EpochBatches(8, 4, 0, shuffle=True), workers):
            pass
    assert states() == before


def test_a_failing_augmentation_gives_the_generator_back(rows):
    samples = faces(rows)

    def fail(_):
        torch.rand(3)
        raise RuntimeError("no memory")

    samples.augment = fail
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError):
        samples[1, 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_samples_do_not_depend_on_the_epoch(rows):
    samples = dataset.evaluation_set(rows, Config(input_size=SIZE, fakes=WARP, augment=STRONG))
    assert len(samples) == len(rows)
    for i in range(4):
        assert same(samples[0, i], samples[5, i])
        assert samples[0, i][1] == rows["label"][i]


def test_a_pass_counts_on_through_repeat(rows):
    samples = faces(rows, repeat=3)
    assert len(samples) == 66
    first, second = samples[1, 4], samples[1, 26]
    assert first[2] == second[2] == 4
    assert not torch.equal(first[0], second[0])  # another draw of the same row
    plain = faces(rows, repeat=3, fakes=None, augment=None)
    assert torch.equal(plain[1, 4][0], plain[1, 26][0])


def test_training_set_reads_its_settings(rows):
    config = Config(input_size=SIZE, fakes=WARP, data=Data(repeat=2), seed=1)
    samples = dataset.training_set(rows, config)
    assert len(samples) == 44
    assert same(samples[1, 0], FaceDataset(rows, Face(), SIZE, 3, 1, WARP, Augment(), 2)[1, 0])


def test_fakes_are_called_fake_and_make_their_share(rows):
    samples = faces(rows, augment=None, repeat=20)
    plain = faces(rows, augment=None, fakes=None)
    made = 0
    for index in range(0, 440, 2):  # the real rows
        picture, label, row = samples[1, index]
        changed = not torch.equal(picture, plain[0, row][0])
        assert changed == (label == FAKE)
        made += label == FAKE
    assert 0.38 < made / 220 < 0.62
    assert all(samples[1, i][1] == FAKE for i in range(1, 40, 2))
    assert all(torch.equal(samples[1, i][0], plain[0, i][0]) for i in range(1, 22, 2))


@pytest.mark.parametrize(("probability", "label"), [(0.0, REAL), (1.0, FAKE)])
def test_never_and_always_fakes(rows, probability, label):
    samples = faces(rows, fakes=Fakes(type="warp", probability=probability))
    assert {samples[1, i][1] for i in range(0, 22, 2)} == {label}


def test_fakes_of_type_none_are_not_made(rows):
    samples = faces(rows, fakes=Fakes(type="none", probability=1.0))
    assert {samples[1, i][1] for i in range(0, 22, 2)} == {REAL}


def test_a_real_and_its_fake_are_cut_from_the_same_place(rows):
    fake = faces(rows, fakes=Fakes(type="warp", probability=1.0), augment=None)[1, 0][0]
    real = faces(rows, fakes=None, augment=None)[1, 0][0]
    # The box is 10..30 of 40 px and the margin 30 %: the crop's outer rim is context.
    assert torch.equal(fake[:, :3], real[:, :3]) and torch.equal(fake[:, :, -2:], real[:, :, -2:])
    assert not torch.equal(fake, real)


def test_a_fake_is_made_from_the_crops_own_box_and_points(rows, monkeypatch):
    points = np.arange(10) + 0.5
    known = rows.iloc[:3].assign(file_landmarks=[manifest.cell(points), manifest.cell(points), ""])
    given = []

    def make_pair(image, box, landmarks, random, settings, draw):
        given.append((box, landmarks, settings))
        return image, 255 - image

    monkeypatch.setattr(dataset, "make_pair", make_pair)
    samples = faces(known, fakes=Fakes(type="warp", probability=1.0), augment=None)
    plain = faces(known, fakes=None, augment=None)
    for i in (0, 2):
        picture, label, _ = samples[1, i]
        assert label == FAKE
        # The resize rounds, so the negative of a crop is the crop of the negative within one.
        assert (picture.int() + plain[1, i][0] - 255).abs().max() <= 1
    (box, landmarks, settings), (_, none, _) = given
    assert box.tolist() == [10, 10, 30, 30] and settings == samples.fakes
    assert landmarks.tolist() == points.reshape(5, 2).tolist() and none is None


def test_what_cannot_be_a_sample_is_a_failure(rows, tmp_path):
    bad = rows.iloc[:4].copy()
    (tmp_path / "text.png").write_text("no picture")
    bad.loc[0, "file"] = str(tmp_path / "text.png")
    bad.loc[1, "file"] = str(tmp_path / "missing.png")
    bad.loc[2, "file_box"] = ""
    samples = faces(bad, fakes=Fakes(type="warp", probability=1.0))
    for i, kind, reason in (
        (0, UNREADABLE, "not a picture"),
        (1, UNREADABLE, "No such file"),
        (2, NO_FAKE, "box"),
    ):
        failure = samples[1, i]
        assert isinstance(failure, Failure)
        assert failure.path == rows["path"][i] and reason in failure.reason
        assert failure.kind == kind
    batch = collate([samples[1, i] for i in range(4)])
    assert len(batch) == 1 and batch.rows.tolist() == [3]
    assert len(batch.failures) == 3


def test_with_align_a_face_is_turned_and_one_without_points_is_a_failure(rows):
    points = np.array([[14, 22], [24, 14], [20, 20], [20, 26], [26, 22]]).ravel()
    known = rows.iloc[:2].assign(file_landmarks=[manifest.cell(points), ""])
    aligned = FaceDataset(known, Face(align=True), SIZE, seed=7)
    plain = FaceDataset(known, Face(), SIZE, seed=7)
    assert not torch.equal(aligned[1, 0][0], plain[1, 0][0])
    assert plain[1, 1][0].shape == aligned[1, 0][0].shape == (3, 24, 20)
    failure = aligned[1, 1]
    assert isinstance(failure, Failure) and failure.kind == NO_LANDMARKS
    assert failure.path == rows["path"][1] and "five points" in failure.reason


@pytest.mark.parametrize("box", ["-30 5 -2 35", "5 40 35 70"])
@pytest.mark.parametrize("pad", ["none", "reflect", "black"])
def test_a_box_beside_its_picture_is_a_failure_and_never_the_nearest_pixels(rows, box, pad):
    beside = FaceDataset(rows.iloc[:2].assign(file_box=[box, "5 5 60 60"]), Face(pad=pad), SIZE)
    failure = beside[1, 0]
    assert isinstance(failure, Failure) and failure.kind == NO_FACE
    assert failure.path == rows["path"][0] and "beside the picture" in failure.reason
    assert beside[1, 1][0].shape == (3, 24, 20)  # one that sticks out is cut as always
    for recipe in ("warp", "blend"):  # whatever would have been made of it
        fakes = Fakes(type=recipe, pairs=True)
        faked = FaceDataset(rows.iloc[:1].assign(file_box=box), Face(pad=pad), SIZE, fakes=fakes)
        assert faked[1, 0].kind == NO_FACE


def test_a_batch_of_failures_only_is_empty():
    batch = collate([Failure("a", UNREADABLE, "gone"), Failure("b", NO_FAKE, "gone")])
    assert isinstance(batch, Batch)
    assert len(batch) == 0 == len(batch.rows)
    assert [f.path for f in batch.failures] == ["a", "b"]


@pytest.mark.parametrize("augment", [None, STRONG])
def test_one_channel(rows, augment):
    picture = faces(rows, channels=1, augment=augment, fakes=None)[1, 0][0]
    assert picture.shape == (1, 24, 20) and picture.dtype == torch.uint8
    if augment is None:
        colour = faces(rows, augment=None, fakes=None)[1, 0][0].double()
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        assert (picture - (colour * weights).sum(0)).abs().max() < 1.5


@pytest.mark.parametrize(
    "only", ["flip", "rotation", "color", "jpeg", "blur", "resize", "noise", "h264", "erasing"]
)
def test_each_augmentation_changes_pictures_and_nothing_else_does(only):
    off = {
        "flip": 0.0, "rotation": 0.0, "color": 0.0, "jpeg": 0.0,
        "blur": 0.0, "resize": 0.0, "sharpen": 0.0, "noise": 0.0, "h264": 0.0, "erasing": 0.0,
    }  # fmt: skip
    picture = torch.from_numpy(skimage.data.astronaut()[60:180, 170:290].copy()).permute(2, 0, 1)
    assert torch.equal(augmentation(Augment(**off))(picture), picture)
    torch.manual_seed(0)
    changed = augmentation(Augment(**off | {only: 1.0 if only != "rotation" else 20.0}))
    results = [changed(picture) for _ in range(3)]
    assert all(r.shape == picture.shape and r.dtype == torch.uint8 for r in results)
    assert any(not torch.equal(r, picture) for r in results)
    if only == "flip":
        assert torch.equal(results[0], picture.flip(2))


def test_noise_and_shrinking_go_as_far_as_they_are_told():
    off = {"flip": 0.0, "rotation": 0.0, "color": 0.0, "jpeg": 0.0, "resize": 0.0}
    picture = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    torch.manual_seed(0)
    noisy = augmentation(Augment(**off | {"noise": 1.0, "noise_most": 6.0}))
    spreads = [float(noisy(picture).double().std()) for _ in range(40)]
    assert max(spreads) <= 6.3 and max(spreads) > 4 > 2 > min(spreads)
    sharp = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8))
    lost = []
    for least in (0.95, 0.2):
        shrunk = augmentation(Augment(**off | {"resize": 1.0, "resize_least": least}))
        lost.append(float(np.mean([shrunk(sharp).double().std() for _ in range(20)])))
    assert lost[1] < 0.7 * lost[0]
    soft = augmentation(Augment(**off | {"blur": 1.0}))(sharp)
    for _ in range(10):
        crisp = augmentation(Augment(**off | {"sharpen": 1.0}))(soft)
        assert crisp.double().std() > 1.02 * soft.double().std()


def test_h264_costs_more_the_higher_its_factor_and_is_drawn_from_the_generator():
    off = {"flip": 0.0, "rotation": 0.0, "color": 0.0, "jpeg": 0.0, "resize": 0.0, "h264": 1.0}
    picture = torch.from_numpy(skimage.data.astronaut()[60:180, 170:291].copy()).permute(2, 0, 1)

    def away(*crf: float) -> float:
        torch.manual_seed(0)
        changed = augmentation(Augment(**off, h264_crf=list(crf)))(picture)
        return float((changed.double() - picture.double()).abs().mean())

    assert away(18, 18) < away(28, 28) < away(40, 40)
    assert away(18, 40) == away(18, 40) and away(18, 18) < away(18, 40) < away(40, 40)


def test_random_faces_are_half_fake_and_repeatable():
    samples = RandomFaces([10, 3, 8, 6], seed=1)
    assert len(samples) == 10 and samples.labels.sum() == 5
    picture, label, row = samples[1, 3]
    assert picture.shape == (3, 8, 6) and picture.dtype == torch.uint8
    assert label == samples.labels[3] and row == 3
    assert same(samples[2, 3], samples[1, 3])
    assert not torch.equal(RandomFaces([10, 3, 8, 6], seed=2)[1, 3][0], picture)


# -------------------------------------------------------------------------------- batches


@given(st.integers(1, 200), st.integers(1, 33), st.integers(0, 9), st.booleans())
def test_an_epoch_holds_every_index_once(count, size, epoch, shuffle):
    order = EpochBatches(count, size, seed=5, shuffle=shuffle)
    order.epoch = epoch
    batches = list(order)
    assert len(batches) == len(order)
    assert sorted(index for batch in batches for _, index in batch) == list(range(count))
    assert {e for batch in batches for e, _ in batch} == {epoch}
    assert all(len(batch) <= size for batch in batches[:-1])
    if shuffle and count > 1 and size > 1:
        assert min(map(len, batches)) > 1 and len(batches[-1]) <= size + 1
    assert batches == list(order)


@given(st.integers(1, 100), st.integers(1, 20), st.integers(0, 12))
def test_an_epoch_goes_on_where_it_stopped(count, size, start):
    whole, rest = (EpochBatches(count, size, seed=5, shuffle=True) for _ in range(2))
    start = min(start, len(whole))
    rest.start = start
    assert list(rest) == list(whole)[start:]
    assert len(rest) == len(whole) - start


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    repeat=st.integers(1, 3),
    epoch=st.integers(1, 3),
)
def test_balanced_batches_hold_each_cell_equally_often(sizes, repeat, epoch):
    cells = np.tile(np.repeat(np.arange(len(sizes)), sizes), repeat)
    order = EpochBatches(len(cells), 8, 5, shuffle=True, cells=cells)
    order.epoch = epoch
    indices = [index for batch in order for _, index in batch]
    assert len(indices) == len(set(indices)) == len(cells)
    counts = np.bincount(cells[np.array(indices) % len(cells)], minlength=len(sizes))
    assert counts.max() - counts.min() <= 1
    for number, size in enumerate(sizes):  # none comes again before all of its cell came
        own = [i % len(cells) for i in indices if cells[i % len(cells)] == number]
        times = np.unique(own, return_counts=True)[1]
        assert len(times) == min(len(own), size * repeat) and times.max() - times.min() <= 1


@given(
    sizes=st.lists(st.integers(1, 90), min_size=2, max_size=5),
    power=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_cell_comes_as_often_as_its_size_counts(sizes, power):
    cells = np.repeat(np.arange(len(sizes)), sizes)
    order = EpochBatches(len(cells), 8, 5, shuffle=True, cells=cells, power=power)
    indices = [index % len(cells) for batch in order for _, index in batch]
    counts = np.bincount(cells[indices], minlength=len(sizes))
    exact = np.array(sizes) ** power / (np.array(sizes) ** power).sum() * len(cells)
    assert counts.sum() == len(cells) and (np.abs(counts - exact) < 1 + 1e-6).all()


def test_a_rare_picture_that_comes_again_gets_other_changes(rows):
    samples = faces(rows, fakes=None)
    count = len(samples)
    assert samples[1, 3][2] == samples[1, 3 + count][2] == 3
    assert not torch.equal(samples[1, 3][0], samples[1, 3 + count][0])


def test_cells_are_classes_or_classes_within_sources(rows):
    some = rows.head(4).assign(label=[0, 1, 1, 1], source=["a", "a", "b", "b"])
    assert dataset.balance_cells(some, "none", 1) is None
    assert dataset.balance_cells(some, "class", 2).tolist() == [0, 1, 1, 1] * 2
    assert dataset.balance_cells(some, "source", 1).tolist() == [0, 1, 2, 2]


def test_epochs_and_seeds_have_their_own_order():
    def order(seed, epoch, shuffle=True):
        batches = EpochBatches(50, 8, seed, shuffle)
        batches.epoch = epoch
        return [index for batch in batches for _, index in batch]

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(s, e)) for s in (0, 1) for e in (1, 2)}) == 4
    assert order(0, 1, shuffle=False) == list(range(50))


DIES_AMONG_WORKERS = """
from batches import EpochBatches, make_loader
from dataset import RandomFaces

loader = make_loader(RandomFaces([64, 3, 8, 8], 0), EpochBatches(64, 4, 0, True), 2)
for batch in loader:
    raise RuntimeError("out of memory")
"""


def test_a_program_that_fails_among_its_workers_ends():
    root = Path(dataset.__file__).parent
    ended = subprocess.run(
        [sys.executable, "-c", DIES_AMONG_WORKERS],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("RuntimeError: out of memory")


# ---------------------------------------------------------------------------------- faces


@pytest.fixture
def photos(tmp_path) -> pd.DataFrame:
    """Two faces in one photo, one in another, none in a third; all real."""
    face = skimage.data.astronaut()
    pictures = {
        "two": np.concatenate([face, face[:, ::-1]], axis=1),
        "one": face,
        "none": np.full((96, 96, 3), 128, np.uint8),
    }
    for name, picture in pictures.items():
        write_image(tmp_path / f"{name}.png", np.ascontiguousarray(picture))
    return table(path=[str(tmp_path / f"{name}.png") for name in pictures], label=REAL)


def located(rows, tmp_path, *, crop=True, max_bad=0.05, detector="haar", **face):
    data = Data(crop=crop, cache=str(tmp_path / "cache"), max_bad=max_bad)
    recipe = Face(detector=detector, **face)
    return dataset.locate_faces(rows, data, recipe, CPU, progress=False)


def names(paths) -> list[str]:
    return [Path(path).stem for path in paths]


def test_without_crop_pictures_are_taken_whole(photos, tmp_path):
    rows, failures = located(photos.assign(box="1 1 9 9"), tmp_path, crop=False)
    assert rows["file"].tolist() == photos["path"].tolist()
    assert set(rows["file_box"]) == set(rows["file_landmarks"]) == {""} and failures == []
    assert set(rows["box"]) == {"1 1 9 9"}  # what the manifest knows stays known
    assert not (tmp_path / "cache").exists()
    picture, _, _ = faces(rows, fakes=None, augment=None)[0, 0]
    half = faces(rows, fakes=None, augment=None)[0, 1][0]
    assert picture.shape == half.shape and not torch.equal(picture, half)


def test_faces_are_cut_and_the_faceless_named(photos, tmp_path):
    rows, failures = located(photos, tmp_path)
    assert names(rows["path"]) == ["two", "one"]
    (failure,) = failures
    assert (failure.path, failure.kind) == (photos["path"][2], NO_FACE)
    assert failure.reason == "no face found"
    assert all(Path(file).is_file() and "cache" in file for file in rows["file"])
    for column in ("box", "file_box"):
        assert all(len(manifest.numbers(box)) == 4 for box in rows[column])
    assert len(faces(rows)) == 2 and not isinstance(faces(rows)[1, 0], Failure)


@pytest.mark.parametrize("detector", ["mtcnn", "haar"])
def test_a_face_is_known_in_the_picture_and_in_its_crop(photos, tmp_path, detector):
    rows, _ = located(photos, tmp_path, select="all", detector=detector, format="png")
    assert names(rows["path"]) == ["two", "two", "one"]
    for row in rows.to_dict("records"):
        views = []
        for file, column in ((row["path"], "box"), (row["file"], "file_box")):
            left, top, right, bottom = manifest.numbers(row[column]).round().astype(int)
            views.append(read_image(file)[top:bottom, left:right].astype(int))
        assert min(views[0].shape[:2]) > 50
        np.testing.assert_array_equal(*views)  # the crop is at native resolution
        points = [manifest.numbers(row[c]) for c in ("landmarks", "file_landmarks")]
        if detector == "haar":
            assert points == [None, None] and row["confidence"] == ""
            continue
        corners = [manifest.numbers(row[c])[:2] for c in ("box", "file_box")]
        inside = [p.reshape(5, 2) - corner for p, corner in zip(points, corners, strict=True)]
        np.testing.assert_allclose(*inside, atol=0.03)
        assert 0.95 < float(row["confidence"]) <= 1


def test_columns_of_a_face_are_those_of_the_manifest_and_our_own(photos, tmp_path):
    rows, _ = located(photos.assign(camera="x"), tmp_path)
    assert set(rows) == {*manifest.COLUMNS, *manifest.PRIVATE, "camera"}
    assert set(rows["camera"]) == {"x"}
    found = dataset.find_faces(photos["path"], Face(detector="haar"), tmp_path / "cache", CPU)
    (columns,) = dataset.face_columns(found[photos["path"][1]])
    assert set(columns) == {*manifest.PRIVATE, "box", "landmarks", "confidence"}
    assert dataset.face_columns(found[photos["path"][2]]) == []


def test_the_faceless_are_taken_whole_if_wanted(photos, tmp_path):
    rows, failures = located(photos, tmp_path, no_face="whole")
    assert names(rows["path"]) == ["two", "one", "none"] and failures == []
    assert rows["file"][2] == photos["path"][2]
    assert rows["box"][2] == rows["file_box"][2] == ""


def test_every_face_of_a_photo_is_a_row(photos, tmp_path):
    rows, _ = located(photos, tmp_path, select="all")
    assert names(rows["path"]) == ["two", "two", "one"]
    assert rows["file"].nunique() == 3
    assert rows["track"].tolist() == ["0", "1", ""]


def test_rows_with_a_box_are_stored_faces(photos, tmp_path, monkeypatch):
    def refuse(paths, *_):
        assert list(paths) == []
        return {}

    monkeypatch.setattr(dataset, "find_faces", refuse)
    points = "1 2 3 4 5 6 7 8 9 10"
    rows, failures = located(photos.assign(box="1 2 30 40", landmarks=points), tmp_path)
    assert rows["file"].tolist() == photos["path"].tolist()
    assert set(rows["box"]) == set(rows["file_box"]) == {"1 2 30 40"} and failures == []
    assert set(rows["landmarks"]) == set(rows["file_landmarks"]) == {points}


def test_unreadable_pictures_are_named_or_stop_the_run(photos, tmp_path):
    (tmp_path / "letter.jpg").write_text("dear reader")
    more = pd.concat([photos, table(path=[str(tmp_path / "letter.jpg")], label=FAKE)])
    rows, failures = located(more, tmp_path, max_bad=0.25)
    assert names(rows["path"]) == ["two", "one"]
    kinds = {Path(f.path).stem: f.kind for f in failures}
    assert kinds == {"letter": UNREADABLE, "none": NO_FACE}
    with pytest.raises(UserError, match=r"1 of 4 .*max_bad = 0\.2 (.|\n)*letter\.jpg: not"):
        located(more, tmp_path, max_bad=0.2)


def test_all_rows_may_be_left_out(photos, tmp_path):
    rows, failures = located(photos.iloc[2:], tmp_path)
    assert len(rows) == 0 and len(failures) == 1
    assert set(manifest.COLUMNS) <= set(rows.columns)


# ---------------------------------------------------------------------------------- texts


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=20))
def test_texts_are_a_list_of_texts(texts):
    kept = dataset.Texts(texts)
    assert list(kept) == texts and len(kept) == len(texts)
    assert [kept[i - len(texts)] for i in range(len(texts))] == texts
    with pytest.raises(IndexError):
        kept[len(texts)]


def test_texts_keep_names_that_are_no_utf8_and_go_to_other_processes():
    names = ["a.png", "", "\udcff.png", "ü" * 1000]
    assert list(pickle.loads(pickle.dumps(dataset.Texts(names)))) == names
