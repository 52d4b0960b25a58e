"""A stored face -> the same face worse off: compressed, blurred, noisy, shrunk, lit otherwise.

Each kind has five strengths (flags.Perturb), in units of its own; sizes and places stay, so that
the face's box fits still. The kinds and their range are those of the field's robustness tests
(DeeperForensics-1.0: Jiang et al., CVPR 2020; LipForensics: Haliassos et al., CVPR 2021).
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from faces import roundtrip
from faces.image import read_image
from flags import Perturb
from metrics import FAKE, REAL
from utils import sample_seed


@dataclass(frozen=True)
class Kind:
    """change: (uint8 RGB [height, width, 3], strength, random) -> the same shape. unit: of the
    strength. neutral: the strength that would change nothing, or almost.
    """

    change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    unit: str
    neutral: float


@dataclass(frozen=True)
class Changed:
    """Reads a picture and changes it: the reader of a data set, that its workers can carry.

    What is random in it (the noise) is a function of the picture, the kind and the strength.
    """

    kind: str
    strength: float

    def __call__(self, path: str) -> np.ndarray:
        image = read_image(path)
        own = zlib.crc32(np.ascontiguousarray(image).tobytes())
        random = np.random.default_rng(sample_seed(own, 0, zlib.crc32(repr(self).encode())))
        return KINDS[self.kind].change(image, self.strength, random)


def changes(settings: Perturb) -> list[Changed]:
    """Every kind that is asked for at each of its strengths, in order."""
    return [
        Changed(kind, float(strength))
        for kind in settings.kinds
        for strength in getattr(settings, kind)
    ]


def chosen(labels: np.ndarray, values: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices [at most `count`] of rows that have a score, rising; 0: all of them.

    Half of them real and half fake, as far as there are so many: both rates are then equally sure.
    """
    known = np.flatnonzero(np.isfinite(values))
    if count == 0 or len(known) <= count:
        return known
    random = np.random.default_rng(sample_seed(seed, 0, count))
    reals, fakes = (random.permutation(known[labels[known] == of]) for of in (REAL, FAKE))
    of_reals = max(count - len(fakes), min(len(reals), count // 2))
    return np.sort(np.concatenate([reals[:of_reals], fakes[: count - of_reals]]))


# ---------------------------------------------------------------------------------- kinds


def _jpeg(image: np.ndarray, quality: float, random: np.random.Generator) -> np.ndarray:
    return roundtrip.jpeg(image, round(quality))


def _h264(image: np.ndarray, crf: float, random: np.random.Generator) -> np.ndarray:
    return roundtrip.h264(image, crf)


def _blur(image: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image


def _noise(image: np.ndarray, deviation: float, random: np.random.Generator) -> np.ndarray:
    noisy = image + random.normal(0, deviation, image.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def _resize(image: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def _brightness(image: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
    return (image * float(factor)).round().clip(0, 255).astype(np.uint8)


KINDS = {
    "jpeg": Kind(_jpeg, "JPEG quality", 100),
    "h264": Kind(_h264, "H.264 constant rate factor", 0),
    "blur": Kind(_blur, "Gaussian blur, sigma in px of the stored face", 0),
    "noise": Kind(_noise, "Gaussian noise, deviation of 255", 0),
    "resize": Kind(_resize, "shrunk to this share and back", 1),
    "brightness": Kind(_brightness, "brightness, factor", 1),
}
"""Name of each kind, as in flags.Perturb -> what it does."""
