"""Tiny real films and pictures, for the collections that tests make."""

import functools
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

CODECS = {".mp4": "libx264", ".avi": "mpeg4"}


@functools.cache
def film(suffix: str, frames: int = 3) -> bytes:
    """The bytes of a film of 64 x 48 pixels, in which a light square walks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(CODECS[suffix], rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(frames):
                image = np.full((48, 64, 3), 40, np.uint8)
                image[16:32, 8 * number : 8 * number + 16] = 220
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        return path.read_bytes()


@functools.cache
def picture() -> bytes:
    """The bytes of a JPEG of 8 x 8 pixels."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        Image.new("RGB", (8, 8), (200, 120, 90)).save(file.name)
        return Path(file.name).read_bytes()


def write(root: Path, *names: str) -> Path:
    """Write a film or a picture under each name below `root`, by its suffix; returns the root."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = path.suffix.lower()
        path.write_bytes(film(suffix) if suffix in CODECS else picture())
    return root
