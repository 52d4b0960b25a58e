"""Faces of many pictures, found once: a cache of context crops keyed by content and recipe."""

import hashlib
import json
import multiprocessing
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from faces.crop import store
from faces.detector import Detector, make_detector
from faces.image import UnreadableImage, decode_image, write_image
from flags import Face
from utils import cores, sha256_text, write_atomic

FEW = 24
"""So few new pictures are searched in this process: starting others would take longer."""


DECIDING = (
    "detector", "thresholds", "confidence", "min_size", "smallest", "detect_size", "select", "grow",
    "max_size", "format", "pad", "trim",
)  # fmt: skip
"""The settings of `face` that decide which crops are stored, and how they look."""


@dataclass(frozen=True)
class Found:
    """The faces of one picture: one dict a face with `file`, `box` and `landmarks` in it,
    `confidence`, and `media_box, media_landmarks, media_size` in pixels of the picture.

    `content` is the SHA-256 of the file; `failure` says why a picture could not be read.
    """

    path: str
    content: str = ""
    faces: tuple[dict[str, Any], ...] = ()
    failure: str = ""


def find_faces(
    paths: Iterable[str],
    recipe: Face,
    cache: Path,
    device: torch.device | str = "cpu",
    progress: bool = True,
    detect: Detector | None = None,
) -> dict[str, Found]:
    """Find the faces of each picture, or take them from the cache; path -> Found.

    Works in parallel on a CPU (one process a core, one thread each: MTCNN gains nothing from
    more) and in this process on a GPU. Stopped at any moment, the cache holds whole entries only.
    detect: the recipe's detector where there is one already, which is then used in this process.
    """
    folder = cache / recipe_key(recipe)
    todo, results = [], {}
    for path in dict.fromkeys(paths):
        found = known_picture(path, folder)
        if found is None:
            todo.append(path)
        else:
            results[path] = found
    quiet = not (progress and todo and sys.stderr.isatty())
    with tqdm(total=len(todo), desc="Finding faces", unit="img", disable=quiet) as bar:
        for found in _search(todo, recipe, folder, torch.device(device), detect):
            results[found.path] = found
            bar.update()
    return results


def recipe_key(recipe: Face) -> str:
    """A short name for what decides a stored crop; margin, align and no_face are applied later."""
    fields = {name: getattr(recipe, name) for name in DECIDING}
    return sha256_text(json.dumps({"record": 2, **fields}, sort_keys=True))[:16]


def _search(
    paths: list[str], recipe: Face, folder: Path, device: torch.device, detect: Detector | None
) -> Iterator[Found]:
    if not paths:
        return
    if detect or device.type != "cpu" or len(paths) <= FEW or cores() == 1:
        detect = detect or make_detector(recipe, device)
        for path in paths:
            yield search_picture(path, detect, recipe, folder)
        return
    pool = ProcessPoolExecutor(
        max_workers=min(cores(), len(paths)),
        # Not fork: a child of a process whose threads hold PyTorch's locks may never wake.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(recipe, folder),
    )
    try:
        yield from pool.map(_work, paths, chunksize=4)
    finally:
        # After a stop, what has not begun never begins.
        pool.shutdown(wait=True, cancel_futures=True)


_worker: Callable[[str], Found]


def _start_worker(recipe: Face, folder: Path) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that shows the bar
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detect = make_detector(recipe)
    _worker = lambda path: search_picture(path, detect, recipe, folder)  # noqa: E731


def _work(path: str) -> Found:
    return _worker(path)


def known_picture(path: str, folder: Path) -> Found | None:
    """What an earlier search found in a picture of this content; None where none was made."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return Found(path, failure=error.strerror or type(error).__name__)
    key = _content_key(content)
    record = folder / key[:2] / f"{key}.json"
    if not record.is_file():
        return None
    stored = json.loads(record.read_text(encoding="utf-8"))["faces"]
    faces = tuple(_absolute(face, record.parent) for face in stored)
    if not all(Path(face["file"]).is_file() for face in faces):
        return None  # somebody tidied up
    return Found(path, key, faces)


def search_picture(path: str, detect: Detector, recipe: Face, folder: Path) -> Found:
    """Find the faces of one picture, and store them with their record."""
    try:
        content = Path(path).read_bytes()
        image = decode_image(content)
    except OSError as error:
        return Found(path, failure=error.strerror or type(error).__name__)
    except UnreadableImage as error:
        return Found(path, failure=str(error))
    key = _content_key(content)
    home = folder / key[:2]
    faces = []
    for number, detection in enumerate(detect(image)):
        face = store(image, detection, recipe.grow, recipe.max_size, recipe.pad, recipe.trim)
        name = f"{_safe_stem(path)}_{key[:16]}_{number}.{recipe.format}"
        write_image(home / name, face.image)
        faces.append(
            {
                "file": name,
                "box": _rounded(face.box),
                "landmarks": None if face.landmarks is None else _rounded(face.landmarks),
                "confidence": face.confidence,
                "media_box": _rounded(detection.box),
                "media_landmarks": (
                    None if detection.landmarks is None else _rounded(detection.landmarks)
                ),
                "media_size": [image.shape[1], image.shape[0]],
            }
        )
    # Last, so that a record speaks only of crops that are there, and whole.
    write_atomic(home / f"{key}.json", json.dumps({"faces": faces}))
    return Found(path, key, tuple(_absolute(face, home) for face in faces))


def _safe_stem(path: str) -> str:
    """The picture's own name, for people; what it is found by is its content."""
    return re.sub(r"[^\w.-]", "_", Path(path).stem)[:40]


def _absolute(face: dict[str, Any], home: Path) -> dict[str, Any]:
    return face | {"file": str((home / face["file"]).absolute())}


def _content_key(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in np.ravel(values)]
