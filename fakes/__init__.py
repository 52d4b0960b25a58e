"""A real face -> a self-made fake, so that a detector can be trained from real faces alone.

`fakes.type` names a file of this folder, which defines

    make(image, box, landmarks, random, settings) -> (real, fake)

and whose settings are the group of that name; `both` and `mixed` take turns. The real comes back
too: some recipes change both of a pair, and then say so (`CHANGES_REAL`). One that pastes the face
of another (`NEEDS_DONOR`) is given a sixth argument: how that other is drawn (fakes/donors.py).
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from flags import Fakes


class NoFake(Exception):
    """No fake can be made of this face; it is left out and counted, never called fake."""


@dataclass(frozen=True)
class Donor:
    """Whose face is pasted. image: uint8 RGB [height, width, 3]. landmarks: [5, 2] in it. row:
    its number in the table that it was drawn from.
    """

    image: np.ndarray
    landmarks: np.ndarray
    row: int


Draw = Callable[[np.random.Generator], Donor]
"""Somebody else's real face, by chance. Raises NoFake."""


def make_pair(
    image: np.ndarray,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    random: np.random.Generator,
    settings: Fakes,
    draw: Draw | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The real and a fake of it, uint8 RGB [height, width, 3], by the recipe `settings.type`.

    image: a stored crop. box: [4] left, top, right, bottom of the face in it. landmarks: [5, 2]
    or None. draw: whose face is pasted, where `needs_donors`. Deterministic in the state of
    `random`. Raises NoFake.
    """
    name = settings.type
    if name == "both":
        name = "blend" if random.random() < settings.blend_share else "warp"
    elif name == "mixed":
        name = settings.mix[random.integers(len(settings.mix))]
    recipe = _recipe(name)
    given = (image, box, landmarks, random, getattr(settings, name))
    if not getattr(recipe, "NEEDS_DONOR", False):
        return recipe.make(*given)
    if draw is None:
        raise NoFake(f"{name} pastes the face of another person, and there is none")
    return recipe.make(*given, draw)


def needs_donors(settings: Fakes) -> bool:
    """Whether the face of another person may be asked for."""
    return any(getattr(_recipe(name), "NEEDS_DONOR", False) for name in settings.recipes)


def changes_reals(settings: Fakes) -> bool:
    """Whether the real of a pair may differ from the picture it was made of.

    Then every real has to be the real of a pair: as it was stored it would be told from the fakes
    by what the recipe does to both.
    """
    return any(getattr(_recipe(name), "CHANGES_REAL", False) for name in settings.recipes)


def _recipe(name: str) -> ModuleType:
    return importlib.import_module(f"fakes.{name}")
