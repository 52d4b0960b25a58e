"""FFHQ photographs and "1 Million Fake Faces" by StyleGAN, or any two folders of such.

FFHQ is obtained on github.com/NVlabs/ffhq-dataset (each photo under its own Creative Commons
licence, partly non-commercial), the fakes on kaggle.com (1 Million Fake Faces; licence as its page
says). Karras, Laine & Aila, A Style-Based Generator Architecture for Generative Adversarial
Networks, CVPR 2019.

    real/*.png    fake/*.jpg     nested as you like

Nobody's name is known, and the photos are taken for one person each. Traps: the two come with
other sizes and encoders, which tells them apart without a look at the face; prepare.py gives both
one encoder, and sizes still differ where the originals do.
"""

from pathlib import Path

import pandas as pd

from flags import Prepare
from manifest import FAKE
from sources import _rows, _tree
from sources._rows import Row, Unlabelled
from sources.folder import label_of, nothing


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a photo: REAL below real/, FAKE below fake/."""
    home = _tree.collection(root)
    rows, left_out = _rows.rows_of(_tree.walk(home), lambda file, _: _row(file, home))
    if not rows:
        raise nothing(home)
    return _rows.table("ffhq", rows, left_out, home=home)


def _row(file: Path, home: Path) -> Row:
    if _tree.kind_of(file) != _tree.PHOTO:
        raise Unlabelled("no photograph")
    label = label_of(file.relative_to(home).parts[:-1])
    return _rows.medium(file, label, method="StyleGAN" if label == FAKE else "")
