"""What can be measured of a face without looking at it: bytes, size, encoding, framing, marks."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

import manifest
from audit.duplicates import perceptual_hash
from faces.encoding import encoding
from faces.image import UnreadableImage, decode_image
from hashes import DIGITS


@dataclass(frozen=True)
class Measured:
    """One file, read once. quality: of JPEG, 1..100, else NaN. reason: why it is unreadable."""

    content: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    format: str = ""
    quality: float = float("nan")
    look: int | None = None
    reason: str = ""
    corners: tuple[float, ...] = (float("nan"),) * 4


CORNER = (0.04, 0.25)
"""Height and width of a corner, in those of the picture: a line of small print."""

CORNERS = {
    "corner_top_left": "fine detail, top left corner",
    "corner_top_right": "fine detail, top right corner",
    "corner_bottom_left": "fine detail, bottom left",
    "corner_bottom_right": "fine detail, bottom right",
}


def measured(paths: Iterable[str], workers: int, looks: bool = True) -> dict[str, Measured]:
    """Each path and what was measured; `looks`: the perceptual hash too. Files are decoded."""
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda path: _measured(path, looks), unique)
        found = tqdm(found, "Reading pictures", len(unique), unit="file", disable=None)
        return dict(zip(unique, found, strict=True))


def _measured(path: str, looks: bool) -> Measured:
    try:
        content = Path(path).read_bytes()
        image = decode_image(content)
        form, quality = encoding(content)
    except OSError as error:
        return Measured(reason=error.strerror or type(error).__name__)
    except UnreadableImage as error:
        return Measured(reason=str(error))
    return Measured(
        content=hashlib.sha256(content).hexdigest()[:DIGITS],
        size=len(content),
        width=image.shape[1],
        height=image.shape[0],
        format=form,
        quality=quality,
        look=perceptual_hash(image) if looks else None,
        corners=corners(image),
    )


def corners(image: np.ndarray) -> tuple[float, ...]:
    """By CORNERS, how much finer than the whole picture each corner is: logarithms of the ratios
    of their mean second differences. A caption raises one; sharpness alone does not.
    """
    fine = np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    height, width = (max(1, round(n * s)) for n, s in zip(fine.shape, CORNER, strict=True))
    strips = (fine[:height], fine[-height:])
    parts = [part for strip in strips for part in (strip[:, :width], strip[:, -width:])]
    return tuple(float(np.log((part.mean() + 1) / (fine.mean() + 1))) for part in parts)


MEASURES = {
    "file_size": "file size",
    "area": "picture size (area)",
    "aspect": "picture shape (aspect)",
    "jpeg_quality": "JPEG quality",
    "is_jpeg": "file format (JPEG or not)",
    "bytes_per_pixel": "bytes per pixel",
    "face_side": "face size (side of the box)",
    "face_share": "face size (share of picture)",
    "media_area": "size of the original",
    **CORNERS,
}
"""What each row is measured by: column of `table`, and what people call it."""


def table(rows: pd.DataFrame, files: dict[str, Measured]) -> pd.DataFrame:
    """A row a face that could be read: label, split, source, and MEASURES (NaN where unknown)."""
    rows = rows[[not files[path].reason for path in rows["path"]]]
    known = pd.DataFrame([vars(files[path]) for path in rows["path"]], index=rows.index)
    known = known if len(known) else pd.DataFrame(columns=list(vars(Measured())))
    area = (known["width"] * known["height"]).astype(float)
    box, media = _numbers(rows["box"], 4), _numbers(rows["media_size"], 2)
    sides = box[:, 2:] - box[:, :2]
    return rows[["path", "label", "split", "source"]].assign(
        width=known["width"],
        height=known["height"],
        file_size=known["size"].astype(float),
        area=area,
        aspect=known["width"] / known["height"],
        jpeg_quality=known["quality"].astype(float),
        is_jpeg=(known["format"] == "JPEG").astype(float),
        bytes_per_pixel=known["size"] / area,
        face_side=np.sqrt(sides.prod(axis=1)),
        face_share=sides.prod(axis=1) / area.to_numpy(float),
        media_area=media.prod(axis=1),
        **dict(zip(CORNERS, np.array([*known["corners"]], float).reshape(-1, 4).T, strict=True)),
    )


def _numbers(cells: pd.Series, width: int) -> np.ndarray:
    try:
        return manifest.table(cells.to_numpy(object), width)
    except ValueError:  # manifest.examine says which cells are wrong
        return np.full((len(cells), width), np.nan)


def one_line(text: str) -> str:
    """Text that any console can show, on one line: a file may be called anything."""
    return (
        text.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n").replace("\r", "\\r")
    )
