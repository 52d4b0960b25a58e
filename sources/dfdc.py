"""The Deepfake Detection Challenge (DFDC), parts of the full set and the preview.

Obtained on ai.meta.com/datasets/dfdc or kaggle.com/c/deepfake-detection-challenge, by their terms.
Dolhansky et al., The DeepFake Detection Challenge (DFDC) Dataset, arXiv 2006.07397; the preview:
arXiv 1910.08854.

    dfdc_train_part_N/*.mp4, metadata.json   {"a.mp4": {"label": "FAKE", "split": "train",
                                                        "original": "b.mp4"}, ...}
    preview: folders of *.mp4, dataset.json  {"method_A/.../c.mp4": {"label": "fake",
                                              "set": "train", "target_id": 1, "swapped_id": 2}}
    labels.csv                               filename,label with 1 = fake
    the test part's metadata.json            {"a.mp4": {"is_fake": 1, ...}}

A label file speaks for its own folder; any number of parts may lie below the root. A fake goes
where its original goes. Splits are used where they are more than one: all of the published
training parts say "train", which says nothing of test, so that split stays empty.
Traps: the full set does not name its actors, and one may sit for several originals.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from failures import MISSING, Failure
from flags import Prepare
from manifest import FAKE, REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled
from utils import UserError

LABEL_FILES = ("metadata.json", "dataset.json", "labels.csv")
LABELS = {"FAKE": FAKE, "REAL": REAL}
UNKNOWN = -1
FLAGS = {"1": "FAKE", "0": "REAL"}
SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Clip:
    """What a label file says of one clip; label UNKNOWN where it says nothing that is known."""

    name: str
    label: int
    split: str = ""
    original: str = ""
    target: str = ""
    face: str = ""


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a clip: video is its name in its label file, source_video its original's."""
    home = _tree.collection(root)
    tree = _tree.walk(home, labels=LABEL_FILES)
    if not tree.labels:
        raise UserError(
            f"{root}: looked for {', '.join(LABEL_FILES)} in it and below, found "
            f"{_tree.names_in(home)}"
        )
    clips: dict[str, Clip] = {}
    # A CSV knows labels alone.
    for file in sorted(tree.labels, key=lambda file: file.suffix == ".csv"):
        for path, clip in read_labels(file).items():
            known = clips.get(path, clip)
            if {known.label, clip.label} == {REAL, FAKE}:
                raise UserError(f"{path}: is called both real and fake, the last time by {file}")
            clips[path] = together(known, clip)
    clips = {path: of_its_label(clip) for path, clip in clips.items()}
    splits = _splits(clips.values())
    rows, left_out = _rows.rows_of(tree, lambda file, _: _row(file, clips.get(str(file)), splits))
    named = {*map(str, tree.files), *(failure.path for failure in left_out)}
    left_out += [Failure(p, MISSING, "a label file names it") for p in clips if p not in named]
    return _rows.table("dfdc", rows, left_out, [], home)


def together(known: Clip, other: Clip) -> Clip:
    """What two label files say of one clip, the first where both say something."""
    left_open = {field: getattr(known, field) in ("", UNKNOWN) for field in vars(known)}
    return replace(known, **{f: getattr(other, f) for f, is_open in left_open.items() if is_open})


def of_its_label(clip: Clip) -> Clip:
    """A real has no original, whatever stands there."""
    return clip if clip.label == FAKE else replace(clip, original="", face="")


def _row(file: Path, clip: Clip | None, splits: dict[str, set[str]]) -> Row:
    if clip is None:
        raise Unlabelled("no label file names it")
    if clip.label not in LABELS.values():
        raise Unlabelled("its label is neither FAKE nor REAL")
    sides = splits[clip.original or clip.name]
    if len(sides) > 1:
        raise Unlabelled("fakes of its original stand in two splits, and the original in none")
    method = PurePosixPath(clip.name).parts[0] if "/" in clip.name and clip.label == FAKE else ""
    return _rows.medium(
        file,
        clip.label,
        split=min(sides),
        video=clip.name,
        method=method,
        identity=clip.target,
        source_identity=clip.face,
        source_video=clip.original,
    )


def _splits(clips: Any) -> dict[str, set[str]]:
    """Original -> its split, or those of its fakes where no label file names it."""
    own = {clip.name: clip.split for clip in clips}
    if len({split for split in own.values() if split}) < 2:
        return defaultdict(lambda: {""})
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        original = clip.original or clip.name
        splits[original].add(own.get(original, clip.split))
    return splits


# ------------------------------------------------------------------------------ label files


def read_labels(file: Path) -> dict[str, Clip]:
    """Absolute path -> what a label file says; UserError where it is not as published."""
    table = _read_csv(file) if file.suffix == ".csv" else _tree.read_json(file)
    if not isinstance(table, dict) or not all(isinstance(v, dict) for v in table.values()):
        raise UserError(f'{file}: looked for {{"a.mp4": {{"label": "FAKE"}}, ...}}')
    clips = {}
    for key, said in table.items():
        if PurePosixPath(key).is_absolute() or ".." in PurePosixPath(key).parts:
            raise UserError(f"{file}: {key} leads out of its folder: a label file speaks for that")
        clips[str(file.parent / key)] = _clip(key, said, file, table)
    return clips


def _clip(key: str, said: dict[str, Any], file: Path, table: dict[str, Any]) -> Clip:
    split = str(said.get("split") or said.get("set") or "").lower()
    if split and split not in SPLITS:
        raise UserError(f"{file}: {key}: unknown split {split!r}; known are {', '.join(SPLITS)}")
    word = said.get("label", FLAGS.get(str(said.get("is_fake"))))
    label = LABELS.get(str(word).upper(), UNKNOWN)
    return Clip(
        name=_name(key),
        label=label,
        split=SPLITS.get(split, ""),
        original=_original(key, said, table),
        target=_text(said.get("target_id")),
        face=_text(said.get("swapped_id")),
    )


def _original(key: str, said: dict[str, Any], table: dict[str, Any]) -> str:
    """The name of the clip that a fake was made from, where it is said.

    The preview says it by the names: method_A/T/T_C/S_T_C_001.mp4 is made from
    original_videos/T/T_C_001.mp4.
    """
    if said.get("original"):
        return _name(str(said["original"]))
    parts = PurePosixPath(key).parts
    if len(parts) < 2:
        return ""
    original = f"original_videos/{parts[1]}/{parts[-1].partition('_')[2]}"
    return _name(original) if original in table else ""


def _name(key: str) -> str:
    return (PurePosixPath(key).parent / PurePosixPath(key).stem).as_posix()


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _read_csv(file: Path) -> dict[str, dict[str, str]]:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: not a CSV that can be read: {error}") from None
    if not {"filename", "label"} <= set(table):
        raise UserError(f"{file}: looked for filename,label; found {', '.join(table)}")
    pairs = zip(table["filename"], table["label"].str.strip(), strict=True)
    return {name: {"label": FLAGS.get(label, label)} for name, label in pairs}
