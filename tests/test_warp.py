"""The aligned warp: the upright square, the hull of brows and mouth, and what makes no fake."""

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import fakes.warp
from fakes import NoFake, make_pair
from fakes.outline import face_hull, similarity
from flags import Fakes, Warp

NOISE = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
BOX = np.array([30.0, 40, 70, 90])
POINTS = [[205, 102], [247, 105], [225, 129], [203, 150], [245, 152]]
"""About the eyes, nose and corners of the mouth of scikit-image's astronaut."""

MEAN_FACE = np.array(fakes.warp.MEAN_FACE)
WARP = Warp()

PAPER = Warp(align=True)
OWN_SIZE = Warp(align=True, size_unit="face", scale_min=0.5, scale_max=0.5)
SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sharpness(image: np.ndarray) -> float:
    """Energy of high frequencies: the variance of the Laplacian."""
    return float(cv2.Laplacian(image.astype(np.float64), cv2.CV_64F).var())


def place(points: np.ndarray, centre: tuple[float, float], side: float, degrees: float = 0):
    """Points of the unit square as they lie in a picture, its middle at `centre`."""
    turn = side * np.exp(1j * np.radians(degrees))
    moved = ((points - 0.5) @ [1, 1j]) * turn
    return np.stack([moved.real + centre[0], moved.imag + centre[1]], axis=1)


def inside(outline: np.ndarray, shape: tuple[int, ...], grow: float = 0) -> np.ndarray:
    """The pixels whose middles lie within a convex outline, or within `grow` px of it."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    where = np.ones(shape[:2], bool)
    for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        along = (b - a) / np.linalg.norm(b - a)
        where &= along[0] * (y - a[1]) - along[1] * (x - a[0]) >= -grow
    return where


def aligned(image: np.ndarray, points: np.ndarray, settings: Warp, seed: int = 0) -> np.ndarray:
    return make_pair(image, None, points, generator(seed), Fakes(type="warp", warp=settings))[1]


def texture(size: int, detail: float, seed: int = 0) -> np.ndarray:
    """A picture [size, size, 3] with structures of about `detail` px, stretched to 0..255."""
    noise = cv2.GaussianBlur(generator(seed).normal(size=(size, size, 3)), (0, 0), detail)
    low, high = noise.min(), noise.max()
    return np.round((noise - low) / (high - low) * 255).astype(np.uint8)


faces_anywhere = st.tuples(
    st.floats(-60, 180), st.floats(-60, 180), st.floats(4, 150), st.floats(-180, 180)
)
faces_within = st.tuples(
    st.floats(45, 55), st.floats(55, 65), st.floats(20, 50), st.floats(-180, 180)
)
any_warp = st.builds(
    Warp,
    align=st.just(True),
    size_unit=st.sampled_from(["px", "face"]),
    hull=st.sampled_from([0.0, 0.5, 1.0]),
    feather=st.sampled_from([0.0, 0.2]),
)


@given(faces_anywhere, any_warp, st.integers(0, 2**32))
@settings(deadline=None)
def test_wherever_the_face_lies_only_its_square_changes(face, chosen, seed):
    x, y, side, degrees = face
    before = NOISE.copy()
    try:
        fake = aligned(NOISE, place(MEAN_FACE, (x, y), side, degrees), chosen, seed)
    except NoFake:
        return
    np.testing.assert_array_equal(NOISE, before)
    assert fake.shape == NOISE.shape and fake.dtype == np.uint8
    changed = (fake != NOISE).any(axis=2)
    assert changed.any()
    assert not changed[~inside(place(SQUARE, (x, y), side, degrees), NOISE.shape, 1.5)].any()


@given(faces_within, any_warp, st.integers(0, 2**32))
@settings(deadline=None)
def test_a_textured_face_always_becomes_a_fake_and_the_same_one(face, chosen, seed):
    x, y, side, degrees = face
    points = place(MEAN_FACE, (x, y), side, degrees)
    fake = aligned(NOISE, points, chosen, seed)
    np.testing.assert_array_equal(fake, aligned(NOISE, points, chosen, seed))
    # What every variant changes: between eyes and mouth, which the hull holds too.
    middle = inside(place(0.5 + (SQUARE - 0.5) / 4, (x, y), side, degrees), NOISE.shape)
    assert (fake != NOISE).any(axis=2)[middle].mean() > 0.5


def test_the_whole_square_changes_and_turns_with_the_face():
    for degrees in (0, 30, 90, -160):
        fake = aligned(NOISE, place(MEAN_FACE, (50, 60), 50, degrees), PAPER)
        changed = (fake != NOISE).any(axis=2)
        square = place(SQUARE, (50, 60), 50, degrees)
        assert changed[inside(square, NOISE.shape, -1.5)].mean() > 0.9
        assert not changed[~inside(square, NOISE.shape, 1.5)].any()


@given(
    st.tuples(st.floats(120, 136), st.floats(120, 136), st.floats(150, 220), st.floats(-180, 180)),
    st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    st.sampled_from(["px", "face"]),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_the_way_back_shifts_nothing(face, aside, unit, seed):
    x, y, side, degrees = face
    chosen = Warp(align=True, size_unit=unit, scale_min=0.4)
    # A round spot stays where it was, however blurred; its middle is known to a tenth of a pixel,
    # since its levels are rounded, and a wrong corner or middle would move it by half of one.
    across, down = np.arange(256) - x - aside[0], np.arange(256) - y - aside[1]
    spot = 250 * np.exp(-(down[:, None] ** 2 + across**2) / (2 * 6**2))
    image = np.repeat(np.round(spot).astype(np.uint8)[..., None], 3, axis=2)
    fake = aligned(image, place(MEAN_FACE, (x, y), side, degrees), chosen, seed)
    assert np.abs(middle_of(fake) - middle_of(image)).max() < 0.1


def middle_of(image: np.ndarray) -> np.ndarray:
    """Column and row of a picture's centre of light."""
    light = image.astype(float).sum(axis=2) / image.sum()
    return np.array([light.sum(0) @ np.arange(256), light.sum(1) @ np.arange(256)])


def test_a_smaller_square_loses_more_detail():
    points = place(MEAN_FACE, (128, 128), 160)
    image = texture(256, detail=1)
    detail = [
        sharpness(aligned(image, points, Warp(align=True, size_min=s, size_max=s))[96:160, 96:160])
        for s in (32, 64, 127, 400)
    ]
    assert detail[0] < detail[1] < detail[2] < detail[3] < sharpness(image[96:160, 96:160])


def test_squares_in_px_hardly_change_small_faces_and_their_own_size_changes_all_alike():
    image = texture(256, detail=1)

    def kept(settings: Warp, side: float) -> float:
        whole = slice(int(128 - side / 4), int(128 + side / 4))
        fake = aligned(image, place(MEAN_FACE, (128, 128), side), settings)
        return sharpness(fake[whole, whole]) / sharpness(image[whole, whole])

    assert kept(PAPER, 24) > 0.4 > 0.02 > kept(PAPER, 200)
    assert kept(OWN_SIZE, 24) == pytest.approx(kept(OWN_SIZE, 200), abs=0.02)


def test_sizes_are_drawn_from_both_ends():
    points = place(MEAN_FACE, (50, 60), 50)
    chosen = Warp(align=True, size_min=64, size_max=66)
    one = {
        s: aligned(NOISE, points, Warp(align=True, size_min=s, size_max=s)) for s in (64, 65, 66)
    }
    drawn = {aligned(NOISE, points, chosen, seed).tobytes() for seed in range(30)}
    assert drawn == {fake.tobytes() for fake in one.values()}


@pytest.mark.parametrize("align", [True, False])
def test_the_hull_holds_brows_and_mouth_and_not_the_cheeks(align):
    image = skimage.data.astronaut()
    points, box = np.array(POINTS, float), np.array([170.0, 60, 280, 190])
    chosen = Fakes(type="warp", warp=Warp(align=align, hull=1))
    _, fake = make_pair(image, box, points, generator(), chosen)
    changed = cv2.morphologyEx(
        (fake != image).any(axis=2).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)
    )
    for x, y in [*POINTS, (199, 94), (254, 97), (226, 112), (224, 158)]:  # brows, bridge, lower lip
        assert changed[y, x]
    for x, y in [(184, 140), (264, 140), (226, 70), (226, 178)]:  # cheeks, forehead, chin
        assert not changed[y, x]


def test_the_hull_is_convex_and_turns_and_grows_with_the_face():
    upright = face_hull(place(MEAN_FACE, (0, 0), 1))
    turned = face_hull(place(MEAN_FACE, (30, -5), 80, 70))
    assert cv2.isContourConvex(turned)
    moved = place(upright + 0.5, (30, -5), 80, 70)
    distances = np.linalg.norm(moved[:, None] - turned[None], axis=2)
    assert distances.min(axis=1).max() < 0.01


def test_the_far_side_of_a_turned_face_is_narrower():
    ahead = place(MEAN_FACE, (100, 100), 100)
    aside = ahead.copy()
    aside[2, 0] += 20  # the nose, towards the right
    assert face_hull(aside)[:, 0].max() < face_hull(ahead)[:, 0].max() - 5
    assert face_hull(aside)[:, 0].min() < face_hull(ahead)[:, 0].min() - 5


def test_the_chance_of_the_hull_is_heeded():
    points = place(MEAN_FACE, (50, 60), 50)
    outside = inside(place(SQUARE, (50, 60), 50), NOISE.shape) & ~inside(
        face_hull(points), NOISE.shape, 1.5
    )

    def whole(chance: float) -> int:
        fakes = [aligned(NOISE, points, Warp(align=True, hull=chance), seed) for seed in range(100)]
        return sum((fake != NOISE).any(axis=2)[outside].any() for fake in fakes)

    assert whole(0) == 100 and whole(1) == 0
    assert 30 <= whole(0.5) <= 70


@pytest.mark.parametrize("align", [True, False])
def test_a_feather_softens_the_edge_inwards(align):
    image = texture(120, detail=2)
    points, box = place(MEAN_FACE, (60, 60), 60), np.array([30.0, 30, 90, 90])
    difference = {}
    for feather in (0, 0.3):
        chosen = Warp(align=align, feather=feather)
        _, fake = make_pair(image, box, points, generator(), Fakes(type="warp", warp=chosen))
        difference[feather] = np.abs(fake.astype(int) - image)
    hard, soft = difference[0], difference[0.3]
    assert not soft[hard == 0].any()
    edge = np.zeros((120, 120), bool)
    edge[30:90, 30:90] = True
    edge[34:86, 34:86] = False
    assert soft[edge].mean() < 0.5 * hard[edge].mean()
    np.testing.assert_allclose(soft[55:65, 55:65], hard[55:65, 55:65], atol=1)


def test_a_face_that_covers_the_whole_picture():
    points = place(MEAN_FACE, (50, 60), 190)
    for chosen in (PAPER, Warp(align=True, feather=0.5)):
        assert (aligned(NOISE, points, chosen) != NOISE).mean() > 0.9


@pytest.mark.parametrize("chosen", [PAPER, Warp(hull=0.5), Warp(hull=0.01)])
def test_without_landmarks_no_fake(chosen):
    for seed in range(5):  # whatever is drawn: a row is always left out or never
        with pytest.raises(NoFake, match="no landmarks"):
            make_pair(NOISE, BOX, None, generator(seed), Fakes(type="warp", warp=chosen))


DEGENERATE = {
    "one point": np.full((5, 2), 50.0),
    "zeros": np.zeros((5, 2)),
    "unknown": np.full((5, 2), np.nan),
    "one unknown": place(MEAN_FACE, (50, 60), 50) * [[1, 1], [1, np.nan], [1, 1], [1, 1], [1, 1]],
    "infinite": place(MEAN_FACE, (50, 60), 50) * [[np.inf, 1], [1, 1], [1, 1], [1, 1], [1, 1]],
    "eyes and mouth swapped crosswise": place(MEAN_FACE, (50, 60), 50)[[0, 4, 2, 3, 1]],
    "no face": np.array([[0.0, 0], [0, 90], [90, 0], [45, 10], [45, 80]]),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("chosen", [PAPER, OWN_SIZE, Warp(hull=1)], ids=["px", "face", "hull"])
def test_points_that_are_no_face_are_no_fake(name, chosen):
    with pytest.raises(NoFake, match="not those of a face"):
        make_pair(NOISE, BOX, DEGENERATE[name], generator(), Fakes(type="warp", warp=chosen))


@pytest.mark.parametrize(
    ("centre", "side", "reason"),
    [
        ((-200, 60), 50, "outside"),
        ((50, 1e9), 50, "outside"),
        ((50, 60), 1, "cannot hold"),
        ((50, 60), 1e7, "cannot hold"),
    ],
)
def test_a_face_that_is_not_in_the_crop_is_no_fake(centre, side, reason):
    for chosen in (PAPER, OWN_SIZE):
        with pytest.raises(NoFake, match=reason):
            aligned(NOISE, place(MEAN_FACE, centre, side), chosen)


@pytest.mark.parametrize("chosen", [WARP, PAPER, Warp(kernel=1, scale_min=1, scale_max=1)])
def test_a_fake_that_equals_its_real_is_none(chosen):
    image = NOISE if chosen.kernel == 1 else np.full_like(NOISE, 128)
    points = place(MEAN_FACE, (50, 60), 50)
    with pytest.raises(NoFake, match="changes nothing"):
        make_pair(image, BOX, points, generator(), Fakes(type="warp", warp=chosen))


@given(st.floats(1, 500), st.floats(-180, 180), st.floats(-500, 500), st.floats(-500, 500))
def test_the_similarity_is_found_again(side, degrees, x, y):
    found = similarity(MEAN_FACE, place(MEAN_FACE, (x, y), side, degrees))
    points = generator().uniform(-1, 2, (20, 2))
    np.testing.assert_allclose(
        points @ found[:, :2].T + found[:, 2], place(points, (x, y), side, degrees), atol=1e-6
    )


def test_no_other_similarity_fits_better():
    random = generator(3)
    points = place(MEAN_FACE, (40, 50), 60, 20) + random.normal(0, 3, (5, 2))

    def misfit(matrix: np.ndarray) -> float:
        return float(((points @ matrix[:, :2].T + matrix[:, 2] - MEAN_FACE) ** 2).sum())

    best = similarity(points, MEAN_FACE)
    for _ in range(100):
        turn, shift = np.exp(random.normal(0, 0.02, 2) @ [1, 1j]), random.normal(0, 0.01, 2)
        change = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
        assert misfit(np.c_[change @ best[:, :2], change @ best[:, 2] + shift]) > misfit(best)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"size_min": 128}, "fakes.warp.size_min 128 is larger than fakes.warp.size_max 127: swap"),
        ({"scale_min": 2}, "fakes.warp.scale_min 2 is larger than fakes.warp.scale_max 1.5: swap"),
        ({"align": True, "detector": "haar"}, "set fakes.warp.detector to stored"),
        ({"size_min": 4}, "size_min"),
        ({"hull": 1.5}, "hull"),
        ({"feather": 0.6}, "feather"),
    ],
)
def test_settings_that_contradict(settings, named):
    with pytest.raises(ValidationError, match=named):
        Warp(**settings)
