"""Photographs of faces from Unsplash, as `python -m fetch.unsplash` downloaded them, all real.

Obtained with a free key of unsplash.com/developers; Unsplash License, and the terms of its API:
read them before you train on the photos. There is no paper to cite; the CSV of the download names
each photographer, to be credited.

    links.csv, ID.jpg ...

Each photo is taken for a person of its own. Traps: a search finds drawings, masks and statues too;
some photos may be retouched or made by a machine; one photographer may show one person often.
"""

from pathlib import Path

import pandas as pd

from failures import MISSING, Failure
from fetch.unsplash import read_links
from flags import Prepare
from manifest import REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled

LINKS = "links.csv"


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a photo that the CSV says was downloaded; identity is the photo's id."""
    home = _tree.collection(root, () if settings.unsplash.links else (LINKS,))
    links = read_links(Path(settings.unsplash.links or home / LINKS))
    done = {str(home / link["file"]): link["id"] for link in links if link["sha256"]}
    rows, left_out = _rows.rows_of(_tree.walk(home), lambda file, _: _row(file, done))
    named = {row["path"] for row in rows} | {failure.path for failure in left_out}
    left_out += [Failure(path, MISSING, "the CSV names it") for path in done if path not in named]
    waiting = len(links) - len(done)
    notes = [f"{waiting} of {len(links)} links are not downloaded yet"] if waiting else []
    return _rows.table("unsplash", rows, left_out, notes, home)


def _row(file: Path, done: dict[str, str]) -> Row:
    if str(file) not in done:
        raise Unlabelled("the CSV does not say that it was downloaded")
    return _rows.medium(file, REAL, identity=done[str(file)])
