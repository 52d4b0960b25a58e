"""A real face -> a self-made fake, so that a detector can be trained from real faces alone.

`fakes.type` names a file of this folder, which defines

    make(image, box, landmarks, random, settings) -> (real, fake)

and whose settings are the group of that name; `both` takes turns between two. The real comes back
too: some recipes change both of a pair, and then say so (`CHANGES_REAL`).
"""

import importlib
from types import ModuleType

import numpy as np

from flags import Fakes


class NoFake(Exception):
    """No fake can be made of this face; it is left out and counted, never called fake."""


def make_pair(
    image: np.ndarray,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    random: np.random.Generator,
    settings: Fakes,
) -> tuple[np.ndarray, np.ndarray]:
    """The real and a fake of it, uint8 RGB [height, width, 3], by the recipe `settings.type`.

    image: a stored crop. box: [4] left, top, right, bottom of the face in it. landmarks: [5, 2]
    or None. Deterministic in the state of `random`. Raises NoFake.
    """
    name = settings.type
    if name == "both":
        name = "blend" if random.random() < settings.blend_share else "warp"
    return _recipe(name).make(image, box, landmarks, random, getattr(settings, name))


def changes_reals(settings: Fakes) -> bool:
    """Whether the real of a pair may differ from the picture it was made of.

    Then every real has to be the real of a pair: as it was stored it would be told from the fakes
    by what the recipe does to both.
    """
    names = ("warp", "blend") if settings.type == "both" else (settings.type,)
    return any(getattr(_recipe(name), "CHANGES_REAL", False) for name in names)


def _recipe(name: str) -> ModuleType:
    return importlib.import_module(f"fakes.{name}")
