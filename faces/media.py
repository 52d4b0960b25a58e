"""What a file is before it is searched: photo or film, its size, and how hard it is compressed."""

import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from faces.animation import frame_count
from faces.encoding import jpeg_quality, name_of
from faces.image import MAX_PIXELS, UnreadableImage, formats, upright_size
from faces.packets import length
from faces.video import UnreadableVideo, opened

PHOTO, FILM = "photo", "film"
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats of pictures that may move; further pages of others are not pictures of one scene."""

LARGEST_PHOTO = 512 * 2**20
"""Bytes; a photo is read as a whole."""


@dataclass(frozen=True)
class Media:
    """A photo or a film. width, height: of a photo upright, of a film as stored, before it is
    turned. quality: of a JPEG, 1..100.

    Of a film also: seconds, frames, rate (frames a second), bit_rate (bits a second, of the
    pictures alone where the file says it), bits_per_pixel (of a frame), sound. 0: not known.
    """

    kind: str
    format: str
    width: int
    height: int
    bytes: int
    quality: int = 0
    seconds: float = 0.0
    frames: int = 0
    rate: float = 0.0
    bit_rate: int = 0
    bits_per_pixel: float = 0.0
    sound: bool = False


def describe(path: Path | str) -> Media:
    """Look at a file by its content, whatever it is called; nothing is decoded.

    Raises UnreadableImage or UnreadableVideo, whose message says why in a few words.
    """
    path = Path(path)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableVideo("not a file")
        if about.st_size == 0:
            raise UnreadableImage("the file is empty")
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise UnreadableImage(error.strerror or type(error).__name__) from None
    photo = _picture(path, about.st_size)
    if photo:
        return photo
    if _is_heif(path):  # a film's decoder would take the first tile of a photo for all of it
        raise UnreadableImage("damaged: a HEIC picture that cannot be opened")
    moving = frame_count(path)
    return _animation(path, about.st_size, moving) if moving else _film(path, about.st_size)


def _is_heif(path: Path) -> bool:
    """Whether the first box of a file says that it is a still picture (ISO/IEC 23008-12, 10.2)."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1")


def _picture(path: Path, size: int) -> Media | None:
    """The photo, or None where it is no picture or one that moves, which is a film."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=formats()) as picture:
                if picture.format in ANIMATED and getattr(picture, "n_frames", 1) > 1:
                    return None
                width, height = upright_size(picture)
                quality = jpeg_quality(getattr(picture, "quantization", None) or {})
                kind = name_of(picture)
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        return None
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"damaged: {reason}") from None
    if size > LARGEST_PHOTO:
        raise UnreadableImage(f"a picture of more than {LARGEST_PHOTO // 2**20} MiB")
    return Media(PHOTO, kind, width, height, size, quality)


def _animation(path: Path, size: int, frames: int) -> Media:
    with Image.open(path, formats=formats()) as picture:
        return Media(FILM, picture.format or "", *picture.size, size, frames=frames)


def _film(path: Path, size: int) -> Media:
    with opened(path) as film:
        if not film.streams.video:
            what = "sound only" if film.streams.audio else "it has no video stream"
            raise UnreadableVideo(what)
        stream = film.streams.video[0]
        decoder = stream.codec_context
        seconds = length(film, stream)
        rate = float(stream.average_rate or 0)
        bits = stream.bit_rate or (size * 8 / seconds if seconds > 0 else 0)
        pixels = decoder.width * decoder.height
        return Media(
            FILM,
            f"{film.format.name.split(',')[0]}, {decoder.name}",
            decoder.width,
            decoder.height,
            size,
            seconds=max(0.0, seconds),
            frames=stream.frames,
            rate=rate,
            bit_rate=int(bits),
            bits_per_pixel=float(bits / (pixels * rate)) if pixels and rate else 0.0,
            sound=bool(film.streams.audio),
        )
