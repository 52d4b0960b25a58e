"""Self-made fakes: what a recipe changes, what it must leave alone, and what it cannot make."""

import importlib
from typing import get_args

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes.warp
from fakes import Donor, NoFake, make_pair
from flags import Fakes, Warp

RECIPES = [name for name in get_args(Fakes.model_fields["type"].annotation) if name != "none"]
WARP = Warp()
NOISE = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
BOX = np.array([30.0, 40, 70, 90])
POINTS = [[205, 102], [247, 105], [225, 129], [203, 150], [245, 152]]
"""About the eyes, nose and corners of the mouth of scikit-image's astronaut."""


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def warp(
    image: np.ndarray, box: np.ndarray | None, random: np.random.Generator, settings: Warp
) -> np.ndarray:
    """The fake of a pair, by the recipe `warp`."""
    real, fake = make_pair(image, box, None, random, Fakes(type="warp", warp=settings))
    assert real is image
    return fake


def sharpness(image: np.ndarray) -> float:
    """Energy of high frequencies: the variance of the Laplacian."""
    return float(cv2.Laplacian(image.astype(np.float64), cv2.CV_64F).var())


# -------------------------------------------------------------------------- every recipe


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("both", "mixed")])
def test_a_recipe_is_a_file_with_a_group_of_settings(name):
    assert callable(importlib.import_module(f"fakes.{name}").make)
    assert name in Fakes.model_fields


@pytest.mark.parametrize("name", RECIPES)
def test_a_pair_is_two_pictures_of_one_size_and_one_seed(name):
    image = skimage.data.astronaut()[:256, 100:356].copy()
    before = image.copy()
    box, points = np.array([70.0, 70, 160, 190]), np.array(POINTS, float) - [100, 0]
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    other = Donor(image[:, ::-1].copy(), points * [-1, 1] + [255, 0], 1)
    pairs = [
        make_pair(image, box, points, generator(s), Fakes(type=name), lambda random: other)
        for s in (3, 3, 4)
    ]
    for real, fake in pairs:
        assert real.shape == fake.shape == image.shape
        assert real.dtype == fake.dtype == np.uint8
        assert not np.array_equal(real, fake)
    np.testing.assert_array_equal(image, before)
    for one, other in zip(pairs[0], pairs[1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(pairs[0][1], pairs[2][1])
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_the_type_chooses_the_recipe_and_its_own_settings(monkeypatch):
    given_to = []

    def make(*arguments):
        given_to.append(arguments)
        return "real", "fake"

    monkeypatch.setattr(fakes.warp, "make", make)
    random, points = generator(), np.zeros((5, 2))
    chosen = Fakes(type="warp", warp=Warp(kernel=9))
    assert make_pair(NOISE, BOX, points, random, chosen) == ("real", "fake")
    ((image, box, landmarks, dice, own),) = given_to
    assert image is NOISE and box is BOX and landmarks is points and dice is random
    assert own == Warp(kernel=9)


def test_warp_is_its_make_and_by_default_needs_no_landmarks():
    real, fake = fakes.warp.make(NOISE, BOX, None, generator(5), WARP)
    assert real is NOISE
    np.testing.assert_array_equal(fake, warp(NOISE, BOX, generator(5), WARP))
    with_points = fakes.warp.make(NOISE, BOX, np.ones((5, 2)), generator(5), WARP)
    np.testing.assert_array_equal(fake, with_points[1])


# --------------------------------------------------------------------- warp: the face box

whole_boxes = st.tuples(
    st.integers(0, 80), st.integers(0, 80), st.integers(2, 120), st.integers(2, 120)
).map(lambda b: np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]], float))


@given(whole_boxes, st.integers(0, 2**32))
@settings(deadline=None)
def test_only_the_face_region_changes(box, seed):
    before = NOISE.copy()
    fake = warp(NOISE, box, generator(seed), WARP)
    np.testing.assert_array_equal(NOISE, before)
    assert fake.shape == NOISE.shape and fake.dtype == np.uint8
    left, top, right, bottom = box.astype(int)  # numpy cuts what is outside
    changed = (fake != NOISE).any(axis=2)
    assert changed[top:bottom, left:right].mean() > 0.5
    changed[top:bottom, left:right] = False
    assert not changed.any()


def test_the_defaults_are_the_kaist_recipe_to_the_byte():
    fake = warp(NOISE, BOX, generator(7), WARP)
    scale = generator(7).uniform(0.7, 1.5)
    small = cv2.resize(NOISE[40:90, 30:70], (round(40 * scale), round(50 * scale)))
    by_hand = NOISE.copy()
    by_hand[40:90, 30:70] = cv2.resize(cv2.GaussianBlur(small, (5, 5), 0), (40, 50))
    np.testing.assert_array_equal(fake, by_hand)


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_the_seed_decides(seed):
    first = warp(NOISE, BOX, generator(seed), WARP)
    np.testing.assert_array_equal(first, warp(NOISE, BOX, generator(seed), WARP))


def test_seeds_differ_and_global_generators_are_left_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    made = {warp(NOISE, BOX, generator(seed), WARP).tobytes() for seed in range(10)}
    assert len(made) > 5
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.5])
def test_the_face_loses_detail_and_keeps_its_mean(scale):
    fake = warp(NOISE, BOX, generator(), Warp(scale_min=scale, scale_max=scale))
    face, was = fake[40:90, 30:70], NOISE[40:90, 30:70]
    assert sharpness(face) < 0.5 * sharpness(was)
    assert np.abs(face.mean((0, 1)) - was.mean((0, 1))).max() < 6


def test_a_smaller_scale_blurs_more():
    detail = [
        sharpness(warp(NOISE, BOX, generator(), Warp(scale_min=s, scale_max=s))[40:90, 30:70])
        for s in (0.5, 0.9, 1.5)
    ]
    assert detail[0] < detail[1] < detail[2]


def test_the_kernel_is_heeded():
    detail = [
        sharpness(warp(NOISE, BOX, generator(), Warp(kernel=k))[40:90, 30:70]) for k in (3, 5, 9)
    ]
    assert detail[0] > detail[1] > detail[2]


def test_a_box_that_sticks_out_is_cut():
    fake = warp(NOISE, np.array([-20.0, -20, 30, 30]), generator(), WARP)
    changed = (fake != NOISE).any(axis=2)
    assert changed[:30, :30].mean() > 0.9
    assert not changed[30:].any() and not changed[:, 30:].any()


@pytest.mark.parametrize(
    "box",
    [
        None,
        [50, 50, 50, 80],
        [50, 50, 20, 20],
        [200, 10, 300, 90],
        [-90, -90, -5, -5],
        [5, 5, 6, 6],
    ],
)
def test_no_region_is_no_fake(box):
    box = None if box is None else np.array(box, float)
    with pytest.raises(NoFake, match="box"):
        warp(NOISE, box, generator(), WARP)


def test_haar_finds_its_own_region():
    image = skimage.data.astronaut()
    fake = warp(image, None, generator(), Warp(detector="haar"))
    changed = (fake != image).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    # Around the eyes and the nose, about as large as the face, square.
    assert columns[0] < 205 and columns[-1] > 247 and rows[0] < 102 and rows[-1] > 129
    assert 80 < columns[-1] - columns[0] < 130
    assert not changed[200:].any()


def test_haar_without_a_face_is_no_fake():
    with pytest.raises(NoFake, match="Haar"):
        warp(NOISE, BOX, generator(), Warp(detector="haar"))
