r"""Any folder of your own: real/ and fake/ in it, nested as you like, with photos, films or both.

    prepare.py folder --root mine
    prepare.py folder --root mine --folder.pattern '(?P<video>\w+/(?P<identity>[a-z]+)_\d+)/'
    prepare.py folder --root portraits --folder.label real

    mine/real/anna_01/0001.jpg     mine/Fake/faceswap/ben.mp4     mine/train/fake/cleo.png

Obtained by yourself: its licence, its citation, and whether the people on it agreed, are yours to
know; other people's collections mostly have a source of their own here.

A folder called real or fake (in any case) says the label of all below it; a medium below none of
them, or below both, is left out by name. --folder.label labels everything. Traps: without a pattern
nobody knows who is on the pictures, and one person may stand on two sides of a split. Name the
people in the paths, and let --folder.pattern find them (searched for in the path below the root,
with `/`); it may find video, source_identity, source_video and method too. What `video` finds names
one clip of one label and one person: let it find the folders above as well.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from failures import SHOWN
from flags import Folder, Prepare
from manifest import FAKE, REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled
from utils import UserError

LABELS = {"real": REAL, "fake": FAKE}


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a photo or film; a film's video is its path below the root."""
    wanted = settings.folder
    home = _tree.collection(root)
    tree = _tree.walk(home)
    rows, left_out = _rows.rows_of(tree, lambda file, _: _row(file, home, wanted))
    if not rows:
        raise nothing(home)
    refuse_mixed_clips(rows, home)
    return _rows.table(wanted.name, rows, left_out, _notes(rows, wanted), home)


def refuse_mixed_clips(rows: Sequence[Row], home: Path) -> None:
    """Raise UserError where the pattern gives one name to clips of two labels or two persons."""
    for what in ("label", "identity"):
        first: dict[str, Row] = {}
        for row in rows:
            clip = row.get("video")
            other = first.setdefault(clip, row) if clip else row
            if other.get(what) != row.get(what):
                paths = [Path(one["path"]).relative_to(home).as_posix() for one in (other, row)]
                raise UserError(
                    f"folder.pattern: {' and '.join(paths)} are one video {clip!r} by it, and "
                    f"their {what} differs: let (?P<video>...) find the folders above too"
                )


def nothing(home: Path) -> UserError:
    return UserError(
        f"{home}: looked for photos and films below folders real/ and fake/, found "
        f"{_tree.names_in(home)}: make these folders, or label all with source folder and "
        "--folder.label"
    )


def label_of(folders: Sequence[str]) -> int:
    """REAL or FAKE by the folders above a medium; Unlabelled where they do not say it."""
    said = {folder.lower() for folder in folders} & set(LABELS)
    if len(said) != 1:
        raise Unlabelled(
            "lies below both real/ and fake/" if said else "no real/ or fake/ above it"
        )
    return LABELS[said.pop()]


def _row(file: Path, home: Path, wanted: Folder) -> Row:
    path = file.relative_to(home)
    folders = path.parts[:-1]
    if wanted.label:
        label = LABELS[wanted.label]
        if {folder.lower() for folder in folders} & set(LABELS) - {wanted.label}:
            raise Unlabelled(f"lies below the other label than --folder.label {wanted.label}")
    else:
        label = label_of(folders)
    known = {"video": path.as_posix()} if _tree.kind_of(file) == _tree.VIDEO else {}
    match = re.search(wanted.pattern, path.as_posix()) if wanted.pattern else None
    found = {group: text for group, text in match.groupdict().items() if text} if match else {}
    return _rows.medium(file, label, **known | found)


def _notes(rows: Sequence[Row], wanted: Folder) -> list[str]:
    unknown = [row["path"] for row in rows if not row.get("identity")]
    if not wanted.pattern:
        return ["nobody knows who is on the pictures: --folder.pattern finds people in the paths"]
    if unknown:
        first = ", ".join(unknown[:SHOWN])
        return [f"folder.pattern finds nobody in {len(unknown)} of {len(rows)} paths: {first}"]
    return []
