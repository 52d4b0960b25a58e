"""MUCT: 3,755 photographs of 276 people by five cameras in changing light, all real.

Obtained on github.com/StephenMilborrow/muct (muct-a-jpg-v1.tar.gz to muct-e), for academic use; its
terms are on milbo.org/muct. Milborrow, Morkel & Nicolls, The MUCT Landmarked Face Database,
PRASA 2010.

    jpg/i000qa-fn.jpg    person 000, light and camera, female or male, with or without glasses

Each archive unpacks into a folder jpg/; all of them may lie in one or below one root.
"""

import re
from pathlib import Path

import pandas as pd

from flags import Prepare
from manifest import REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled

NAME = re.compile(r"i(?P<person>\d{3})[a-z]{2}-[fm][gn]")


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a photo, identity the three digits after `i`."""
    home = _tree.collection(root)
    rows, left_out = _rows.rows_of(_tree.walk(home), _row)
    return _rows.table("muct", rows, left_out, home=home)


def _row(file: Path, name: str) -> Row:
    match = NAME.fullmatch(file.stem)
    if match is None or _tree.kind_of(file) != _tree.PHOTO:
        raise Unlabelled("no photo iNNN..-.., as i000qa-fn.jpg")
    return _rows.medium(file, REAL, identity=match["person"])
