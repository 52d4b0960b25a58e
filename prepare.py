"""One collection of pictures -> face crops and a manifest that leaks nobody.

    python prepare.py portraits --out data/portraits --fakes.type warp
    python prepare.py --help

Finds the faces, splits the people, and writes for the reals of val and test one fake each
(`--fakes.type`), through the same encoder; training makes its own on the fly. Stopped and
called again, it goes on where it was.
"""

from pathlib import Path

import numpy as np
import pandas as pd

import manifest
import sources
import splits
import utils
from faces.cache import find_faces
from faces.image import UnreadableImage, read_image, write_image
from failures import NO_FACE, NO_FAKE, UNREADABLE, Failure, check_share, write_failures
from failures import summary as failure_summary
from fakes import NoFake, make_pair
from flags import Fakes, Prepare
from settings import dump, parse
from utils import UserError

KINDS = ("real", "fake")
"""Names of the two of a pair."""


def main(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        print(f"{__doc__}\nsources: {', '.join(sources.known_sources())}")
        print("python prepare.py SOURCE --help says what a source looks like, and all settings.")
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    source = sources.find(argv[0])
    config = parse(Prepare, argv[1:], f"python prepare.py {argv[0]} ...\n\n{source.__doc__}")
    out = Path(config.out or f"data/{argv[0]}")

    pictures = source.index(config.root, config)
    pictures = pictures.drop(columns="kind")
    faces, left_out = stored_faces(pictures, config, out)
    if len(faces) == 0:
        raise UserError(f"{argv[0]}: no face was found in {len(pictures)} pictures")
    if (faces["split"] == "").all():
        split = splits.random_split(faces, config.split, manifest.SPLITS, config.seed)
        faces = faces.assign(split=split)
    if config.fakes.type != "none":
        pairs, without = written_pairs(faces, config, out)
        left_out += without
        faces = pd.concat([faces[faces["split"] == "train"], pairs])
    rows = faces.sort_values(["split", "label", "path"], kind="stable")

    manifest.write(out / "manifest.csv", rows)
    utils.write_atomic(out / "prepare.yaml", dump(config))
    write_failures(out / "left_out.csv", left_out, out.absolute())
    print(summary(pictures, rows, left_out, out))
    return 0


def stored_faces(
    pictures: pd.DataFrame, config: Prepare, out: Path
) -> tuple[pd.DataFrame, list[Failure]]:
    """Rows of the context crops of all faces found, and the pictures that gave none."""
    device = utils.pick_device(config.device)
    found = find_faces(pictures["path"], config.face, out / "faces", device)
    failures = [Failure(f.path, UNREADABLE, f.failure) for f in found.values() if f.failure]
    check_share(failures, len(pictures), config.max_bad)
    rows = []
    for picture in pictures.to_dict("records"):
        of_picture = found[picture["path"]]
        rows += [picture | stored_columns(face, picture["path"]) for face in of_picture.faces]
        if not of_picture.faces and not of_picture.failure:
            failures.append(Failure(picture["path"], NO_FACE, "no face found"))
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*manifest.COLUMNS, *pictures]))), failures


def stored_columns(face: dict, picture: str) -> dict[str, str]:
    """A stored face's columns: the crop is the path, the picture it was cut from the media."""
    return {
        "path": face["file"],
        "box": manifest.cell(face["box"]),
        "landmarks": manifest.cell(face["landmarks"]),
        "confidence": "" if face["confidence"] is None else f"{face['confidence']:.6f}",
        "media": picture,
        "media_box": manifest.cell(face["media_box"]),
        "media_size": " ".join(map(str, face["media_size"])),
    }


def written_pairs(
    faces: pd.DataFrame, config: Prepare, out: Path
) -> tuple[pd.DataFrame, list[Failure]]:
    """The faces of val and test with one fake for each real, written once.

    Both of a pair go through the same encoder the same number of times: were only the fake
    encoded again, a network could tell the two by that.
    """
    rows, failures = [], []
    for face in faces[faces["split"] != "train"].to_dict("records"):
        if face["label"] == manifest.FAKE:
            rows.append(face)
            continue
        stem, suffix = Path(face["path"]).stem, config.face.format
        paths = [(out / "pairs" / f"{stem}_{kind}.{suffix}").absolute() for kind in KINDS]
        try:
            pair = make_fake(face, config.seed, config.fakes)
        except UnreadableImage as error:
            failures.append(Failure(face["path"], UNREADABLE, str(error)))
            continue
        except NoFake as error:
            failures.append(Failure(face["path"], NO_FAKE, str(error)))
            continue
        for path, image in zip(paths, pair, strict=True):
            write_image(path, image)
        real = face | {"path": str(paths[0])}
        made = {"label": manifest.FAKE, "method": config.fakes.type, "source_path": real["path"]}
        rows += [real, face | {"path": str(paths[1])} | made]
    return pd.DataFrame(rows, columns=faces.columns), failures


def make_fake(face: dict, seed: int, settings: Fakes) -> tuple[np.ndarray, np.ndarray]:
    """One stored face and a fake of it; the same for the same picture and seed."""
    key = utils.sha256_text(seed, Path(face["path"]).name)
    random = np.random.default_rng(int(key[:16], 16))
    box, landmarks = manifest.numbers(face["box"]), manifest.numbers(face["landmarks"])
    points = None if landmarks is None else landmarks.reshape(5, 2)
    return make_pair(read_image(face["path"]), box, points, random, settings)


def summary(pictures: pd.DataFrame, rows: pd.DataFrame, left_out: list[Failure], out: Path) -> str:
    lines = [f"[+] Prepared {out / 'manifest.csv'}", f" Pictures : {len(pictures):,}"]
    for name in manifest.SPLITS:
        part = rows[rows["split"] == name]
        fakes = int((part["label"] == manifest.FAKE).sum())
        people = splits.scoped(part, "identity").nunique()
        lines.append(
            f" {name:<8} : {len(part) - fakes:,} real, {fakes:,} fake faces of {people:,} people"
        )
    lines.append(f" {failure_summary(left_out, out / 'left_out.csv').capitalize()}")
    return "\n".join(lines)


if __name__ == "__main__":
    utils.run_command(main)
