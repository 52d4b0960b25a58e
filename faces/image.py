"""One decoder and one encoder for pictures: every command sees the same RGB pixels."""

import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from pillow_heif import register_heif_opener

from utils import write_atomic

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif",
    ".avif", ".heic", ".heif",
})  # fmt: skip
"""Names that a folder is searched for; what a file really is, its content decides."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
MAX_PIXELS = 128_000_000
"""Larger pictures (8K has 33 million pixels) are refused before they are decoded."""


class UnreadableImage(Exception):
    """A file that is no whole picture; the message says why, in a few words."""


def read_image(path: Path | str) -> np.ndarray:
    """Decode a picture: uint8 [height, width, 3], RGB, upright by its EXIF orientation.

    Grey becomes RGB, 16 bits become 8, CMYK and palettes are converted, transparency is laid
    on white; of an animation the first frame is taken. Raises UnreadableImage.
    """
    try:
        # Not pathlib: it enters each name into Python's table of names for a moment, and a worker
        # that reads a million files builds that table (8 MB) anew, in memory of its own.
        with open(path, "rb") as file:  # noqa: PTH123
            content = file.read()
    except OSError as error:
        raise UnreadableImage(error.strerror or type(error).__name__) from None
    return decode_image(content)


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, HEIC among them, which iPhones write."""
    register_heif_opener()
    return FORMATS


def decode_image(content: bytes) -> np.ndarray:
    """The same as read_image for the bytes of a file."""
    if not content:
        raise UnreadableImage("the file is empty")
    try:
        with warnings.catch_warnings():
            # Of odd metadata, which is no harm, and of many pixels: our own limit follows.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=formats()) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise UnreadableImage(f"{width}x{height} pixels are more than {MAX_PIXELS:,}")
                return np.asarray(as_rgb(_upright(picture)))
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImage("not a picture in a known format") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"damaged: {reason}") from None


UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation (1 is upright)."""


LYING = (5, 6, 7, 8)
"""The orientations of which rows are stored as columns."""


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height of an opened picture when it is upright, before it is decoded; of a PNG
    whose EXIF stands after its pixels those that are stored.
    """
    width, height = picture.size
    # Pillow turns a TIFF itself, and tells the size of what it will have turned.
    lies = picture.format != "TIFF" and _orientation(picture) in LYING
    return (height, width) if lies else (width, height)


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()  # a PNG may carry its EXIF after the pixels
    orientation = _orientation(picture)
    # Not ImageOps.exif_transpose: it writes the EXIF anew and fails where that is odd.
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF (Pillow's parser raises almost anything) says nothing
        return 1


def as_rgb(picture: Image.Image) -> Image.Image:
    """Any mode as RGB, transparency on white. Raises UnreadableImage of values without a scale."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        picture.load()
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 or 32 bits a pixel, grey
        values = np.asarray(picture, dtype=np.float64)
        values = np.nan_to_num(values * (255 / _white(values, picture.mode)))
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _white(values: np.ndarray, mode: str) -> float:
    """The value that means white: 32 bits hold what a program put there, 0..1 or 8 or 16 bits."""
    if mode.startswith("I;16"):
        return 65535.0
    finite = values[np.isfinite(values)]
    # Not the highest: highlights of a picture of 0..1 may lie far above white.
    highest = float(np.percentile(finite, 95)) if finite.size else 0.0
    for white in (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0):
        if highest <= white:
            return white
    raise UnreadableImage(f"grey values up to {highest:g}: what white is nobody can tell")


def encode_image(image: np.ndarray, suffix: str) -> bytes:
    """Encode uint8 RGB [height, width, 3] as PNG, or as JPEG 95 without chroma subsampling.

    One encoder for both classes: a detector must not tell real from fake by the file.
    """
    buffer = io.BytesIO()
    if suffix == ".png":
        Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    elif suffix == ".jpg":
        Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        raise ValueError(f"stored pictures are .png or .jpg, not {suffix!r}")
    return buffer.getvalue()


def write_image(path: Path | str, image: np.ndarray, lasting: bool = True) -> None:
    """Write uint8 RGB [height, width, 3] to a .png or .jpg, beside and renamed."""
    write_atomic(path, encode_image(image, Path(path).suffix), lasting)
