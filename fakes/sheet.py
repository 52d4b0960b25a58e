"""A sheet of self-made fakes beside their reals, to look at before training on them.

    python -m fakes.sheet data/portraits/faces --out sheet.png --fakes.type warp --count 30
    python -m fakes.sheet data/portraits/faces --fakes.type blend   # Shiohara & Yamasaki (2022)
    python -m fakes.sheet data/portraits/faces --fakes.type swap    # another's face (Face X-ray)
    python -m fakes.sheet data/portraits/faces --fakes.type swap \\
        --fakes.swap.donors data/generated/faces.csv       # a face of nobody (fakes/generated.py)
    python -m fakes.sheet data/portraits/faces --fakes.type warp --fakes.warp.align True \\
        --fakes.warp.hull .5                               # the recipe of Li & Lyu (2018)

Takes a folder of stored faces or any pictures with a face; each pair shows the real on the left.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from faces.crop import BoxBeside, NoLandmarks, network_crop
from faces.detector import Detection, make_detector
from faces.image import SUFFIXES, UnreadableImage, read_image, write_image
from fakes import NoFake, make_pair, needs_donors
from fakes.donors import Donors, Either, donors, read_donors
from flags import Sheet
from settings import parse
from utils import UserError, run_command

TILE, COLUMNS = 224, 4
"""Side of one face in pixels, and pairs in a row."""


def main(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        print(__doc__)
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    config = parse(Sheet, argv[1:], __doc__ or "")
    if config.fakes.type == "none":
        raise UserError("fakes.type is none: name a recipe, as --fakes.type warp")
    if not Path(argv[0]).is_dir():
        what = "is a file: name its folder" if Path(argv[0]).exists() else "no such folder"
        raise UserError(f"{argv[0]}: {what}")
    pairs: list[np.ndarray] = []
    # Ten times as many where faces are pasted: else a few would be in all of the pairs.
    enough = config.count * (10 if needs_donors(config.fakes) else 1)
    known = faces_in(sorted(Path(argv[0]).rglob("*")), config, enough)
    given: list[Known] = []
    if config.fakes.donors:
        named = read_donors(config.fakes.donors).rows["path"]
        given = faces_in([Path(path) for path in named], config, enough)
        if not given:
            raise UserError(f"fakes.swap.donors {config.fakes.donors}: no face in its pictures")
    table = table_of(known, given, config.fakes.swap.donated)
    for number, (path, image, face) in enumerate(known):
        if len(pairs) == config.count:
            break
        random = np.random.default_rng([config.seed, number])
        try:
            how = (face.landmarks, config.face.align, config.face.pad)
            both = make_pair(
                image, face.box, face.landmarks, random, config.fakes, table.of(number)
            )
            views = [network_crop(i, face.box, config.face.margin, TILE, TILE, *how) for i in both]
            pairs.append(np.concatenate(views, axis=1))
        except (NoFake, NoLandmarks, BoxBeside) as error:
            print(f"{path}: {error}", file=sys.stderr)
    if not pairs:
        raise UserError(f"{argv[0]}: no picture with a face that a fake can be made of")
    count = len(pairs)
    pairs += [np.full_like(pairs[0], 255)] * (-len(pairs) % COLUMNS)
    rows = [np.concatenate(pairs[i : i + COLUMNS], axis=1) for i in range(0, len(pairs), COLUMNS)]
    write_image(config.out, np.concatenate(rows))
    print(f"{config.out}: {count} pairs, real left, fake right")
    return 0


Known = tuple[Path, np.ndarray, Detection]
"""A picture and its largest face."""


def table_of(known: list[Known], given: list[Known], share: float) -> Donors | Either:
    """Whose faces are pasted: with a chance of `share` one of `given`, where there are some, else
    one of the pictures.
    """
    both = [*known, *given]
    none = np.full((5, 2), np.nan)  # a Haar cascade's
    landmarks = np.array([none if f.landmarks is None else f.landmarks for _, _, f in both])
    pictures, everybody = [image for _, image, _ in both], np.arange(len(both))
    beside = everybody >= len(known)
    own, others = (
        donors(landmarks.reshape(-1, 5, 2), everybody, giving, pictures.__getitem__)
        for giving in (~beside, beside)
    )
    return Either(others, own, share) if given else own


def faces_in(paths: Iterable[Path], config: Sheet, enough: int) -> list[Known]:
    """The largest face of each picture, until there are enough for the sheet."""
    detect = make_detector(config.face)
    found: list[Known] = []
    for path in paths:
        if len(found) == enough:
            break
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            image = read_image(path)
        except UnreadableImage as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        found += [(path, image, face) for face in detect(image)[:1]]
    return found


if __name__ == "__main__":
    run_command(main)
