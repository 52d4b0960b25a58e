"""FaceForensics++: 1,000 YouTube clips and five manipulations of each.

Obtained by a form on github.com/ondyari/FaceForensics; its authors then send the address of the
server, from which `python -m fetch.faceforensics` fetches clips. For research only, by the terms
that come with it. Roessler et al., FaceForensics++: Learning to Detect Manipulated Facial
Images, ICCV 2019; FaceShifter: Li et al., CVPR 2020.

    original_sequences/youtube/{raw,c23,c40}/videos/NNN.mp4
    manipulated_sequences/{Deepfakes,...}/{raw,c23,c40}/videos/TTT_SSS.mp4

A fake TTT_SSS shows the person of the clip TTT with the face (or expression) of SSS. The official
split goes by pairs: train.json, val.json and test.json of the authors' repository hold 360, 70 and
70 of them, and --faceforensics.splits names their folder. Without it split stays empty; then the
two people of a fake, and the clip it was made from, hold together what belongs together.
Traps: people are known by the number of their clip alone, so that somebody who is in two YouTube
clips counts as two; masks/ holds no faces and is passed over.
"""

import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pandas as pd

from flags import FaceForensics, Prepare
from manifest import FAKE, REAL, SPLITS
from sources import _rows, _tree
from sources._rows import Row, Unlabelled
from utils import UserError

ORIGINALS, MANIPULATED = "original_sequences", "manipulated_sequences"


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a clip: video `METHOD/QUALITY/NAME`, identity TTT, source_identity SSS.

    Clips that the official splits name but that are not on disk are no failures: few fetch all.
    """
    wanted = settings.faceforensics
    home = _tree.collection(root, (ORIGINALS, MANIPULATED))
    folders = folders_of(wanted)
    tree = _tree.walk(home, folders)
    splits = read_splits(Path(wanted.splits)) if wanted.splits else {}
    if not tree.files and not tree.refused:
        raise _nothing(home, folders)
    rows, left_out = _rows.rows_of(tree, lambda file, name: _row(file, name, splits))
    notes = [f"not on disk: {name}" for name in folders if not (home / name).is_dir()]
    if not splits:
        notes.append(
            "no official split: --faceforensics.splits names the folder of train.json, val.json "
            "and test.json"
        )
    return _rows.table("faceforensics", rows, left_out, notes, home)


def folders_of(wanted: FaceForensics) -> list[str]:
    """Where the clips are that the settings ask for, below the root."""
    originals = [f"{ORIGINALS}/youtube/{quality}/videos" for quality in wanted.quality]
    fakes = product(wanted.methods, wanted.quality)
    return originals + [f"{MANIPULATED}/{method}/{quality}/videos" for method, quality in fakes]


def _row(file: Path, name: str, splits: dict[str, str]) -> Row:
    kind, method, quality, _, clip = name.split("/", 4)
    form = r"(\d{3})" if kind == ORIGINALS else r"(\d{3})_(\d{3})"
    people = re.fullmatch(form, clip)
    if people is None or _tree.kind_of(file) != _tree.VIDEO:
        raise Unlabelled(f"no clip {'NNN' if kind == ORIGINALS else 'TTT_SSS'}")
    sides = {splits.get(person, "") for person in people.groups()}
    if splits and "" in sides:
        raise Unlabelled("no official split names it")
    if len(sides) > 1:
        raise Unlabelled("its two people stand in two official splits")
    target, *source = people.groups()
    known = {"video": f"{method}/{quality}/{clip}", "identity": target, "split": min(sides)}
    if source:
        known |= {"method": method, "source_identity": source[0]}
        known |= {"source_video": f"youtube/{quality}/{target}"}
    return _rows.medium(file, FAKE if source else REAL, **known)


def read_splits(folder: Path) -> dict[str, str]:
    """Person -> split, of the official files: lists of pairs, as [["071", "054"], ...]."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        file = folder / f"{split}.json"
        if not file.is_file():
            raise UserError(f"{file}: no such file; --faceforensics.splits names its folder")
        pairs = _tree.read_json(file)
        if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
            raise UserError(f'{file}: looked for pairs of clips, as [["071", "054"], ...]')
        for person in (person for pair in pairs for person in pair):
            if splits.setdefault(person, split) != split:
                raise UserError(f"{file}: {person} is in {splits[person]}.json too")
    return splits


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)


def _nothing(home: Path, folders: Iterable[str]) -> UserError:
    """Says which methods and qualities are there, where those that were asked for are not."""
    there = sorted("/".join(f.parts[-3:-1]) for f in home.glob("*_sequences/*/*/videos"))
    return UserError(
        f"{home}: looked for clips in {', '.join(folders)}; found {', '.join(there) or 'none'}: "
        "set --faceforensics.quality and --faceforensics.methods"
    )
