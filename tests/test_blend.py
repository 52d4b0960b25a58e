"""Self-blended images: what a pair shares, what it must not give away, and what makes no pair."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import fakes.blend
import fakes.warp
from fakes import NoFake, changes_reals, make_pair
from fakes.blend import blend_mask, blended, context, jitter, layers, make, recoloured, sharpened
from fakes.outline import MEAN_FACE, PARTS, face_hull, outline
from flags import Blend, Fakes

NOISE = np.random.default_rng(0).integers(0, 256, (240, 200, 3), dtype=np.uint8)
BOX = np.array([60.0, 60, 140, 170])
POINTS = np.array(MEAN_FACE) * 60 + [70, 80]
SBI = Blend()
QUIET = Blend(shift=0, brightness=0, contrast=0, shift_x=0, shift_y=0, scale=1)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def face_at(x: float, y: float, side: float, degrees: float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Box and five points of a face whose box is `side` px large around (x, y)."""
    turn = side / 1.6 * np.exp(1j * np.radians(degrees))
    moved = (np.array(MEAN_FACE) - 0.5) @ [1, 1j] * turn
    points = np.stack([moved.real + x, moved.imag + y], axis=1)
    return np.array([x, y, x, y]) + np.array([-0.4, -0.5, 0.4, 0.5]) * side, points


pictures = st.builds(
    lambda height, width, seed: generator(seed).integers(0, 256, (height, width, 3), np.uint8),
    st.integers(17, 301),
    st.integers(17, 301),
    st.integers(0, 99),
)
anywhere = st.tuples(
    st.floats(-40, 340), st.floats(-40, 340), st.floats(2, 400), st.floats(-180, 180)
)


# --------------------------------------------------------------------------------- the pair


@given(pictures, anywhere, st.integers(0, 2**32))
@settings(deadline=None)
def test_wherever_a_face_lies_a_pair_is_equal_outside_the_mask(image, face, seed):
    box, points = face_at(*face)
    before = image.copy()
    try:
        real, fake = make(image, box, points, generator(seed), SBI)
    except NoFake:
        return
    np.testing.assert_array_equal(image, before)
    assert real.shape == fake.shape == image.shape and real.dtype == fake.dtype == np.uint8
    target, source, share = layers(image, box, points, generator(seed), SBI)
    np.testing.assert_array_equal(target, real)
    np.testing.assert_array_equal(fake[share == 0], real[share == 0])
    assert share.min() >= 0 and share.max() <= 1 and (share > 0).any()
    assert source.shape == image.shape


@given(st.floats(70, 130), st.floats(90, 150), st.floats(30, 110), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_face_within_always_becomes_a_fake_and_the_same_one(x, y, side, seed):
    box, points = face_at(x, y, side)
    pair = make(NOISE, box, points, generator(seed), SBI)
    again = make(NOISE, box, points, generator(seed), SBI)
    for one, other in zip(pair, again, strict=True):
        np.testing.assert_array_equal(one, other)
    # Two context crops cannot be the same: the mask stays within one and its shift.
    _, _, share = layers(NOISE, box, points, generator(seed), SBI)
    rows, columns = np.nonzero(share)
    assert np.abs(columns - x).max() < 1.1 * side and np.abs(rows - y).max() < 1.1 * side


def test_seeds_differ_and_global_generators_are_left_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    made = {make(NOISE, BOX, POINTS, generator(s), SBI)[1].tobytes() for s in range(10)}
    assert len(made) == 10
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_a_ratio_of_nothing_gives_the_real_back_and_that_is_no_fake():
    target, source, share = layers(NOISE, BOX, POINTS, generator(), Blend(ratios=[0.0]))
    assert not share.any()
    np.testing.assert_array_equal(blended(source, target, share), target)
    with pytest.raises(NoFake, match="changes nothing"):
        make(NOISE, BOX, POINTS, generator(), Blend(ratios=[0.0]))
    with pytest.raises(NoFake, match="changes nothing"):
        make(np.full_like(NOISE, 90), BOX, POINTS, generator(), QUIET)


@given(st.floats(0, 1), st.integers(0, 99))
def test_a_blend_is_the_weighted_sum_and_exact_at_both_ends(share, seed):
    one, other = generator(seed).integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)
    weights = np.full((9, 7), share, np.float32)
    exact = share * one.astype(float) + (1 - share) * other
    assert np.abs(blended(one, other, weights) - exact).max() <= 0.51
    np.testing.assert_array_equal(blended(one, other, np.zeros_like(weights)), other)
    np.testing.assert_array_equal(blended(one, other, np.ones_like(weights)), one)


def test_half_the_pairs_change_the_target_and_half_the_source():
    real_changed = [
        not np.array_equal(make(NOISE, BOX, POINTS, generator(s), SBI)[0], NOISE)
        for s in range(200)
    ]
    assert 0.4 < np.mean(real_changed) < 0.6


# ----------------------------------------------------------------------------- its pieces


def test_the_ratios_are_the_papers():
    peaks = [layers(NOISE, BOX, POINTS, generator(s), SBI)[2].max() for s in range(300)]
    found, counts = np.unique(np.round(peaks, 2), return_counts=True)
    assert found.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert np.abs(counts / 300 - [1 / 6, 1 / 6, 1 / 6, 1 / 2]).max() < 0.08


def test_colours_change_within_their_ranges_and_grey_is_shifted():
    grey = np.full((4, 4, 3), 128, np.uint8)
    shifted = np.array([recoloured(grey, generator(s), Blend(shift_chance=1, brightness=0,
                        contrast=0))[0, 0] for s in range(99)], int)  # fmt: skip
    assert np.abs(shifted - 128).max() in (19, 20)
    assert np.abs(shifted[:, 0] - shifted[:, 1]).max() > 20  # each channel on its own
    brighter = [recoloured(grey, generator(s), Blend(shift_chance=0, contrast=0))[0, 0, 0]
                for s in range(99)]  # fmt: skip
    assert 102 <= min(brighter) < 108 and 148 < max(brighter) <= 154  # 0.1 * 255 either way
    still = Blend(shift_chance=0, contrast=0, brightness=0)
    np.testing.assert_array_equal(recoloured(NOISE, generator(), still), NOISE)


def test_hue_and_saturation_change_where_they_are_asked_for():
    red = np.full((4, 4, 3), (200, 40, 40), np.uint8)
    quiet = {"shift_chance": 0, "contrast": 0, "brightness": 0}
    turned = [recoloured(red, generator(s), Blend(hue=60, **quiet))[0, 0] for s in range(20)]
    assert len({tuple(colour) for colour in turned}) > 10
    assert all(colour.max() == 200 and colour.min() == 40 for colour in turned)
    duller = [recoloured(red, generator(s), Blend(saturation=0.3, **quiet)) for s in range(20)]
    assert np.ptp([int(one[0, 0].min()) for one in duller]) > 20


def test_sharpening_is_the_kernel_of_the_paper():
    dot = np.zeros((5, 5, 3), np.uint8)
    dot[2, 2] = 100
    by_hand = 0.7 * 100 + 0.3 * (8 + 0.5) * 100
    assert sharpened(dot, 0.3, 0.5)[2, 2, 0] == min(255, round(by_hand))
    flat = np.full((5, 5, 3), 100, np.uint8)
    assert sharpened(flat, 0.3, 0.5)[2, 2, 0] == 85  # 0.7 + 0.3 * 0.5


@given(st.integers(0, 2**32))
def test_the_jitter_is_small_and_about_the_middle(seed):
    frame = context(NOISE, BOX)
    move = jitter(frame, generator(seed), SBI)
    middle = np.array(frame[:2]) + frame[2] / 2
    moved = move[:, :2] @ middle + move[:, 2] - middle
    assert frame[2] == 220 and middle.tolist() == [100, 115]
    assert abs(moved[0]) <= 0.03 * 220 + 1e-9 and abs(moved[1]) <= 0.015 * 220 + 1e-9
    assert (np.diag(move) >= 0.95).all() and (np.diag(move) <= 1 / 0.95).all()
    assert move[0, 1] == move[1, 0] == 0


def test_the_mask_lies_where_the_outline_is_and_fades():
    frame = context(NOISE, BOX)
    hull = outline(POINTS, "face")
    filled = np.zeros(NOISE.shape[:2], np.uint8)
    cv2.fillConvexPoly(filled, np.round(hull).astype(np.int32), 1)
    for seed in range(10):
        mask = blend_mask(hull, frame, NOISE.shape, generator(seed), SBI)
        assert mask.shape == filled.shape and mask.max() == 1
        # 12 px of the second blur, of a canvas of 192 px for 220, and what the bending moves.
        near = cv2.dilate(filled, np.ones((33, 33)))
        assert not mask[near == 0].any()
        assert mask[filled > 0].mean() > 0.5
        assert ((mask > 0.05) & (mask < 0.95)).sum() > 100
        centre = cv2.moments(mask)
        found = np.array([centre["m10"], centre["m01"]]) / centre["m00"]
        wanted = cv2.moments(filled)
        assert np.abs(found - np.array([wanted["m10"], wanted["m01"]]) / wanted["m00"]).max() < 2


def test_bending_moves_the_outline_alone_and_as_far_as_the_paper():
    # 50 times white noise smoothed by 7 px: 1.2 px in a face of 256 px, whatever the canvas.
    moved = []
    for canvas in (256, 1024):
        edge = np.zeros((canvas, canvas), np.float32)
        edge[:, canvas // 2 :] = 1
        after = fakes.blend.bent(edge, canvas / 512, generator(1), SBI)
        inner = slice(canvas // 8, -canvas // 8)
        position = after.sum(1)[inner] * 512 / canvas
        moved.append(position.std())
    wanted = 50 * np.sqrt(1 / 3) / (2 * 7 * np.sqrt(np.pi))
    assert moved == pytest.approx([wanted, wanted], rel=0.4)
    still = fakes.blend.bent(edge, 1.0, generator(1), Blend(elastic_alpha=0))
    np.testing.assert_array_equal(still, edge)


# ----------------------------------------------------------------------------- the outlines


@pytest.mark.parametrize("part", [*PARTS, "inner"])
def test_an_outline_is_convex_symmetric_and_turns_with_the_face(part):
    points = np.array(MEAN_FACE) * 100
    hull = outline(points, part)
    assert cv2.isContourConvex(hull)
    mirrored = hull * [-1, 1] + [100, 0]
    overlap = cv2.intersectConvexConvex(hull, mirrored.astype(np.float32))[0]
    assert overlap == pytest.approx(cv2.contourArea(hull), rel=0.02)
    turned = outline(points @ np.array([[0, 1], [-1, 0]]) + 300, part)  # a quarter
    expected = (hull @ np.array([[0, 1], [-1, 0]]) + 300).astype(np.float32)
    overlap = cv2.intersectConvexConvex(cv2.convexHull(turned), cv2.convexHull(expected))[0]
    assert overlap == pytest.approx(cv2.contourArea(hull), rel=0.01)


def test_the_outlines_hold_what_their_names_say():
    points = np.array(MEAN_FACE) * 100
    face, brows, inner, lower = (outline(points, part) for part in fakes.blend.PARTS)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    for hull in (face, brows, inner):
        assert all(cv2.pointPolygonTest(hull, p, False) > 0 for p in points.astype(float))
    assert [cv2.pointPolygonTest(lower, p, False) > 0 for p in (eyes, points[2], mouth)] == [
        False, True, True,
    ]  # fmt: skip
    top, bottom = ([hull[:, 1].min() for hull in (face, brows, inner, lower)],
                   [hull[:, 1].max() for hull in (face, brows, inner, lower)])  # fmt: skip
    assert top[0] < top[1] < eyes[1] - 10 and eyes[1] < top[3]
    assert bottom[0] == bottom[1] == bottom[3] > mouth[1] + 30 > bottom[2]
    np.testing.assert_array_equal(inner, face_hull(points))


def test_the_far_side_of_a_turned_face_is_narrower():
    points = np.array(MEAN_FACE) * 100
    points[2, 0] += 12  # the nose points to the right
    hull = outline(points, "brows")
    middle = points[[0, 1, 3, 4], 0].mean()
    assert middle - hull[:, 0].min() > 1.3 * (hull[:, 0].max() - middle)


# ------------------------------------------------------------------- what makes no fake


@pytest.mark.parametrize(
    ("box", "points", "message"),
    [
        (BOX, None, "landmarks"),
        (None, POINTS, "box"),
        (np.array([60.0, 60, 61, 62]), POINTS, "large"),
        (np.array([-9e5, -9e5, 9e5, 9e5]), POINTS, "large"),
        (BOX, np.ones((5, 2)), "not those of a face"),
        (BOX, np.full((5, 2), np.inf), "not those of a face"),
        (BOX + 900, POINTS + 900, "outside"),
    ],
)
def test_what_is_no_face_is_no_fake(box, points, message):
    with pytest.raises(NoFake, match=message):
        make(NOISE, box, points, generator(), SBI)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blur": [5, 24]}, "odd"),
        ({"blur": [25, 5]}, "low, high"),
        ({"canvas": [8, 256]}, "64..1024"),
        ({"shrink": [0]}, "1 or more"),
        ({"ratios": []}, "ratios"),
        ({"ratios": [1.5]}, "ratios"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Blend(**wrong)


# -------------------------------------------------------------------------- both recipes


def test_both_takes_turns_between_its_recipes(monkeypatch):
    used = []
    for name in ("warp", "blend"):
        module = getattr(fakes, name)
        monkeypatch.setattr(module, "make", lambda *a, n=name: used.append((n, a[-1])))
    both = Fakes(type="both", blend_share=0.3)
    for seed in range(300):
        make_pair(NOISE, BOX, POINTS, generator(seed), both)
    assert 0.22 < np.mean([name == "blend" for name, _ in used]) < 0.38
    assert all(own == getattr(both, name) for name, own in used)


def test_only_a_recipe_that_changes_reals_says_so():
    assert [changes_reals(Fakes(type=t)) for t in ("warp", "blend", "both")] == [False, True, True]
    real, _ = fakes.warp.make(NOISE, BOX, POINTS, generator(), Fakes().warp)
    assert real is NOISE


def test_both_blurs_of_a_mask_are_square_and_of_the_sides_that_are_set(monkeypatch):
    """A side a blur, 5 to 25 px and odd, as in SBI's code; sigma 5 to 45 px for the second."""
    real, seen = cv2.GaussianBlur, []

    def noted(image, kernel, sigma, *more):
        seen.append((kernel, sigma))
        return real(image, kernel, sigma, *more)

    random, hull = generator(3), np.array([[40.0, 40], [120, 40], [120, 130], [40, 130]])
    monkeypatch.setattr(fakes.blend, "bent", lambda mask, *_: mask)
    monkeypatch.setattr(fakes.blend.cv2, "GaussianBlur", noted)
    for _ in range(60):
        blend_mask(hull, (0.0, 0.0, 160.0), (160, 160, 3), random, SBI)
    kernels = [kernel for kernel, _ in seen]
    assert all(width == height for width, height in kernels)
    assert {width for width, _ in kernels} == set(range(5, 26, 2))
    assert {sigma for _, sigma in seen[::2]} == {0}
    assert all(5 <= sigma <= 45 for _, sigma in seen[1::2])
