"""A real face -> a self-made fake, so that a detector can be trained from real faces alone.

`fakes.type` names a file of this folder, which defines

    make(image, box, landmarks, random, settings) -> (real, fake)

and whose settings are the group of that name. The real comes back too: some recipes treat both
of a pair alike.
"""

import importlib

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
    recipe = importlib.import_module(f"fakes.{settings.type}")
    return recipe.make(image, box, landmarks, random, getattr(settings, settings.type))
