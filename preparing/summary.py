"""The table that prepare.py ends with: what was found, kept, left out, and how it is split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import manifest
import splits
from faces.cache import Found
from faces.clips import FoundClip
from failures import Failure
from failures import summary as failure_summary

NAMES = {"photo": "Photos", "video": "Clips", "frames": "Folders of frames"}


def summary(
    media: pd.DataFrame,
    found: Mapping[str, Found | FoundClip],
    rows: pd.DataFrame,
    left_out: Sequence[Failure],
    notes: Sequence[str],
    out: Path,
) -> str:
    """media: what the source named. found: by path. rows: of the manifest."""
    lines = [f"[+] Prepared {out / 'manifest.csv'}"]
    for kind, name in NAMES.items():
        part = media[media["kind"] == kind]
        if len(part):
            fakes = int((part["label"] == manifest.FAKE).sum())
            lines.append(
                f" {name:<17} : {len(part):,} ({len(part) - fakes:,} real, {fakes:,} fake)"
            )
    clips = [one for one in found.values() if isinstance(one, FoundClip)]
    if clips:
        frames = sum(clip.frames for clip in clips)
        lines.append(f" Frames searched   : {frames:,}")
    sides = [
        max(right - left, bottom - top)
        for left, top, right, bottom in manifest.table(rows["media_box"], 4)
    ]
    low, middle, high = np.nanpercentile(sides, (5, 50, 95))
    lines.append(
        f" Faces kept        : {len(rows):,}, {middle:.0f} px wide (90 %: {low:.0f} to {high:.0f})"
    )
    for name in manifest.SPLITS:
        part = rows[rows["split"] == name]
        fakes = int((part["label"] == manifest.FAKE).sum())
        people = len(set(splits.scoped(part, "identity")) - {""})
        of = f" of {people:,} people" if people else ""
        lines.append(f" {name:<17} : {len(part) - fakes:,} real, {fakes:,} fake faces{of}")
    lines.append(f" {failure_summary(left_out, out / 'left_out.csv').capitalize()}")
    return "\n".join([*lines, *(f" Note: {note}" for note in notes)])
