"""Another's face in a picture: who is drawn, where the face lands, what stays as it was."""

import gc
import pickle
import weakref

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import dataset
import prepare
from faces.image import UnreadableImage, read_image, write_image
from fakes import Donor, NoFake, changes_reals, make_pair, needs_donors
from fakes.donors import donors, upright
from fakes.outline import MEAN_FACE, similarity
from fakes.swap import make, matched, placed
from flags import Config, Face, Fakes, InputSize, Swap

NOISE = np.random.default_rng(0).integers(0, 256, (240, 200, 3), dtype=np.uint8)
OTHER = np.random.default_rng(1).integers(0, 256, (180, 260, 3), dtype=np.uint8)
BOX = np.array([60.0, 60, 140, 170])
POINTS = np.array(MEAN_FACE) * 60 + [70, 80]
OTHERS = np.array(MEAN_FACE) * 50 + [100, 60]
PLAIN = Swap(cloned=0, change=0, match=[0, 0], ratios=[1.0], affine=0)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def other(random: np.random.Generator) -> Donor:
    return Donor(OTHER, OTHERS, 1)


def turned(points: np.ndarray, degrees: float, stretch: float = 1.0) -> np.ndarray:
    """The points turned about their middle, and stretched sideways."""
    middle = points.mean(0)
    moved = ((points - middle) * [stretch, 1]) @ [1, 1j] * np.exp(1j * np.radians(degrees))
    return np.stack([moved.real, moved.imag], axis=1) + middle


# --------------------------------------------------------------------------------- the pair


@given(
    st.floats(-40, 340), st.floats(-40, 340), st.floats(2, 200), st.floats(-180, 180),
    st.integers(0, 2**32),
)  # fmt: skip
@settings(deadline=None)
def test_wherever_the_faces_lie_a_pair_is_two_sound_pictures_or_none(x, y, side, degrees, seed):
    points = turned(np.array(MEAN_FACE) * side + [x, y], degrees)
    box = np.array([x, y, x + side, y + 1.3 * side])
    before = NOISE.copy()
    try:
        real, fake = make(NOISE, box, points, generator(seed), Swap(), other)
    except NoFake:
        return
    np.testing.assert_array_equal(NOISE, before)
    assert real.shape == fake.shape == NOISE.shape and real.dtype == fake.dtype == np.uint8
    assert not np.array_equal(real, fake)
    again = make(NOISE, box, points, generator(seed), Swap(), other)
    np.testing.assert_array_equal(fake, again[1])


@pytest.mark.parametrize("seed", range(8))
def test_outside_the_face_both_of_a_pair_are_the_same(seed):
    real, fake = make(NOISE, BOX, POINTS, generator(seed), Swap(cloned=0), other)
    changed = (real != fake).any(2)
    far = np.ones(changed.shape, bool)
    far[20:220, 20:180] = False
    assert changed.any() and not changed[far].any()


def test_the_inside_is_the_other_face_where_nothing_else_is_asked_for():
    real, fake = make(NOISE, BOX, POINTS, generator(3), PLAIN, other)
    laid = placed(OTHER, OTHERS, NOISE, POINTS, generator(9), PLAIN)
    nose = tuple(POINTS[2].round().astype(int)[::-1])
    region = tuple(slice(at - 2, at + 3) for at in nose)
    assert np.abs(fake[region].astype(int) - laid[region]).mean() < 40  # linear or cubic
    assert np.abs(fake[region].astype(int) - real[region]).mean() > 60
    np.testing.assert_array_equal(real, NOISE)


@pytest.mark.parametrize("affine", [0, 1])
def test_landmarks_come_to_lie_on_landmarks(affine):
    target = turned(POINTS, 20, 1.2 if affine else 1.0)
    face = np.zeros((180, 260, 3), np.uint8)
    for number, (x, y) in enumerate(OTHERS):
        cv2.circle(face, (round(x), round(y)), 3, (255, 40 * number, 0), -1)
    laid = placed(face, OTHERS.round(), NOISE, target, generator(), Swap(affine=affine))
    for x, y in target:
        assert laid[round(y), round(x), 0] > 120
    assert laid[5, 5].max() < 30


@given(st.integers(0, 99), st.floats(0, 1))
@settings(deadline=None, max_examples=25)
def test_colours_come_as_near_as_they_are_asked_to(seed, strength):
    dice = generator(seed)
    one, two = (
        np.clip(dice.normal(dice.uniform(80, 170, 3), 12, (60, 60, 3)), 0, 255).astype(np.uint8)
        for _ in range(2)
    )
    mask = np.ones((60, 60), np.float32)
    far, near = (
        np.abs(
            cv2.cvtColor(image, cv2.COLOR_RGB2LAB).reshape(-1, 3).mean(0)
            - cv2.cvtColor(two, cv2.COLOR_RGB2LAB).reshape(-1, 3).mean(0)
        )
        for image in (one, matched(one, two, mask, strength))
    )
    assert (np.abs(near - (1 - strength) * far) < 3).all()


def test_what_cannot_be_made_is_said():
    with pytest.raises(NoFake, match="no face box"):
        make(NOISE, None, POINTS, generator(), Swap(), other)
    with pytest.raises(NoFake, match="no landmarks"):
        make(NOISE, BOX, None, generator(), Swap(), other)
    with pytest.raises(NoFake, match="another person, and there is none"):
        make_pair(NOISE, BOX, POINTS, generator(), Fakes(type="swap"))
    with pytest.raises(NoFake, match="changes nothing"):
        make(NOISE, BOX, POINTS, generator(), Swap(ratios=[0.0], cloned=0), other)
    with pytest.raises(ValidationError, match=r"fakes\.swap\.match"):
        Swap(match=[0.9, 0.1])
    with pytest.raises(ValidationError, match=r"fakes\.swap\.blur"):
        Swap(blur=[4, 8])


# ------------------------------------------------------------------------------- the donors


def table(count: int, persons: list[int] | None = None, real: np.ndarray | None = None):
    """Faces turned aside more and more: the further two rows are apart, the less alike."""
    nose = np.array([[0, 0], [0, 0], [0.3, 0], [0, 0], [0, 0]])
    landmarks = np.stack([POINTS + nose * number for number in range(count)])
    real = np.ones(count, bool) if real is None else real
    read = lambda row: np.full((4, 4, 3), row, np.uint8)  # noqa: E731
    return donors(landmarks, np.array(persons or range(count)), real, read)


def test_a_donor_is_real_somebody_else_and_held_alike():
    real = np.arange(40) % 2 == 0
    persons = [i // 4 for i in range(40)]
    drawn = table(40, persons, real)
    for row in range(40):
        for seed in range(10):
            donor = drawn.of(row)(generator(seed))
            assert real[donor.row] and persons[donor.row] != persons[row]
            assert donor.image[0, 0, 0] == donor.row
            assert abs(donor.row - row) <= 22
    rows = {drawn.of(0)(generator(seed)).row for seed in range(50)}
    assert len(rows) > 3  # not always the nearest
    assert drawn.of(0)(generator(5)).row == drawn.of(0)(generator(5)).row


def test_where_there_is_nobody_else_no_fake_is_made():
    for nobody in (table(1), table(6, [1] * 6), table(5, real=np.zeros(5, bool))):
        with pytest.raises(NoFake, match="no other person"):
            nobody.of(0)(generator())

    def broken(row: int) -> np.ndarray:
        raise UnreadableImage("cut off")

    with pytest.raises(NoFake, match="cannot be read: cut off"):
        donors(np.stack([POINTS] * 3), np.arange(3), np.ones(3, bool), broken).of(0)(generator())


def test_rows_without_landmarks_give_none_and_get_none():
    landmarks = np.stack([POINTS, np.full((5, 2), np.nan), POINTS, np.ones((5, 2))])
    some = donors(landmarks, np.arange(4), np.ones(4, bool), lambda row: NOISE)
    assert some.rows.tolist() == [0, 2]
    with pytest.raises(NoFake, match="not those of a face"):
        some.of(1)(generator())


@given(st.floats(-180, 180), st.floats(0.1, 20), st.floats(-300, 300))
def test_upright_forgets_where_a_face_stands(degrees, scale, shift):
    moved = turned(POINTS * scale + shift, degrees)
    shapes, known = upright(np.stack([POINTS, moved]))
    assert known.all()
    np.testing.assert_allclose(shapes[0], shapes[1], atol=1e-6)
    there = similarity(moved, np.array(MEAN_FACE))
    by_one = (moved @ there[:, :2].T + there[:, 2] - np.mean(MEAN_FACE, 0)) @ [1, 1j]
    np.testing.assert_allclose(shapes[1], by_one, atol=1e-6)


# ------------------------------------------------------------------------------- in training


def test_training_pastes_faces_of_the_training_rows_alone(tmp_path, monkeypatch):
    portrait = skimage.data.astronaut()[:256, 100:356]
    marks = np.array([[105, 102], [147, 105], [125, 129], [103, 150], [145, 152]], float)
    paths = []
    for name, tint in {"a": 0, "b": 60, "c": 120}.items():
        paths.append(str(tmp_path / f"{name}.png"))
        write_image(paths[-1], np.roll(portrait, tint, axis=2) // 2 + tint)
    cell = " ".join(str(v) for v in marks.ravel())
    rows = pd.DataFrame({
        "path": paths, "file": paths, "label": [0, 0, 1], "identity": ["x", "y", "z"],
        "source": "", "file_box": "70 70 160 190", "file_landmarks": cell,
    })  # fmt: skip
    config = Config(fakes=Fakes(type="swap", pairs=True), data={"train": "x"})
    samples = dataset.training_set(rows, config)
    sent = pickle.loads(pickle.dumps(samples))  # as to a worker that is started anew
    for one, other in zip(samples[1, 0], sent[1, 0], strict=True):
        assert torch.equal(one[0], other[0])
    read = []
    monkeypatch.setattr(dataset, "read_image", lambda file: read.append(file) or read_image(file))
    samples = dataset.training_set(rows, config)
    pair = samples[1, 0]
    assert [label for _, label, _ in pair] == [0, 1]
    assert read == paths[:2]  # never the forged row, never itself


def test_recipes_say_what_they_need():
    kinds = {"none": (), "swap": ("swap",), "both": ("warp", "blend"), "mixed": ("blend", "swap")}
    assert {name: Fakes(type=name).recipes for name in kinds} == kinds
    assert [needs_donors(Fakes(type=name)) for name in kinds] == [False, True, False, True]
    assert changes_reals(Fakes(type="mixed")) and not changes_reals(
        Fakes(type="mixed", mix=["warp"])
    )
    taken = Fakes(type="mixed", mix=["warp", "warp", "blend"])
    untouched = [
        make_pair(NOISE, BOX, POINTS, generator(seed), taken)[0] is NOISE for seed in range(150)
    ]
    assert 0.7 < np.mean(untouched) < 0.95  # all warps, and half of the blends


@pytest.mark.parametrize(
    ("columns", "alone"),
    [
        ({}, []),
        ({"video": ["a", "a", "b", "b"], "identity": ""}, [2, 3]),
        # A clip in which one row is named, and copies of one picture, are of one person too.
        ({"video": ["a", "a", "b", "b"], "identity": ["x", "", "y", ""]}, [2, 3]),
        ({"near_duplicate_group": ["g", "g", "", ""]}, [2, 3]),
        ({"media": ["m.jpg", "m.jpg", "m.jpg", "n.jpg"]}, [3]),
    ],
)
def test_a_face_is_never_pasted_from_the_same_clip_or_a_copy(columns, alone):
    rows = pd.DataFrame({
        "path": [f"{i}.png" for i in range(4)], "file": "", "source": "s", "label": 0,
        "file_box": "", "file_landmarks": " ".join(str(v) for v in POINTS.ravel()),
    }).assign(**columns)  # fmt: skip
    fakes = Fakes(type="swap")
    samples = dataset.FaceDataset(rows, Face(), InputSize(), fakes=fakes, read=lambda file: NOISE)
    draw = samples.donors.of(0)
    assert {draw(generator(seed)).row for seed in range(30)} == set(alone or [1, 2, 3])


def test_a_set_that_is_no_longer_used_is_let_go_with_its_pictures():
    rows = pd.DataFrame({
        "path": ["a.png", "b.png"], "file": "", "label": 0, "file_box": "", "file_landmarks": "",
    })  # fmt: skip
    samples = dataset.FaceDataset(rows, Face(), InputSize(), fakes=Fakes(type="swap"))
    known = weakref.ref(samples)
    gc.disable()
    try:
        del samples
        assert known() is None
    finally:
        gc.enable()


def test_fakes_for_validation_paste_nobody_of_the_test():
    cell = " ".join(str(v) for v in POINTS.ravel())
    faces = pd.DataFrame({
        "path": [f"{i}.png" for i in range(12)], "label": [0, 0, 0, 1] * 3, "landmarks": cell,
        "split": ["val"] * 6 + ["test"] * 6, "source": "", "identity": [f"p{i}" for i in range(12)],
    })  # fmt: skip
    given = prepare.donors_of(faces, Fakes(type="mixed"))
    assert {name: donors.rows.tolist() for name, donors in given.items()} == {
        "val": [0, 1, 2, 4, 5], "test": [6, 8, 9, 10],
    }  # fmt: skip
    assert prepare.donors_of(faces, Fakes(type="warp")) == {}
