"""Face-warping artefacts, as the KAIST project makes them after Li & Lyu (2018).

A face that was synthesised at one size and warped into a picture of another is blurred, and its
surroundings are not. So: take the face region, resize it by a random factor, blur it (5x5
Gaussian), resize it back, put it back; the result is FAKE.
"""

import cv2
import numpy as np

from faces.detector import haar_boxes, haar_cascade
from fakes import NoFake
from flags import Warp


def make(
    image: np.ndarray,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    random: np.random.Generator,
    settings: Warp,
) -> tuple[np.ndarray, np.ndarray]:
    """The real as it is and a fake of it; every pixel outside the face region stays as it was.

    image: uint8 RGB [height, width, 3]. box: [4] left, top, right, bottom of the face in it.
    landmarks are not used. Deterministic in the state of `random`. Raises NoFake.
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
    return image, fake


def _region(image: np.ndarray, box: np.ndarray | None, settings: Warp) -> tuple[int, int, int, int]:
    if settings.detector == "haar":
        found = haar_boxes(haar_cascade(), image, min_size=20)
        if len(found) == 0:
            raise NoFake("the Haar cascade finds no face in the crop")
        x, y, w, h = max(found, key=lambda b: b[2] * b[3])
        box = np.array([x, y, x + w, y + h])
    if box is None:
        raise NoFake("the row has no face box")
    height, width = image.shape[:2]
    left, top = max(0, round(float(box[0]))), max(0, round(float(box[1])))
    right, bottom = min(width, round(float(box[2]))), min(height, round(float(box[3])))
    if right - left < 2 or bottom - top < 2:
        raise NoFake("the face box is empty")
    return left, top, right, bottom
