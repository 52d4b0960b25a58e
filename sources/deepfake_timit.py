"""DeepfakeTIMIT: 320 GAN face swaps in each of two qualities; VidTIMIT's clips are the reals.

Obtained on www.idiap.ch/dataset/deepfaketimit (fakes) and conradsanderson.id.au/vidtimit (reals),
for research only by their terms. Korshunov & Marcel, DeepFakes: a New Threat to Face Recognition?,
arXiv 1812.08685; Sanderson & Lovell, Multi-Region Probabilistic Histograms, ICB 2009.

    {lower_quality,higher_quality}/<subject>/<utterance>-video-<source subject>.avi    all fake
    VidTIMIT, --deepfake_timit.vidtimit:  <subject>/video/<utterance>/001, 002, ...   all real

A fake shows the subject's clip of the utterance with the source subject's face. VidTIMIT's clips
are folders of JPEGs whose names have no suffix. Traps: the collection holds no real; the same 320
swaps stand in both qualities; 16 pairs of people are swapped both ways.
"""

import os
import re
from pathlib import Path

import pandas as pd

from failures import UNREADABLE, Failure
from flags import Prepare
from manifest import FAKE, REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled
from utils import UserError

FAKE_NAME = re.compile(
    r"(?P<quality>lower|higher)_quality/(?P<subject>\w+)/(?P<utterance>\w+)-video-(?P<face>\w+)"
)


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a fake film (video `QUALITY/SUBJECT/NAME`) and a real folder of frames
    (video `vidtimit/SUBJECT/UTTERANCE`)."""
    wanted = settings.deepfake_timit
    folders = [f"{quality}_quality" for quality in dict.fromkeys(wanted.quality)]
    home = _tree.collection(root, folders)
    rows, left_out = _rows.rows_of(_tree.walk(home, folders), _fake)
    notes = [f"not on disk: {name}" for name in folders if not (home / name).is_dir()]
    if wanted.vidtimit:
        reals, refused = vidtimit(wanted.vidtimit)
        rows, left_out = rows + reals, left_out + refused
    else:
        notes.append("fakes only: --deepfake_timit.vidtimit names the folder of the reals")
    return _rows.table("deepfake_timit", rows, left_out, notes, home)


def _fake(file: Path, name: str) -> Row:
    match = FAKE_NAME.fullmatch(name)
    if match is None or _tree.kind_of(file) != _tree.VIDEO:
        raise Unlabelled("no clip <subject>/<utterance>-video-<source subject>")
    return _rows.medium(
        file,
        FAKE,
        video=name.replace("_quality/", "/", 1),
        method="faceswap-GAN",
        identity=match["subject"],
        source_identity=match["face"],
        source_video=f"vidtimit/{match['subject']}/{match['utterance']}",
    )


def vidtimit(root: str) -> tuple[list[Row], list[Failure]]:
    """The rows of VidTIMIT's folders of frames, and the folders that cannot be used."""
    home = _tree.collection(root, ("*/video/*/",))
    inside = os.path.realpath(home)
    rows, refused = [], []
    for folder in sorted(f for f in home.glob("*/video/*") if f.is_dir() and f.name[0] != "."):
        subject, utterance = folder.parts[-3], folder.name
        if not Path(os.path.realpath(folder)).is_relative_to(inside):
            reason = "a link that leads out of the collection: put the folder itself there"
            refused.append(Failure(str(folder), UNREADABLE, reason))
        elif reason := _why_no_frames(folder):
            refused.append(Failure(str(folder), UNREADABLE, reason))
        else:
            clip = {"video": f"vidtimit/{subject}/{utterance}", "identity": subject}
            rows.append(_rows.medium(folder, REAL, **clip) | {"kind": _tree.FRAMES})
    if not rows:
        raise UserError(f"{root}: looked for frames in <subject>/video/<utterance>/, found none")
    return rows, refused


def _why_no_frames(folder: Path) -> str:
    try:
        found = any(f.is_file() and f.name[0] != "." for f in folder.iterdir())
    except OSError as error:
        return f"the folder cannot be read: {error.strerror or type(error).__name__}"
    return "" if found else "a folder without frames"
