"""Faces of one clip, found once: frames -> tracks -> stored crops, and a record of them.

The record is written last: one that is there speaks of crops that are whole, so that a run which
was stopped at any moment goes on with the clips that have none.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faces.cache import DECIDING
from faces.crop import store
from faces.detector import Detection, Detector
from faces.follow import APART, faces_of, same_scene, tiny
from faces.image import write_image
from faces.tracks import link
from faces.video import UnreadableVideo, open_clip
from flags import Face, Frames
from utils import sha256_text, write_atomic


@dataclass(frozen=True)
class FoundClip:
    """The faces of one clip: one dict a face with `file`, `box` and `landmarks` in it,
    `confidence, media_box, media_size`, and `track, frame, timestamp`.

    frames: searched. missing: wanted frames that were damaged. cut: frames after
    the end of a file that was cut off. total, duration: of the clip, in
    frames and seconds. failure: why it could not be read.
    """

    path: str
    faces: tuple[dict[str, Any], ...] = ()
    frames: int = 0
    missing: int = 0
    cut: int = 0
    total: int = 0
    duration: float = 0.0
    failure: str = ""


def clip_key(path: Path, face: Face, frames: Frames) -> str:
    """A name for a clip and what decides its crops: its name, size and time, of a folder those of
    its files; not its content, which would have to be read again each time.
    """
    about: list[tuple[Any, ...]] = [_size_and_time(path)]
    if path.is_dir():
        with os.scandir(path) as entries:  # those that faces.video reads
            files = [e for e in entries if e.name[0] != "." and e.is_file()]
        about = sorted((file.name, *_size_and_time(file)) for file in files)
    deciding = {name: getattr(face, name) for name in DECIDING}
    recipe = json.dumps([5, deciding, frames.model_dump(), about], sort_keys=True)
    return sha256_text(path.name, str(path.parent), recipe)[:32]


def _size_and_time(file: Path | os.DirEntry[str]) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def known_clip(path: str, face: Face, frames: Frames, folder: Path) -> FoundClip | None:
    """The record of a clip that was searched before, if all of its crops are still there."""
    try:
        key = clip_key(Path(path), face, frames)
    except OSError as error:
        return FoundClip(path, failure=error.strerror or type(error).__name__)
    record = folder / key[:2] / f"{key}.json"
    if not record.is_file():
        return None
    found = json.loads(record.read_text(encoding="utf-8"))
    home = record.parent
    faces = tuple(one | {"file": str((home / one["file"]).absolute())} for one in found["faces"])
    if not all(Path(one["file"]).is_file() for one in faces):
        return None  # somebody tidied up
    return FoundClip(**(found | {"path": path, "faces": faces}))


def recipe_of_frames(face: Face, frames: Frames) -> Face:
    """How a clip's frames are searched: everybody in them, at the size for frames."""
    size = min(face.detect_size, frames.detect_size)
    return face.model_copy(update={"select": "all", "detect_size": size})


def search_clip(
    path: str,
    detect: Detector,
    face: Face,
    frames: Frames,
    folder: Path,
    between: Callable[[int, int], object] = lambda done, wanted: None,
    threads: int = 1,
    lasting: bool = True,
) -> FoundClip:
    """Find the faces of a clip's frames, follow them, and store their crops with a record.

    detect: keeps all faces of a frame; which of the tracks stay, `face.select` says. Frames are
    cut one after another: memory does not grow with their number. between: called after each
    frame with how many are done and wanted; what it raises ends the search. threads: frames that
    are searched at once, where they are too far apart to be followed and the detector can be
    called so (a Haar cascade cannot). lasting: the crops must outlive a power cut, for which each
    waits for the disk.
    """
    key = clip_key(Path(path), face, frames)
    home = folder / key[:2]
    stem = re.sub(r"[^\w.-]", "_", Path(path).stem)[:40]
    looks: list[list[Detection]] = []
    seconds: list[float] = []
    goes_on: list[bool] = []
    scene: np.ndarray | None = None
    stored: dict[int, dict[str, Any]] = {}
    try:
        clip = open_clip(path, frames)
        alone = clip.wanted and clip.duration / clip.wanted > APART
        every = 1 if alone else frames.search_every
        for frame, seen in faces_of(clip, detect, every, threads if alone else 1):
            looks.append(seen)
            seconds.append(frame.timestamp)
            before, scene = scene, tiny(frame.image)
            goes_on.append(before is not None and same_scene(scene, before))
            for number, detection in enumerate(seen):
                own = np.tile(frame.grown, 2)  # the boxes are those of the film's own frames
                crop = store(frame.image, detection, face.grow, face.max_size, face.pad, face.trim)
                name = f"{stem}_{key[:12]}_{frame.index:06d}_{number}.{face.format}"
                write_image(home / name, crop.image, lasting)
                stored[id(detection)] = {
                    "file": name,
                    "box": _rounded(crop.box),
                    "landmarks": None if crop.landmarks is None else _rounded(crop.landmarks),
                    "confidence": crop.confidence,
                    "media_box": _rounded(detection.box / own),
                    "media_size": [
                        round(size / by)
                        for size, by in zip(frame.image.shape[1::-1], frame.grown, strict=True)
                    ],
                    "frame": frame.index,
                    "timestamp": round(frame.timestamp, 6),
                }
            between(len(looks), clip.wanted)
    except UnreadableVideo as error:
        for one in stored.values():
            (home / one["file"]).unlink(missing_ok=True)
        return FoundClip(path, failure=str(error))
    tracks = link(looks, seconds, goes_on)[: 1 if face.select == "largest" else None]
    kept = [
        stored.pop(id(detection)) | {"track": number}
        for number, track in enumerate(tracks)
        for _, detection in track.faces
    ]
    for one in stored.values():  # of no person, or of one who is not asked for
        (home / one["file"]).unlink(missing_ok=True)
    found = FoundClip(
        path,
        tuple(kept),
        len(looks),
        clip.missing,
        clip.cut,
        clip.total or len(looks),
        clip.duration,
    )
    write_atomic(home / f"{key}.json", json.dumps(asdict(found)), lasting)
    absolute = tuple(one | {"file": str((home / one["file"]).absolute())} for one in kept)
    return FoundClip(**(asdict(found) | {"faces": absolute}))


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 2) for value in values.ravel()]
