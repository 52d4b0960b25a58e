"""Two crops: the stored face (context, native resolution) and what the network sees of it."""

from dataclasses import dataclass

import cv2
import numpy as np

from faces.detector import Detection
from flags import parse_margin


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


def store(image: np.ndarray, face: Detection, grow: float, max_size: int) -> StoredFace:
    """Cut the square of `grow` box sides around a face, shrunk to `max_size` px at the most."""
    left, top, right, bottom = square_inside(face.box, grow, 0.0, image.shape)
    crop = image[top:bottom, left:right]
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
    image: np.ndarray, box: np.ndarray | None, margin: str, height: int, width: int
) -> np.ndarray:
    """What the network sees: uint8 RGB [height, width, 3].

    image: a stored crop (or a picture) with `box` in its pixels. The square around the box with
    `margin` (`30%` of the box or `50px` of the stored crop) on each side is cut, moved and shrunk
    to stay inside the picture, never padded: a padded border would be a mark that has nothing to
    do with the face. Without a box the whole picture is taken.
    """
    if box is not None:
        amount, unit = parse_margin(margin)
        grow, extra = (1 + 2 * amount / 100, 0.0) if unit == "%" else (1.0, 2 * amount)
        left, top, right, bottom = square_inside(box, grow, extra, image.shape)
        image = image[top:bottom, left:right]
    shrinks = image.shape[0] * image.shape[1] > height * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)


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
