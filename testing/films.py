"""A photograph's face -> moments of a film that might have shown it: moved, shrunk, compressed.

A validation of photographs says nothing of films: their faces are smaller and compressed harder,
and a film's score is drawn from many of them. What really moves in a film (a mouth, the light)
and what forging each frame anew leaves between frames is not imitated.
"""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from faces import roundtrip
from faces.image import UnreadableImage, read_image
from flags import Films
from utils import sample_seed


@dataclass(frozen=True)
class Moment:
    """Reads a picture as one moment of its film: the reader of a data set, for its workers.

    What is random is a function of the picture, for compression and size, which are those of the
    film, and of the moment, for where the face is. The size stays, so that the face's box fits
    still: what moves is the face within it, as under a detector.
    """

    number: int
    films: Films

    def __call__(self, path: str) -> np.ndarray:
        image = read_image(path)
        own = zlib.crc32(np.ascontiguousarray(image).tobytes())
        film, moment = (
            np.random.default_rng(sample_seed(own, 0, number)) for number in (0, self.number + 1)
        )
        crf = float(film.uniform(self.films.h264[0], self.films.h264[1]))
        share = float(film.uniform(self.films.resize[0], self.films.resize[1]))
        height, width = image.shape[:2]
        small = max(1, round(width * share)), max(1, round(height * share))
        begin, end = moment.uniform(-1, 1, (2, 4)) * self.films.motion
        # It drifts a twelfth of the way: two such places are about half a second apart.
        steps = np.linspace(0, 1 / 12, roundtrip.FRAMES)
        try:
            moving = [_moved(image, begin + (end - begin) * step, small) for step in steps]
        except cv2.error as error:  # sides that OpenCV cannot count
            raise UnreadableImage(f"{width}x{height} pixels cannot be moved: {error.err}") from None
        shown = roundtrip.film(moving, crf)[-1]
        return cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR)


def _moved(image: np.ndarray, by: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """by: right, down and larger in % of the picture, turned by degrees. size: width, height."""
    height, width = image.shape[:2]
    right, down, larger, turned = by
    place = cv2.getRotationMatrix2D((width / 2, height / 2), turned, 1 + larger / 100)
    place[:, 2] += right / 100 * width, down / 100 * height
    moved = cv2.warpAffine(image, place, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(moved, size, interpolation=cv2.INTER_AREA)
