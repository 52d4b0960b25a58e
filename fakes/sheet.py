"""A sheet of self-made fakes beside their reals, to look at before training on them.

    python -m fakes.sheet data/portraits/faces --out sheet.png --fakes.type warp --count 30
    python -m fakes.sheet data/portraits/faces --fakes.type blend   # Shiohara & Yamasaki (2022)
    python -m fakes.sheet data/portraits/faces --fakes.type warp --fakes.warp.align True \\
        --fakes.warp.hull .5                               # the recipe of Li & Lyu (2018)

Takes a folder of stored faces or any pictures with a face; each pair shows the real on the left.
"""

import sys
from pathlib import Path

import numpy as np

from faces.crop import NoLandmarks, network_crop
from faces.detector import make_detector
from faces.image import SUFFIXES, UnreadableImage, read_image, write_image
from fakes import NoFake, make_pair
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
    detect = make_detector(config.face)
    pairs: list[np.ndarray] = []
    for number, path in enumerate(sorted(Path(argv[0]).rglob("*"))):
        if len(pairs) == config.count:
            break
        if path.suffix.lower() not in SUFFIXES:
            continue
        random = np.random.default_rng([config.seed, number])
        try:
            image = read_image(path)
            for face in detect(image)[:1]:
                both = make_pair(image, face.box, face.landmarks, random, config.fakes)
                how = (face.landmarks, config.face.align, config.face.pad)
                views = [
                    network_crop(i, face.box, config.face.margin, TILE, TILE, *how) for i in both
                ]
                pairs.append(np.concatenate(views, axis=1))
        except (UnreadableImage, NoFake, NoLandmarks) as error:
            print(f"{path}: {error}", file=sys.stderr)
    if not pairs:
        raise UserError(f"{argv[0]}: no picture with a face that a fake can be made of")
    count = len(pairs)
    pairs += [np.full_like(pairs[0], 255)] * (-len(pairs) % COLUMNS)
    rows = [np.concatenate(pairs[i : i + COLUMNS], axis=1) for i in range(0, len(pairs), COLUMNS)]
    write_image(config.out, np.concatenate(rows))
    print(f"{config.out}: {count} pairs, real left, fake right")
    return 0


if __name__ == "__main__":
    run_command(main)
