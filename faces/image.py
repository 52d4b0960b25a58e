"""One decoder and one encoder for pictures: every command sees the same RGB pixels."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from utils import write_atomic

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})
"""Names that a folder is searched for; what a file really is, its content decides."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
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
        content = Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(error.strerror or type(error).__name__) from None
    return decode_image(content)


def decode_image(content: bytes) -> np.ndarray:
    """The same as read_image for the bytes of a file."""
    if not content:
        raise UnreadableImage("the file is empty")
    try:
        with warnings.catch_warnings():
            # Our limit below refuses what is too large; Pillow's warning would come earlier.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
        with opened as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise UnreadableImage(f"{width}x{height} pixels are more than {MAX_PIXELS:,}")
            return np.asarray(_rgb(ImageOps.exif_transpose(picture)))
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImage("not a picture in a known format") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, MemoryError) as error:
        # Pillow's decoders raise these for damaged files, depending on the format.
        raise UnreadableImage(f"damaged: {error or type(error).__name__}") from None


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        picture.load()
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 or 32 bits a pixel, grey
        values = np.asarray(picture, dtype=np.float64)
        scale = 255 / 65535 if picture.mode.startswith("I") else 255.0
        return Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8)).convert(
            "RGB"
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


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


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Write uint8 RGB [height, width, 3] to a .png or .jpg, beside and renamed."""
    write_atomic(path, encode_image(image, Path(path).suffix))
