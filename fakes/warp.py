"""Face-warping artefacts: a face resampled and blurred inside a sharp picture (Li & Lyu 2018).

A face that was synthesised at one size and warped into a picture of another is blurred, and its
surroundings are not. Two ways to make that of a real face, both with a 5x5 Gaussian blur:

- the KAIST project's: the face box is resized by a random factor and back;
- the paper's (`align`): a similarity transform turns the face upright into a square of a random
  side, and its inverse puts it back; sometimes only the hull of brows and mouth is kept (`hull`).
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from faces.detector import haar_boxes, haar_cascade
from fakes import NoFake
from fakes.outline import MEAN_FACE, face_hull, face_points, similarity
from flags import Warp


@dataclass(frozen=True)
class Patch:
    """What is put back. place: rows and columns of the picture. pixels: uint8 [h, w, 3], the
    whole rectangle resampled. region: bool [h, w], the pixels of it that replace the picture's.
    """

    place: tuple[slice, slice]
    pixels: np.ndarray
    region: np.ndarray


def make(
    image: np.ndarray,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    random: np.random.Generator,
    settings: Warp,
) -> tuple[np.ndarray, np.ndarray]:
    """The real as it is and a fake of it; every pixel outside the face region stays as it was.

    image: uint8 RGB [height, width, 3]. box: [4] left, top, right, bottom of the face in it.
    landmarks: [5, 2], needed by `align` and `hull` alone. Deterministic in the state of `random`.
    Raises NoFake, also where the fake would equal the real.
    """
    if settings.align or settings.hull:
        points = face_points(landmarks)
    if settings.align:
        patch = _aligned(image, points, random, settings)
    else:
        patch = _boxed(image, box, random, settings)
    if settings.hull and random.random() < settings.hull:
        hull = _filled(face_hull(points), patch)
        patch = replace(patch, region=patch.region & hull)
    real = image[patch.place]
    changed = _blended(real, patch, settings.feather)
    if np.array_equal(changed, real):
        raise NoFake("the warp changes nothing in this face")
    fake = image.copy()
    fake[patch.place] = changed
    return image, fake


# ---------------------------------------------------------------------------- the face box


def _boxed(
    image: np.ndarray, box: np.ndarray | None, random: np.random.Generator, settings: Warp
) -> Patch:
    scale = random.uniform(settings.scale_min, settings.scale_max)
    left, top, right, bottom = _box(image, box, settings)
    face = image[top:bottom, left:right]
    size = (max(1, round(face.shape[1] * scale)), max(1, round(face.shape[0] * scale)))
    resized = cv2.resize(face, size, interpolation=cv2.INTER_LINEAR)
    blurred = cv2.GaussianBlur(resized, (settings.kernel, settings.kernel), 0)
    pixels = cv2.resize(blurred, face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    place = (slice(top, bottom), slice(left, right))
    return Patch(place, pixels, np.ones(face.shape[:2], bool))


def _box(image: np.ndarray, box: np.ndarray | None, settings: Warp) -> tuple[int, int, int, int]:
    if settings.detector == "haar":
        found = haar_boxes(haar_cascade(), image, min_size=20)
        if len(found) == 0:
            raise NoFake("the Haar cascade finds no face in the crop")
        x, y, w, h = max(found, key=lambda b: b[2] * b[3])
        box = np.array([x, y, x + w, y + h])
    if box is None:
        raise NoFake("the row has no face box")
    left, top, right, bottom = _inside(image, box)
    if right - left < 2 or bottom - top < 2:
        raise NoFake("the face box is empty")
    return left, top, right, bottom


def _inside(image: np.ndarray, box: np.ndarray) -> tuple[int, int, int, int]:
    """A box in whole pixels, cut to the picture; empty where it lies outside."""
    height, width = image.shape[:2]
    left, top = max(0, round(float(box[0]))), max(0, round(float(box[1])))
    return left, top, min(width, round(float(box[2]))), min(height, round(float(box[3])))


# --------------------------------------------------------------------- the upright square


def _aligned(
    image: np.ndarray, points: np.ndarray, random: np.random.Generator, settings: Warp
) -> Patch:
    upright = similarity(points, np.array(MEAN_FACE))
    own_side = 1 / np.hypot(*upright[:, 0])
    if not 4 <= own_side <= 2 * max(image.shape):  # beyond, no square would fit into memory
        raise NoFake(f"the landmarks make a face of {own_side:.0f} px, which the crop cannot hold")
    if settings.size_unit == "px":
        side = int(random.integers(settings.size_min, settings.size_max, endpoint=True))
    else:
        scale = random.uniform(settings.scale_min, settings.scale_max)
        side = max(2, round(own_side * scale))
    # Pixels of the square: its edges, not the middles of its first and last pixels, are 0 and 1.
    upright = upright * side - [[0, 0, 0.5], [0, 0, 0.5]]
    square = cv2.warpAffine(image, upright, (side, side), borderMode=cv2.BORDER_REPLICATE)
    square = cv2.GaussianBlur(square, (settings.kernel, settings.kernel), 0)

    edges = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * side - 0.5
    corners = (edges - upright[:, 2]) @ np.linalg.inv(upright[:, :2]).T
    left, top, right, bottom = _inside(image, np.ravel([corners.min(0), corners.max(0) + 1]))
    if right - left < 2 or bottom - top < 2:
        raise NoFake("the landmarks lie outside of the crop")
    upright[:, 2] += upright[:, :2] @ [left, top]
    pixels = cv2.warpAffine(
        square,
        upright,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    patch = Patch((slice(top, bottom), slice(left, right)), pixels, np.empty(0))
    return replace(patch, region=_filled(corners, patch))


# ------------------------------------------------------------------------------- the blend


def _filled(outline: np.ndarray, patch: Patch) -> np.ndarray:
    """The pixels of a patch inside a convex outline [n, 2], bool [h, w]."""
    rows, columns = patch.place
    mask = np.zeros(patch.pixels.shape[:2], np.uint8)
    sixteenths = np.round((outline - [columns.start, rows.start]) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, sixteenths, 1, shift=4)
    return mask.astype(bool)


def _blended(real: np.ndarray, patch: Patch, feather: float) -> np.ndarray:
    """The real with the patch in its region, whose edge fades inwards over `feather` of it."""
    if feather == 0:
        return np.where(patch.region[..., None], patch.pixels, real)
    width = feather * min(patch.region.shape)
    inwards = cv2.distanceTransform(
        np.pad(patch.region.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )[1:-1, 1:-1, None]
    share = np.minimum(inwards / (width + 1), 1)
    return np.round(real + share * (patch.pixels.astype(np.float32) - real)).astype(np.uint8)
