"""What lies below the folder of a collection: its photos and films, and what is refused there."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faces.image import SUFFIXES as PHOTOS
from faces.video import SUFFIXES as VIDEOS
from failures import MISSING, SHOWN, UNREADABLE, Failure
from utils import UserError

PHOTO, VIDEO, FRAMES = "photo", "video", "frames"
"""The kinds of media. Frames: a folder of the pictures of one clip."""


@dataclass
class Tree:
    """The media files below `root`, absolute and in order.

    labels: files with the names that were asked for. refused: what is there and must not be read.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)

    def name(self, file: Path) -> str:
        """A file's path below the root, without its suffix: one name a clip."""
        return file.relative_to(self.root).with_suffix("").as_posix()


def kind_of(file: Path | str) -> str:
    """`photo`, `video` or, where the suffix is neither's, nothing."""
    suffix = Path(file).suffix.lower()
    return PHOTO if suffix in PHOTOS else VIDEO if suffix in VIDEOS else ""


# ---------------------------------------------------------------------------------- walking


def walk(root: Path, below: Iterable[str] = ("",), labels: Sequence[str] = ()) -> Tree:
    """The media below `root`, or below some of its folders; hidden names are passed over.

    A link inside the collection stands for a file that has its own place there, so it is taken
    only where it leads to no file that was found: no picture comes twice. One that leads out is
    refused: nobody knows whether that picture belongs to the collection.
    """
    tree = Tree(root)
    home = os.path.realpath(root)
    # By where they are, so that a link to a folder is not that folder twice.
    wanted = {os.path.realpath(root / name): root / name for name in below}
    links = [folder for real, folder in wanted.items() if not Path(real).is_relative_to(home)]
    folders = [folder for folder in wanted.values() if is_dir(folder) and folder not in links]
    walked = set()
    while folders:
        walked.add(os.path.realpath(folder := folders.pop()))
        for entry in _entries(folder, tree):
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.name in labels and not is_dir(path):
                tree.labels.append(path)
            elif entry.is_symlink() and (kind_of(path) or is_dir(path)):
                links.append(path)
            elif kind_of(path):
                _take(path, tree)
    found = {os.path.realpath(file) for file in tree.files}
    for link in sorted(links):
        target = os.path.realpath(link)
        if not Path(target).is_relative_to(home):
            reason = "a link that leads out of the collection: put what it leads to in its place"
            tree.refused.append(Failure(str(link), UNREADABLE, reason))
        elif target not in found and not is_dir(Path(target)):
            found.add(target)
            _take(link, tree)
        elif is_dir(Path(target)) and target not in walked:
            reason = "a link to a folder that is passed over: put that folder in its place"
            tree.refused.append(Failure(str(link), UNREADABLE, reason))
    tree.files.sort()
    tree.labels.sort()
    tree.refused.sort(key=lambda failure: failure.path)
    return tree


def _entries(folder: Path, tree: Tree) -> list[os.DirEntry[str]]:
    """What a folder holds; one that may not be read is refused, and the others are walked."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        reason = f"the folder cannot be read: {error.strerror or type(error).__name__}"
        tree.refused.append(Failure(str(folder), UNREADABLE, reason))
        return []


def is_dir(path: Path) -> bool:
    """Whether a path leads to a folder, as far as we may know."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _take(file: Path, tree: Tree) -> None:
    """Add a file to the tree's, or to those that must not be read."""
    try:
        str(file).encode()
    except UnicodeEncodeError:  # no CSV could be read that holds it
        tree.refused.append(Failure(str(file), UNREADABLE, "its name is no UTF-8: rename it"))
        return
    try:
        is_file, is_there = file.is_file(), file.exists()
    except OSError as error:
        tree.refused.append(Failure(str(file), UNREADABLE, error.strerror or type(error).__name__))
        return
    if is_file:
        tree.files.append(file)
    elif is_there:
        tree.refused.append(Failure(str(file), UNREADABLE, "a device or a pipe, not a file"))
    else:
        tree.refused.append(Failure(str(file), MISSING, "a link that leads to nothing"))


# ----------------------------------------------------------------------- the right folder


def collection(root: str, wanted: Sequence[str] = ()) -> Path:
    """The absolute folder `root`, in which at least one of `wanted` (glob patterns) must lie.

    Raises UserError that says what was looked for and found, and which folder near it is right.
    """
    if not root:
        raise UserError("where is the collection? Set --root to its folder")
    folder = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
    try:
        os.listdir(folder)  # noqa: PTH208 - the error is what is wanted
    except FileNotFoundError:
        raise UserError(f"{root}: no such folder") from None
    except NotADirectoryError:
        raise UserError(
            f"{root}: is a file; unpack it and give the folder that holds the media"
        ) from None
    except OSError as error:
        raise UserError(f"{root}: the folder cannot be read: {error.strerror}") from None
    if wanted and not _holds(folder, wanted):
        near = [f for f in (*folder.parents[:4], *_children(folder)) if _holds(f, wanted)]
        hint = f"; they are in {near[0]}: give that folder" if near else ""
        raise UserError(f"{root}: looked for {' or '.join(wanted)}, found {names_in(folder)}{hint}")
    return folder


def _holds(folder: Path, wanted: Sequence[str]) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in wanted)


def _children(folder: Path, depth: int = 2) -> list[Path]:
    """Folders below, the near ones first; the first hundred of each, for a hint need not be."""
    try:
        with os.scandir(folder) as entries:
            near = sorted(Path(e.path) for e in entries if e.is_dir() and e.name[0] != ".")[:100]
    except OSError:
        return []
    return near + [f for child in near for f in _children(child, depth - 1)] if depth else []


def names_in(folder: Path) -> str:
    """The first names in a folder, for a message."""
    names = sorted(f.name + "/" * is_dir(f) for f in folder.iterdir() if f.name[0] != ".")
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "nothing"


def read_json(file: Path) -> Any:
    """What a JSON holds; UserError names the file and what is wrong with it."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{file}: not a JSON that can be read: {error}") from None
