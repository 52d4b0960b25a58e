"""Celeb-DF, version 1 and 2: interviews of celebrities, face swaps of them, and other people.

Obtained by a form on github.com/yuezunli/celeb-deepfakeforensics, for research only by its terms.
Li et al., Celeb-DF: A Large-scale Challenging Dataset for DeepFake Forensics, CVPR 2020.

    Celeb-real/idA_NNNN.mp4
    Celeb-synthesis/idA_idB_NNNN.mp4      made from idA_NNNN with the face of idB
    YouTube-real/NNNNN.mp4                other people, who have no names
    List_of_testing_videos.txt            lines `1 YouTube-real/00170.mp4`: 1 is REAL, 0 is fake

Clips of the list are the test split; the others have none, and never go to test while the list is
used. Traps: 1 means real, against everybody else; one name may stand in two folders; 56 of the 59
celebrities of version 2 are in the list, so that its clips share people with nearly all others:
--celeb_df.official_test False leaves the split to prepare.py, by people.
"""

import re
from pathlib import Path

import pandas as pd

from failures import MISSING, Failure
from flags import Prepare
from manifest import FAKE, REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled
from utils import UserError

LIST = "List_of_testing_videos.txt"
LIST_LABELS = {"1": REAL, "0": FAKE}
"""The list's own convention, which is ours turned over."""

CELEB = re.compile(r"Celeb-real/(?P<person>id\d+)_\d+")
OTHER = re.compile(r"YouTube-real/\d+")
SYNTHESIS = re.compile(r"Celeb-synthesis/(?P<person>id\d+)_(?P<face>id\d+)_(?P<number>\d+)")


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a clip: video `FOLDER/NAME`; people of YouTube-real are called by their clip."""
    home = _tree.collection(root, ("Celeb-real", "Celeb-synthesis", "YouTube-real"))
    tree = _tree.walk(home)
    rows, left_out = _rows.rows_of(tree, _row)
    videos = {row["video"] for row in rows}
    for row in rows:
        if row.get("source_video", "") not in videos:
            row.pop("source_video", None)  # its people still hold it to its kind
    notes = []
    if settings.celeb_df.official_test and (home / LIST).is_file():
        left_out += _take_list(home / LIST, rows, left_out)
        notes.append(
            "the official test list shares people with the other clips: train on other "
            "collections, or set --celeb_df.official_test False"
        )
    elif settings.celeb_df.official_test:
        notes.append(f"no official split: {LIST} is not there")
    return _rows.table("celeb_df", rows, left_out, notes, home)


def _row(file: Path, name: str) -> Row:
    if _tree.kind_of(file) == _tree.VIDEO:
        if match := CELEB.fullmatch(name):
            return _rows.medium(file, REAL, video=name, identity=match["person"])
        if OTHER.fullmatch(name):
            return _rows.medium(file, REAL, video=name, identity=name)
        if match := SYNTHESIS.fullmatch(name):
            original = f"Celeb-real/{match['person']}_{match['number']}"
            people = {"identity": match["person"], "source_identity": match["face"]}
            made = {"method": "Celeb-synthesis", "source_video": original}
            return _rows.medium(file, FAKE, video=name, **people, **made)
    raise Unlabelled("its name is none of the collection's")


def _take_list(file: Path, rows: list[Row], left_out: list[Failure]) -> list[Failure]:
    """Put the clips of the list into test; returns those that are not on disk."""
    by_path = {row["path"]: row for row in rows}
    named = {failure.path for failure in left_out}
    missing = []
    for path, label in read_list(file).items():
        row = by_path.get(path)
        if row is None:
            if path not in named:
                missing.append(Failure(path, MISSING, f"{LIST} names it"))
        elif row["label"] != label:
            says = "real" if label == REAL else "fake"
            raise UserError(f"{file}: says that {path} is {says}, its folder says it is not")
        else:
            row["split"] = "test"
    return missing


def read_list(file: Path) -> dict[str, int]:
    """Absolute path -> label of the official test list; UserError names a line that is not so."""
    labels: dict[str, int] = {}
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        label, _, name = line.strip().partition(" ")
        path = str(file.parent / name.strip())
        if label not in LIST_LABELS or not name.strip():
            raise UserError(
                f"{file}, line {number}: looked for `1 YouTube-real/00170.mp4`, found {line!r}"
            )
        if labels.setdefault(path, LIST_LABELS[label]) != LIST_LABELS[label]:
            raise UserError(f"{file}, line {number}: {name} is called both real and fake")
    return labels
