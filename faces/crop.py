"""Two crops: the stored face (context, native resolution) and what the network sees of it."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from faces.detector import Detection, beside, trimmed
from flags import parse_margin

BORDER = {"reflect": cv2.BORDER_REFLECT_101, "black": cv2.BORDER_CONSTANT}
"""What OpenCV fills a turned crop up with, by `face.pad`."""


class NoLandmarks(Exception):
    """A face that cannot be turned upright; the message says why, in a few words."""


class BoxBeside(Exception):
    """A face box that has no pixel of its picture; the message says where both are."""


@dataclass(frozen=True)
class StoredFace:
    """A context crop with its face in the crop's own pixels.

    image: uint8 RGB [side, side, 3] (not square only where the picture is narrower).
    box: [4] left, top, right, bottom. landmarks: [5, 2] or None.
    """

    image: np.ndarray
    box: np.ndarray
    landmarks: np.ndarray | None
    confidence: float | None


def store(
    image: np.ndarray,
    face: Detection,
    grow: float,
    max_size: int,
    pad: str = "none",
    trim: float = 0.0,
) -> StoredFace:
    """Cut the square of `grow` box sides around a face, shrunk to `max_size` px at the most.

    pad: `face.pad`, whether it stays inside the picture or is filled up around the face.
    trim: `face.trim`, so much of the picture's shorter side is nowhere shown of each edge.
    """
    edge = trimmed(trim, image.shape)
    image = image[edge : image.shape[0] - edge, edge : image.shape[1] - edge]
    points = None if face.landmarks is None else face.landmarks - edge
    face = replace(face, box=face.box - edge, landmarks=points)
    left, top, right, bottom = (
        square_inside(face.box, grow, 0.0, image.shape)
        if pad == "none"
        else square_around(face.box, grow, 0.0)
    )
    crop = cut(image, (left, top, right, bottom), pad)
    scale = min(1.0, max_size / max(crop.shape[:2]))
    if scale < 1:
        size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    corner = np.array([left, top], float)
    height, width = crop.shape[:2]
    box = (face.box.reshape(2, 2) - corner) * scale
    box = box.clip(0, [width, height]).reshape(4)
    points = None if face.landmarks is None else (face.landmarks - corner) * scale
    return StoredFace(np.ascontiguousarray(crop), box, points, face.confidence)


def network_crop(
    image: np.ndarray,
    box: np.ndarray | None,
    margin: str | np.ndarray,
    height: int,
    width: int,
    landmarks: np.ndarray | None = None,
    align: bool = False,
    pad: str = "none",
    side: float = math.inf,
) -> np.ndarray:
    """What the network sees: uint8 RGB [height, width, 3].

    image: a stored crop (or a picture) with `box` and `landmarks` in its pixels. The square around
    the box with `margin` (`30%` of the box or `50px` of the stored crop) on each side is cut; or,
    where margin is four shares of the box's longer side [left, top, right, bottom], a rectangle,
    which is squeezed to the asked shape. With `pad` none it is moved and shrunk to stay inside the
    picture: a padded border would be a mark that has nothing to do with the face. With `align` the
    square is turned until the eyes are level. Without a box the whole picture is taken. A face
    whose box is longer than `side` pixels is shrunk to that before: it shows no more detail than a
    face of that size.

    Raises NoLandmarks where `align` has no eyes to go by, BoxBeside where the box is of nothing
    that the picture shows.
    """
    if box is not None:
        refuse_beside(box, image.shape)
    if align:
        if not isinstance(margin, str):
            raise ValueError("a face that is turned upright has one margin, not four")
        image = _turned(image, box, landmarks, margin, pad)
    elif box is not None:
        if not isinstance(margin, str):
            place = rectangle(box, margin, image.shape if pad == "none" else None)
        elif pad == "none":
            place = square_inside(box, *_share(margin), image.shape)
        else:
            place = square_around(box, *_share(margin))
        image = cut(image, place, pad)
    if box is not None and side < math.inf:
        image = _no_larger(image, side / max(box[2] - box[0], box[3] - box[1], 1e-6))
    shrinks = image.shape[0] * image.shape[1] > height * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)


def refuse_beside(box: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise BoxBeside where a picture of that shape shows nothing of the box."""
    if beside(box, shape):
        edges = " ".join(f"{edge:.0f}" for edge in box)
        raise BoxBeside(
            f"its face box ({edges}) lies beside the picture of {shape[1]}x{shape[0]} px"
        )


def _no_larger(image: np.ndarray, scale: float) -> np.ndarray:
    """The picture times `scale`, where that is less than 1."""
    if scale >= 1:
        return image
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def square_inside(
    box: np.ndarray, grow: float, extra: float, shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (whole pixels) of a square around a box that lies in the picture.

    Its side is `grow` times the box's longer side plus `extra` px, at most the picture's shorter
    side and at least one pixel; a square that would stick out is moved inwards.
    """
    height, width = shape[:2]
    longest = max(box[2] - box[0], box[3] - box[1])
    side = round(min(max(grow * longest + extra, 1.0), height, width))
    left = round((box[0] + box[2]) / 2 - side / 2)
    top = round((box[1] + box[3]) / 2 - side / 2)
    left = int(min(max(left, 0), width - side))
    top = int(min(max(top, 0), height - side))
    return left, top, left + side, top + side


def square_around(box: np.ndarray, grow: float, extra: float) -> tuple[int, int, int, int]:
    """The same with the box in the middle, wherever the picture ends."""
    longest = max(box[2] - box[0], box[3] - box[1])
    side = round(max(grow * longest + extra, 1.0))
    left = round((box[0] + box[2]) / 2 - side / 2)
    top = round((box[1] + box[3]) / 2 - side / 2)
    return left, top, left + side, top + side


def rectangle(
    box: np.ndarray, margins: np.ndarray, shape: tuple[int, ...] | None
) -> tuple[int, int, int, int]:
    """The square on a box's longer side, with a margin of its own on each side, whole pixels.

    margins: [4] left, top, right, bottom, in longer sides. Moved and shrunk to lie inside a picture
    of that shape; at least one pixel each way.
    """
    longest = max(box[2] - box[0], box[3] - box[1])
    middle = np.tile((box[:2] + box[2:]) / 2, 2)
    edges = np.round(middle + longest * ([-0.5, -0.5, 0.5, 0.5] + margins * [-1, -1, 1, 1]))
    first, size = edges[:2], np.maximum(edges[2:] - edges[:2], 1)
    if shape is not None:
        size = np.minimum(size, [shape[1], shape[0]])
        first = np.clip(first, 0, [shape[1], shape[0]] - size)
    left, top, right, bottom = (int(edge) for edge in (*first, *(first + size)))
    return left, top, right, bottom


def cut(image: np.ndarray, square: tuple[int, int, int, int], pad: str) -> np.ndarray:
    """The pixels of a square; what of it lies outside the picture is filled up as `pad` says."""
    left, top, right, bottom = square
    height, width = image.shape[:2]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return image[top:bottom, left:right]
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    filled = image[np.ix_(_mirrored(rows, height), _mirrored(columns, width))]
    if pad == "black":
        filled[(rows < 0) | (rows >= height)] = 0
        filled[:, (columns < 0) | (columns >= width)] = 0
    return filled


def _mirrored(places: np.ndarray, size: int) -> np.ndarray:
    """Places along a side of `size` pixels; those beyond an end are reflected at it."""
    period = max(1, 2 * size - 2)
    places = np.abs(places) % period
    return np.minimum(places, period - places)


def upright(
    shape: tuple[int, ...],
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    margin: str,
    pad: str,
) -> tuple[np.ndarray, int]:
    """Where a face is cut so that its eyes are level: a matrix and a side.

    The matrix, [2, 3], leads from pixels of the picture (box, landmarks) to pixels of an upright
    square of that side at the picture's own resolution. The square is turned around the middle of
    the box; with `pad` none it is moved and shrunk until none of its corners is outside.
    Raises NoLandmarks.
    """
    if box is None or landmarks is None or np.isnan(landmarks).any():
        raise NoLandmarks("face.align: its five points are not known")
    eyes = landmarks[1] - landmarks[0]
    length = float(np.hypot(*eyes))
    if length < 1:
        raise NoLandmarks("face.align: its eyes are less than a pixel apart")
    cosine, sine = eyes / length
    grow, extra = _share(margin)
    side = max(grow * max(box[2] - box[0], box[3] - box[1]) + extra, 1.0)
    middle = (box[:2] + box[2:]) / 2
    if pad == "none":
        reach = abs(cosine) + abs(sine)  # width of a turned square of side 1
        limits = np.array([shape[1], shape[0]], float)
        side = max(1.0, min(side, limits.min() / reach))
        half = np.minimum(side * reach / 2, limits / 2)
        middle = np.clip(middle, half, limits - half)
    whole = max(1, int(side))
    turn = np.array([[cosine, sine], [-sine, cosine]])
    return np.column_stack([turn, whole / 2 - turn @ middle]), whole


def _turned(
    image: np.ndarray,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    margin: str,
    pad: str,
) -> np.ndarray:
    matrix, side = upright(image.shape, box, landmarks, margin, pad)
    # OpenCV counts from the middle of the first pixel, boxes and landmarks from its corner.
    matrix = matrix.copy()
    matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    # Inside the picture nothing is filled up; what bends over its edge are parts of a pixel.
    border = BORDER.get(pad, cv2.BORDER_REPLICATE)
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)


def _share(margin: str) -> tuple[float, float]:
    """A margin as sides of the box in all, and pixels in addition."""
    amount, unit = parse_margin(margin)
    return (1 + 2 * amount / 100, 0.0) if unit == "%" else (1.0, 2 * amount)
