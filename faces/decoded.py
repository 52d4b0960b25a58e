"""Pictures that were decoded once: in memory, or in a memory-mapped file that later runs find."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from faces.image import UnreadableImage, read_image
from utils import UserError, atomic_path, sha256_text, write_atomic

LARGEST_SHARE = 0.8
"""Of the free memory that decoded pictures may fill."""

THREADS = 4

Place = tuple[int, int, int]
"""Where a picture begins in the buffer, its height, its width; three bytes a pixel."""


class Decoded:
    """Decoded pictures by the names of their files; `read` stands in for faces.image.read_image.

    A picture that could not be decoded is not here: reading it fails as it did before.
    """

    def __init__(self, places: dict[str, Place], buffer: np.ndarray | Path) -> None:
        self.places = places
        self._buffer = buffer

    def __len__(self) -> int:
        return len(self.places)

    def read(self, file: str) -> np.ndarray:
        """uint8 RGB [height, width, 3], a copy. Raises UnreadableImage."""
        if file not in self.places:
            return read_image(file)
        start, height, width = self.places[file]
        if isinstance(self._buffer, Path):
            # Opened in each process that reads: a memory map that is sent to one arrives as a copy.
            self._buffer = np.memmap(self._buffer, np.uint8, "r")
        flat = self._buffer[start : start + height * width * 3]
        return np.array(flat).reshape(height, width, 3)

    def __getstate__(self) -> dict:
        buffer = self._buffer
        if isinstance(buffer, np.memmap):
            buffer = Path(str(buffer.filename))
        return {"places": self.places, "_buffer": buffer}


def in_memory(files: Iterable[str]) -> Decoded:
    """Decode all files into memory. UserError where they would fill most of what is free."""
    places: dict[str, Place] = {}
    pictures: list[np.ndarray] = []
    limit, size = LARGEST_SHARE * psutil.virtual_memory().available, 0
    for file, picture in _decode(files):
        places[file] = (size, *picture.shape[:2])
        pictures.append(picture.reshape(-1))
        size += picture.size
        if 2 * size > limit:  # the list and the buffer it becomes
            raise UserError(
                f"data.memory ram: {len(places)} decoded pictures are {size / 2**30:.1f} GiB, and "
                "there are more: set data.memory to file, or to none"
            )
    return Decoded(places, np.concatenate(pictures) if pictures else np.zeros(0, np.uint8))


def in_file(files: Iterable[str], folder: Path) -> Decoded:
    """Decode all files into one file of `folder`, or find the one that an earlier run wrote.

    Its name is made of the files' names, sizes and times: changed files are decoded again.
    """
    files = sorted(set(files))
    stats = [(file, _stat(file)) for file in files]
    name = sha256_text(*stats)[:32]
    pixels, index = folder / f"decoded-{name}.bin", folder / f"decoded-{name}.json"
    if index.is_file() and pixels.is_file():
        stored = json.loads(index.read_text(encoding="utf-8"))
        return Decoded({file: tuple(place) for file, place in stored.items()}, pixels)
    places: dict[str, Place] = {}
    size = 0
    with atomic_path(pixels) as beside, beside.open("wb") as out:
        for file, picture in _decode(files):
            places[file] = (size, *picture.shape[:2])
            out.write(picture.tobytes())
            size += picture.size
    write_atomic(index, json.dumps(places))
    return Decoded(places, pixels)


def _stat(file: str) -> tuple[int, int]:
    try:
        found = Path(file).stat()
    except OSError:
        return (-1, -1)
    return found.st_size, found.st_mtime_ns


def _decode(files: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each picture once, in order, a few at a time; those that cannot be decoded are left out."""
    names = list(dict.fromkeys(files))
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(names), 64):
            some = names[start : start + 64]
            for file, picture in zip(some, pool.map(_try, some), strict=True):
                if picture is not None:
                    yield file, picture


def _try(file: str) -> np.ndarray | None:
    try:
        return read_image(file)
    except UnreadableImage:
        return None
