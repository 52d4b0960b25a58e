"""Face-warping artefacts, as the KAIST project makes them after Li & Lyu (2018).

A face that was synthesised at one size and warped into a picture of another is blurred, and its
surroundings are not. So: take the face region, resize it by a random factor, blur it (5x5
Gaussian), resize it back, put it back; the result is FAKE.
"""

import cv2
import numpy as np

from faces.detector import haar_boxes, haar_cascade
from flags import Fakes


class NoFaceRegion(Exception):
    """There is no face to warp; the sample is left out and counted, never called fake."""


def warp(
    image: np.ndarray, box: np.ndarray | None, random: np.random.Generator, settings: Fakes
) -> np.ndarray:
    """A fake of a real context crop; every pixel outside the face region stays as it was.

    image: uint8 RGB [height, width, 3]. box: [4] left, top, right, bottom of the face in it.
    Deterministic in the state of `random`. Raises NoFaceRegion.
    """
    scale = random.uniform(settings.scale_min, settings.scale_max)
    left, top, right, bottom = _region(image, box, settings)
    face = image[top:bottom, left:right]
    size = (max(1, round(face.shape[1] * scale)), max(1, round(face.shape[0] * scale)))
    resized = cv2.resize(face, size, interpolation=cv2.INTER_LINEAR)
    blurred = cv2.GaussianBlur(resized, (settings.kernel, settings.kernel), 0)
    fake = image.copy()
    fake[top:bottom, left:right] = cv2.resize(
        blurred, (face.shape[1], face.shape[0]), interpolation=cv2.INTER_LINEAR
    )
    return fake


def _region(
    image: np.ndarray, box: np.ndarray | None, settings: Fakes
) -> tuple[int, int, int, int]:
    if settings.detector == "haar":
        found = haar_boxes(haar_cascade(), image, min_size=20)
        if len(found) == 0:
            raise NoFaceRegion("the Haar cascade finds no face in the crop")
        x, y, w, h = max(found, key=lambda b: b[2] * b[3])
        box = np.array([x, y, x + w, y + h])
    if box is None:
        raise NoFaceRegion("the row has no face box")
    height, width = image.shape[:2]
    left, top = max(0, round(float(box[0]))), max(0, round(float(box[1])))
    right, bottom = min(width, round(float(box[2]))), min(height, round(float(box[3])))
    if right - left < 2 or bottom - top < 2:
        raise NoFaceRegion("the face box is empty")
    return left, top, right, bottom
