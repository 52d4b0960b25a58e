"""The collections: one file each, folders on disk -> labelled photos and films of known people.

A file defines `index(root, settings)`, which returns a row a medium (_rows.table has the columns),
and says in its docstring where the collection is obtained, its licence, citation and traps, and
what its folder looks like. Names that begin with `_` are what several of them share.
"""

import difflib
import importlib
from pathlib import Path
from types import ModuleType

import pandas as pd

import manifest
from utils import UserError


def find(name: str) -> ModuleType:
    """The module of sources/NAME.py; an unknown name lists the known ones."""
    if name in known_sources():
        return importlib.import_module(f"sources.{name}")
    near = difflib.get_close_matches(name, known_sources(), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"source {name!r}: known are {', '.join(known_sources())}{hint}")


def known_sources() -> list[str]:
    """Names of the collections: the files of this folder."""
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem[0] != "_")


def overview() -> str:
    """A line a collection: its name and the first sentence of its file."""
    texts = {name: " ".join((find(name).__doc__ or "").split()) for name in known_sources()}
    width = max(map(len, texts))
    return "\n".join(f"  {name:<{width}}  {text.split('. ')[0]}" for name, text in texts.items())


def counts(media: pd.DataFrame) -> pd.DataFrame:
    """How many media there are of each `source, split, label, method, kind`, in a column `n`.

    media: rows of index, also of several collections; label is written real or fake.
    """
    names = {manifest.REAL: "real", manifest.FAKE: "fake"}
    columns = ["source", "split", "label", "method", "kind"]
    named = media[columns].assign(label=media["label"].map(names))
    return named.groupby(columns, sort=True).size().rename("n").reset_index()
