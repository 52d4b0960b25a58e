"""Animated pictures that the film decoder does not know: WebP and AVIF, frame by frame."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from faces.image import MAX_PIXELS, as_rgb

FORMATS = ("WEBP", "AVIF")


def frame_count(path: Path | str) -> int:
    """Frames of an animated WebP or AVIF; 0 for everything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                count = getattr(picture, "n_frames", 1)
                return count if count > 1 and width * height <= MAX_PIXELS else 0
    except Exception:  # a damaged or other file: Pillow raises almost anything
        return 0


def frames(path: Path | str, places: Sequence[int]) -> Iterator[tuple[int, float, np.ndarray]]:
    """The frames at `places`, rising: number, seconds from the start, uint8 RGB.

    Those up to the last of them are decoded; it ends at the first that is damaged.
    """
    wanted, seconds = set(places), 0.0
    with Image.open(path, formats=FORMATS) as picture:
        for number in range(max(places, default=-1) + 1):
            try:
                picture.seek(number)
                picture.load()
                if number in wanted:
                    yield number, seconds, np.asarray(as_rgb(picture))
            except (OSError, EOFError, ValueError, SyntaxError):
                return
            seconds += (picture.info.get("duration") or 100) / 1000
