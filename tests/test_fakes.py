"""Face-warping artefacts: what a self-made fake changes, and what it must leave alone."""

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.warp import NoFaceRegion, warp
from flags import Fakes

FAKES = Fakes(type="warp")
NOISE = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
BOX = np.array([30.0, 40, 70, 90])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sharpness(image: np.ndarray) -> float:
    """Energy of high frequencies: the variance of the Laplacian."""
    return float(cv2.Laplacian(image.astype(np.float64), cv2.CV_64F).var())


whole_boxes = st.tuples(
    st.integers(0, 80), st.integers(0, 80), st.integers(2, 120), st.integers(2, 120)
).map(lambda b: np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]], float))


@given(whole_boxes, st.integers(0, 2**32))
@settings(deadline=None)
def test_only_the_face_region_changes(box, seed):
    before = NOISE.copy()
    fake = warp(NOISE, box, generator(seed), FAKES)
    np.testing.assert_array_equal(NOISE, before)
    assert fake.shape == NOISE.shape and fake.dtype == np.uint8
    left, top, right, bottom = box.astype(int)  # numpy cuts what is outside
    changed = (fake != NOISE).any(axis=2)
    assert changed[top:bottom, left:right].mean() > 0.5
    changed[top:bottom, left:right] = False
    assert not changed.any()


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_the_seed_decides(seed):
    first = warp(NOISE, BOX, generator(seed), FAKES)
    np.testing.assert_array_equal(first, warp(NOISE, BOX, generator(seed), FAKES))


def test_seeds_differ_and_global_generators_are_left_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    fakes = {warp(NOISE, BOX, generator(seed), FAKES).tobytes() for seed in range(10)}
    assert len(fakes) > 5
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.5])
def test_the_face_loses_detail_and_keeps_its_mean(scale):
    settings = Fakes(type="warp", scale_min=scale, scale_max=scale)
    fake = warp(NOISE, BOX, generator(), settings)
    face, was = fake[40:90, 30:70], NOISE[40:90, 30:70]
    assert sharpness(face) < 0.5 * sharpness(was)
    assert np.abs(face.mean((0, 1)) - was.mean((0, 1))).max() < 6


def test_a_smaller_scale_blurs_more():
    detail = [
        sharpness(warp(NOISE, BOX, generator(), Fakes(scale_min=s, scale_max=s))[40:90, 30:70])
        for s in (0.5, 0.9, 1.5)
    ]
    assert detail[0] < detail[1] < detail[2]


def test_the_kernel_is_heeded():
    detail = [
        sharpness(warp(NOISE, BOX, generator(), Fakes(kernel=k))[40:90, 30:70]) for k in (3, 5, 9)
    ]
    assert detail[0] > detail[1] > detail[2]


def test_a_box_that_sticks_out_is_cut():
    fake = warp(NOISE, np.array([-20.0, -20, 30, 30]), generator(), FAKES)
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
    with pytest.raises(NoFaceRegion, match="box"):
        warp(NOISE, box, generator(), FAKES)


def test_haar_finds_its_own_region():
    image = skimage.data.astronaut()
    fake = warp(image, None, generator(), Fakes(type="warp", detector="haar"))
    changed = (fake != image).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    # Around the eyes and the nose, about as large as the face, square.
    assert columns[0] < 205 and columns[-1] > 247 and rows[0] < 102 and rows[-1] > 129
    assert 80 < columns[-1] - columns[0] < 130
    assert not changed[200:].any()


def test_haar_without_a_face_is_no_fake():
    with pytest.raises(NoFaceRegion, match="Haar"):
        warp(NOISE, BOX, generator(), Fakes(type="warp", detector="haar"))
