"""How a picture was encoded: its format and its JPEG quality, read from its first bytes."""

import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from PIL import Image

from faces.image import UnreadableImage, formats

# ITU T.81, table K.1, which libjpeg scales by the quality; its order does not matter here.
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def encoding(content: bytes) -> tuple[str, float]:
    """Format (`JPEG`, `PNG`, ...) and JPEG quality, 1..100, NaN for others; pixels stay packed.

    The quality is that of the libjpeg table nearest to the picture's own: what cameras use is
    near one of them. Raises UnreadableImage.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats()) as picture:
            quality = jpeg_quality(getattr(picture, "quantization", None) or {})
            return name_of(picture), float(quality or "nan")
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        raise UnreadableImage(f"damaged: {error or type(error).__name__}") from None


def name_of(picture: Image.Image) -> str:
    """Pillow's name of a format; a JPEG that carries a second picture (MPO), as phones write, is
    one all the same.
    """
    return "JPEG" if picture.format == "MPO" else picture.format or ""


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int:
    """libjpeg's quality, 1..100, whose luminance table is nearest to a file's; 0: not a JPEG."""
    table = np.sort(np.asarray(tables.get(0, ()), float))
    if len(table) != 64:
        return 0
    return int(np.abs(_libjpeg() - table).sum(axis=1).argmin() + 1)


@cache
def _libjpeg() -> np.ndarray:
    """The sorted luminance tables of the qualities 1..100, [100, 64] (jcparam.c)."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.sort(np.clip((np.array(LUMINANCE) * scale + 50) // 100, 1, 255), axis=1)
