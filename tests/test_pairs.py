"""Each real beside a fake of itself: one batch, one crop, one augmentation, whatever loads them."""

import hashlib

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import checkpoint
import dataset
import manifest
import train
from batches import Batch, EpochBatches, collate, make_loader
from dataset import FaceDataset
from faces.crop import network_crop
from faces.image import write_image
from failures import NO_FAKE, Failure
from fakes.outline import MEAN_FACE
from flags import Augment, Config, Face, Fakes, InputSize, Loss
from manifest import FAKE, REAL
from processes import Processes
from training.loss import class_weights
from training.signals import Stopped

SIZE = InputSize(height=48, width=40)
BLEND = Fakes(type="blend", pairs=True)
STRONG = Augment(color=0.3, rotation=20.0, jpeg=0.5, blur=0.5, resize=0.5, margin=[5, 20])
QUIET = {"flip": 0, "turned": 0, "color": 0, "jpeg": 0, "resize": 0}
POINTS = np.array(MEAN_FACE) * 50 + [35, 40]


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> pd.DataFrame:
    """Twelve stored faces of 120 px, smooth noise: nine reals, three fakes."""
    folder = tmp_path_factory.mktemp("faces")
    noise = np.random.default_rng(0)
    files = [str(folder / f"{i:02d}.png") for i in range(12)]
    for file in files:
        picture = cv2.GaussianBlur(noise.integers(0, 256, (120, 120, 3), dtype=np.uint8), (0, 0), 2)
        write_image(file, cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX))
    points = manifest.cell(POINTS.ravel())
    table = {"path": files, "label": [REAL, REAL, REAL, FAKE] * 3, "split": "train",
             "box": "28 28 92 98", "landmarks": points, "file": files,
             "file_box": "28 28 92 98", "file_landmarks": points}  # fmt: skip
    return pd.DataFrame(table).reindex(columns=[*manifest.COLUMNS, *list(table)[5:]], fill_value="")


def faces(rows: pd.DataFrame, **options) -> FaceDataset:
    return FaceDataset(
        rows, Face(), SIZE, **{"seed": 7, "fakes": BLEND, "augment": STRONG} | options
    )


def digest(batches) -> list[str]:
    return [
        hashlib.sha256(b.images.numpy().tobytes() + b.labels.numpy().tobytes()).hexdigest()
        for b in batches
    ]


# --------------------------------------------------------------------------------- samples


def test_a_real_row_gives_itself_and_its_fake_and_a_fake_row_one(rows):
    samples = faces(rows)
    pair, single = samples[1, 0], samples[1, 3]
    assert [(label, row) for _, label, row in pair] == [(REAL, 0), (FAKE, 0)]
    assert [(label, row) for _, label, row in single] == [(FAKE, 3)]
    assert all(one[0].shape == (3, 48, 40) for one in [*pair, *single])
    assert not torch.equal(pair[0][0], pair[1][0])


@given(index=st.sampled_from([0, 1, 2, 4]), epoch=st.integers(1, 99))
@settings(deadline=None)
def test_both_of_a_pair_are_changed_alike(rows, index, epoch):
    # With the fake equal to the real before them, crop and augmentation leave both equal.
    samples = faces(rows)
    samples._images = lambda row, random: [(samples.read(samples.files[row]), k) for k in (0, 1)]
    (real, *_), (fake, *_) = samples[epoch, index]
    assert torch.equal(real, fake)


def test_a_pair_is_a_function_of_seed_epoch_and_index(rows):
    def all_of(samples, epoch=1):
        return [picture for i in range(12) for picture, *_ in samples[epoch, i]]

    first = all_of(faces(rows))
    torch.manual_seed(99)
    assert all(torch.equal(a, b) for a, b in zip(first, all_of(faces(rows)), strict=True))
    for others in (all_of(faces(rows), epoch=2), all_of(faces(rows, seed=8))):
        assert not any(torch.equal(a, b) for a, b in zip(first, others, strict=True))


def test_a_real_without_a_fake_is_left_out_as_a_whole(rows):
    lost = rows.copy()
    lost.loc[0, "file_landmarks"] = ""
    failure = faces(lost)[1, 0]
    assert isinstance(failure, Failure) and failure.kind == NO_FAKE
    assert len(collate([failure, faces(lost)[1, 1]])) == 2


def test_without_pairs_a_real_goes_through_the_recipe_as_well(rows):
    # Half of all targets are changed: a real as it was stored would be told by that.
    single = Fakes(type="blend", probability=0.5)
    samples = faces(rows, fakes=single, augment=None)
    plain = faces(rows, fakes=None, augment=None)
    changed = {REAL: [], FAKE: []}
    for epoch in range(1, 40):
        for i in (0, 1, 2):
            picture, label, _ = samples[epoch, i]
            changed[label].append(not torch.equal(picture, plain[1, i][0]))
    assert 0.3 < np.mean(changed[REAL]) < 0.7 and np.mean(changed[FAKE]) == 1
    assert 0.35 < len(changed[FAKE]) / 117 < 0.65


# --------------------------------------------------------------------------------- margins


@pytest.fixture
def seen(monkeypatch) -> list:
    """The margins that crops are cut with, in order."""
    margins = []

    def noted(image, box, margin, *others):
        margins.append(margin)
        return network_crop(image, box, margin, *others)

    monkeypatch.setattr(dataset, "network_crop", noted)
    return margins


def test_margins_vary_within_their_range_and_validation_keeps_its_own(rows, seen):
    samples = faces(rows, augment=Augment(margin=[5, 20]))
    for epoch in range(1, 100):
        samples[epoch, 0]
    assert seen[::2] == seen[1::2]  # both of a pair
    shares = np.array([float(margin.removesuffix("%")) for margin in seen[::2]])
    assert 5 <= shares.min() < 7 and 18 < shares.max() <= 20
    seen.clear()
    config = Config(input_size=SIZE, fakes=BLEND, augment=STRONG, face=Face(margin="12.5%"))
    dataset.evaluation_set(rows, config)[1, 0]
    assert seen == ["12.5%"]


def test_each_side_draws_its_own_margin(rows, seen):
    samples = faces(rows, augment=Augment(margin=[5, 20], margin_each_side=True))
    for epoch in range(1, 100):
        samples[epoch, 0]
    shares = np.array(seen)
    np.testing.assert_array_equal(shares[::2], shares[1::2])  # both of a pair
    assert ((shares >= 0.05) & (shares <= 0.2)).all()
    assert (np.ptp(shares, axis=0) > 0.12).all()
    assert np.abs(np.corrcoef(shares[::2].T) - np.eye(4)).max() < 0.4


def test_no_face_shows_more_detail_than_the_drawn_side(rows):
    """Of pure noise, shrinking to half its side leaves a part, and the same of both of a pair."""
    here = rows.iloc[:1]
    sharp = faces(here, augment=Augment(**QUIET))[1, 0]
    soft = faces(here, augment=Augment(**QUIET, max_side=[12, 16]))[1, 0]
    for (one, *_), (other, *_) in zip(sharp, soft, strict=True):
        detail = [np.diff(picture.numpy().astype(float), axis=2).std() for picture in (one, other)]
        assert detail[1] < 0.7 * detail[0]
    beyond = faces(here, augment=Augment(**QUIET, max_side=[4000, 4001]))[1, 0]
    for (one, *_), (other, *_) in zip(sharp, beyond, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("side", [[5], [20, 5], [0, 5]])
def test_a_range_of_sides_that_is_none_is_refused(side):
    with pytest.raises(ValidationError, match="max_side"):
        Augment(max_side=side)


def test_what_of_a_crop_cannot_be_drawn_is_refused():
    with pytest.raises(ValidationError, match="margin_each_side"):
        Config(augment={"margin_each_side": True})
    with pytest.raises(ValidationError, match="margin_each_side"):
        Config(augment={"margin_each_side": True, "margin": [5, 20]}, face={"align": True})
    with pytest.raises(ValidationError, match="max_side"):
        Config(augment={"max_side": [56, 104]}, data={"crop": False})


@pytest.mark.parametrize("margin", [[5], [20, 5], [-1, 5]])
def test_a_range_of_margins_that_is_none_is_refused(margin):
    with pytest.raises(ValidationError, match="margin"):
        Augment(margin=margin)


def test_a_margin_beyond_the_stored_crop_is_refused():
    with pytest.raises(ValidationError, match=r"face\.grow to 2\.2"):
        Config(augment={"margin": [5, 60]})
    Config(augment={"margin": [5, 60]}, face={"grow": 2.2})


# --------------------------------------------------------------------------------- batches


def batches_of(rows, workers: int = 0, batch_size: int = 8, repeat: int = 1, cells=None, **place):
    samples = faces(rows, repeat=repeat)
    number = dataset.rows_per_batch(samples, batch_size, cells)
    order = EpochBatches(len(samples), number, 3, shuffle=True, cells=cells, **place)
    order.epoch = 1
    return list(make_loader(samples, order, workers))


def assert_pairs_stay_together(batches: list[Batch]) -> None:
    for batch in batches:
        reals = batch.rows[batch.labels == REAL].tolist()
        made = batch.rows[batch.labels == FAKE].tolist()
        assert all(reals.count(row) == made.count(row) for row in set(reals))


def test_a_batch_of_reals_is_half_reals_half_their_own_fakes(rows):
    reals = rows[rows["label"] == REAL].iloc[:8]
    for batch_size in (4, 8, 9):
        batches = batches_of(reals, batch_size=batch_size)
        assert_pairs_stay_together(batches)
        for batch in batches:
            assert (batch.labels == FAKE).sum() == len(batch) / 2
        assert len(batches[0]) == batch_size // 2 * 2
        assert sorted(torch.cat([b.rows for b in batches]).tolist()) == sorted([*range(8)] * 2)


def test_forged_photos_train_beside_the_pairs_as_single_fakes(rows):
    batches = batches_of(rows, repeat=2)
    assert_pairs_stay_together(batches)
    labels = torch.cat([b.labels for b in batches])
    assert (labels == REAL).sum() == 18 and (labels == FAKE).sum() == 18 + 6
    assert np.mean([len(b) for b in batches[:-1]]) == pytest.approx(8, abs=2)


def test_balanced_rows_are_pairs_and_forged_photos_equally_often(rows):
    cells = dataset.balance_cells(rows, "class", 2)
    batches = batches_of(rows, repeat=2, cells=cells)
    assert_pairs_stay_together(batches)
    labels = torch.cat([b.labels for b in batches])
    assert (labels == REAL).sum() == 12 and (labels == FAKE).sum() == 24
    assert dataset.rows_per_batch(faces(rows), 30, cells) == 20  # of 1.5 samples each


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_same_batches_with_any_number_of_workers(rows):
    assert digest(batches_of(rows)) == digest(batches_of(rows, workers=2))


def test_a_pair_stays_in_one_process_and_all_processes_have_all_rows(rows):
    cpu = torch.device("cpu")
    alone = batches_of(rows, batch_size=7)
    shares = [batches_of(rows, batch_size=7, processes=Processes(cpu, rank, 2)) for rank in (0, 1)]
    for batches in shares:
        assert_pairs_stay_together(batches)
    for whole, *parts in zip(alone, *shares, strict=True):
        together = [(*pair,) for p in parts for pair in zip(p.rows.tolist(), p.labels.tolist(),
                                                           strict=True)]  # fmt: skip
        wanted = zip(whole.rows.tolist(), whole.labels.tolist(), strict=True)
        assert sorted(together) == sorted(wanted)


def test_balanced_weights_count_the_fakes_of_pairs():
    weights = class_weights(np.array([0, 0, 0, 1]), Loss(weights="balanced"), BLEND)
    assert (weights * torch.tensor([3, 4])).tolist() == pytest.approx([3.5, 3.5])


# ------------------------------------------------------------------------------ whole runs


def test_a_run_with_pairs_and_sam_stopped_halfway_ends_as_one_that_was_not(
    rows, tmp_path, monkeypatch, networks_with_tiny
):
    csv = tmp_path / "faces.csv"
    splits = ["train"] * 8 + ["val"] * 4
    rows[list(manifest.COLUMNS)].assign(split=splits, identity=range(12)).to_csv(csv, index=False)

    def run(name):
        return train.main([
            "--network=Tiny", f"--data.train={csv}", f"--prefix={tmp_path / name}", "--device=cpu",
            "--fakes.type=blend", "--fakes.pairs=True", "--augment.margin=[5, 20]",
            "--optimizer.type=SGD", "--optimizer.sam_rho=.05", "--scheduler.type=linear",
            "--batch_size=4", "--num_epochs=2", "--num_workers=0", "--tracking.wandb=off",
            "--input_size.height=48", "--input_size.width=48", "--precision=fp32",
        ])  # fmt: skip

    assert run("whole") == 0
    once = iter([False, False, True])
    kept = train.Trainer.stop_or_save

    def stop(self, sums, signals):
        if next(once, False):
            self.progress.sums = self.processes.sum(sums.double())
            raise Stopped(15)
        kept(self, sums, signals)

    monkeypatch.setattr(train.Trainer, "stop_or_save", stop)
    assert run("halves") == 128 + 15
    assert run("halves") == 0
    states = [
        checkpoint.load(tmp_path / name / "checkpoints" / "last.pth")
        for name in ("whole", "halves")
    ]
    for name, value in states[0]["weights"].items():
        assert torch.equal(value, states[1]["weights"][name]), name
    losses = [state["history"][-1]["train_loss"] for state in states]
    assert losses[0] == losses[1]
