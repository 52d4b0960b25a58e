"""Deep Fake Detection (DFD): 28 actors in scenes, 363 clips, and 3,068 face swaps of them.

Given by Google and Jigsaw to FaceForensics++, obtained by its form on
github.com/ondyari/FaceForensics, for research only by its terms. Dufour & Gully, Contributing
Data to Deepfake Detection Research, Google AI blog 2019.

    original_sequences/actors/{raw,c23,c40}/videos/<actor>__<scene>.mp4
    manipulated_sequences/DeepFakeDetection/{raw,c23,c40}/videos/
        <target>_<source>__<scene>__<8 letters or digits>.mp4

A fake shows the target's clip of the scene with the source's face. There is no official split.
Traps: with 28 people who are swapped among each other, nearly all fakes hang together, and a split
that shares no person may put them all on one side: better used for testing alone.
"""

import re
from pathlib import Path

import pandas as pd

from flags import Prepare
from manifest import FAKE, REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled
from utils import UserError

ORIGINALS, FAKES = "original_sequences/actors", "manipulated_sequences/DeepFakeDetection"
REAL_NAME = re.compile(r"(?P<actor>\d+)__(?P<scene>\w+)")
FAKE_NAME = re.compile(r"(?P<actor>\d+)_(?P<face>\d+)__(?P<scene>\w+)__\w{8}")


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a clip: video `actors/QUALITY/NAME` or `DeepFakeDetection/QUALITY/NAME`."""
    home = _tree.collection(root, (ORIGINALS, FAKES))
    folders = [f"{kind}/{q}/videos" for kind in (ORIGINALS, FAKES) for q in settings.dfd.quality]
    tree = _tree.walk(home, folders)
    if not tree.files and not tree.refused:
        there = sorted({f.parts[-2] for f in home.glob("*_sequences/*/*/videos")})
        raise UserError(
            f"{home}: looked for clips in {', '.join(folders)}; found the qualities "
            f"{', '.join(there) or 'none'}: set --dfd.quality"
        )
    rows, left_out = _rows.rows_of(tree, _row)
    notes = [f"not on disk: {name}" for name in folders if not (home / name).is_dir()]
    return _rows.table("dfd", rows, left_out, notes, home)


def _row(file: Path, name: str) -> Row:
    _, folder, quality, _, clip = name.split("/", 4)
    pattern = REAL_NAME if folder == "actors" else FAKE_NAME
    match = pattern.fullmatch(clip)
    if match is None or _tree.kind_of(file) != _tree.VIDEO:
        raise Unlabelled("its name is none of the collection's")
    known = {"video": f"{folder}/{quality}/{clip}", "identity": match["actor"]}
    if pattern is REAL_NAME:
        return _rows.medium(file, REAL, **known)
    original = f"actors/{quality}/{match['actor']}__{match['scene']}"
    made = {"method": folder, "source_identity": match["face"], "source_video": original}
    return _rows.medium(file, FAKE, **known, **made)
