"""What was found in media -> rows of stored faces, and what gave none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import manifest
from faces.cache import Found
from faces.clips import FoundClip
from failures import DAMAGED, NO_FACE, UNLABELLED, UNREADABLE, Failure
from utils import sha256_file


def face_rows(
    media: pd.DataFrame, found: Mapping[str, Found | FoundClip]
) -> tuple[pd.DataFrame, list[Failure]]:
    """One row a stored face, with what its photo or clip says; and the media that gave none.

    A clip of which some wanted frames were damaged keeps its sound ones, and is named too.
    """
    rows: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for one in media.to_dict("records"):
        result, kind = found[one["path"]], one.pop("kind")
        if result.failure:
            failures.append(Failure(one["path"], UNREADABLE, result.failure))
            continue
        if not result.faces:
            where = f"{result.frames} frames" if isinstance(result, FoundClip) else "the photo"
            failures.append(Failure(one["path"], NO_FACE, f"no face found in {where}"))
            continue
        if isinstance(result, FoundClip) and (result.missing or result.cut):
            reason = f"{result.missing} of the wanted frames are damaged; the others are used"
            if result.cut:
                reason = f"cut off: its last {result.cut} frames are missing; {reason}"
            failures.append(Failure(one["path"], DAMAGED, reason))
        several = kind != "photo" or len(result.faces) > 1
        rows += [
            one | columns_of(face, one["path"], number if several else None)
            for number, face in enumerate(result.faces)
        ]
    rows, both = _of_one_label(rows)
    columns = dict.fromkeys([*manifest.COLUMNS, *(c for c in media if c != "kind")])
    return pd.DataFrame(rows, columns=list(columns), dtype=object).fillna(""), failures + both


def _of_one_label(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Failure]]:
    """The rows without media that lie among the reals and, to the bit, among the fakes too.

    Photos that are the same share their crop; films, whose crops go by their names, are read where
    one of the other label has the same size.
    """
    films = {row["media"]: row["label"] for row in rows if row["frame"]}
    contents = contents_of(films)
    said: dict[str, dict[int, str]] = {}
    for row in rows:
        key = contents.get(row["media"], row["path"])
        said.setdefault(key, {}).setdefault(row["label"], row["media"])
    of_media: dict[str, str] = {}
    for row in rows:
        labels = said[contents.get(row["media"], row["path"])]
        if len(labels) > 1:
            other = Path(labels[1 - row["label"]]).name
            reason = f"called both real and fake: the same as {other}"
            of_media.setdefault(row["media"], reason)
    failures = [Failure(media, UNLABELLED, reason) for media, reason in of_media.items()]
    return [row for row in rows if row["media"] not in of_media], failures


def contents_of(films: Mapping[str, int]) -> dict[str, str]:
    """Hashes of the films, given with their labels, of whose size one of the other label is."""
    sizes = {film: Path(film).stat().st_size for film in films if Path(film).is_file()}
    labels: dict[int, set[int]] = {}
    for film, size in sizes.items():
        labels.setdefault(size, set()).add(films[film])
    return {film: sha256_file(film) for film, size in sizes.items() if len(labels[size]) > 1}


def columns_of(face: Mapping[str, Any], media: str, number: int | None) -> dict[str, str]:
    """A stored face's columns: the crop is the path, what it was cut from the media.

    number: of the face among those of a photo with several; a clip's faces know their track.
    """
    track = face.get("track", number)
    return {
        "path": face["file"],
        "box": manifest.cell(face["box"]),
        "landmarks": manifest.cell(face["landmarks"]),
        "confidence": "" if face["confidence"] is None else f"{face['confidence']:.6f}",
        "track": "" if track is None else str(track),
        "frame": str(face.get("frame", "")),
        "timestamp": "" if "timestamp" not in face else f"{face['timestamp']:.6f}",
        "media": media,
        "media_box": manifest.cell(face["media_box"]),
        "media_size": " ".join(map(str, face["media_size"])),
    }
