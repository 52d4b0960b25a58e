"""UADFV: 49 clips from YouTube and a face swap of each, made with FakeApp.

Obtained by its authors' form, linked as UADFV under Datasets on github.com/SCLBD/DeepfakeBench; no
licence is published: for research, as the authors allow it to you. Yang, Li & Lyu, Exposing Deep
Fakes Using Inconsistent Head Poses, ICASSP 2019.

    real/0000.mp4
    fake/0000_fake.mp4

The number pairs a fake with its real. People have no names. Traps: the same person's face was put
on all fakes, so that they share it across any split.
"""

import re
from pathlib import Path

import pandas as pd

from flags import Prepare
from manifest import FAKE, REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled

NAME = re.compile(r"(?:real/(?P<real>\d+)|fake/(?P<fake>\d+)_fake)")


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a clip: video `real/NNNN` or `fake/NNNN_fake`, linked by the number."""
    home = _tree.collection(root, ("real", "fake"))
    rows, left_out = _rows.rows_of(_tree.walk(home), _row)
    return _rows.table("uadfv", rows, left_out, home=home)


def _row(file: Path, name: str) -> Row:
    match = NAME.fullmatch(name)
    if match is None or _tree.kind_of(file) != _tree.VIDEO:
        raise Unlabelled("no clip real/NNNN or fake/NNNN_fake")
    if match["real"]:
        return _rows.medium(file, REAL, video=f"real/{match['real']}")
    original = f"real/{match['fake']}"
    return _rows.medium(
        file, FAKE, video=f"fake/{match['fake']}_fake", method="FakeApp", source_video=original
    )
