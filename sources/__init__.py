"""The collections: one file each, what is on disk -> labelled pictures of known people.

A file defines `index(root)`, which returns manifest rows (`path,label,identity,source`, and what
else is known), and says in its docstring where the collection is obtained, its licence and what
its folder looks like.
"""

import difflib
import importlib
from pathlib import Path
from types import ModuleType

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
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "__init__")
