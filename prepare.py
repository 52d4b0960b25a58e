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

import dataset
import manifest
import sources
import utils
from dataset import Failure
from faces.cache import find_faces
from faces.image import read_image, write_image
from fakes.warp import NoFaceRegion, warp
from flags import Fakes, Prepare, dump, parse
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

    pictures = source.index(config.root)
    faces, left_out = stored_faces(pictures, config, out)
    if len(faces) == 0:
        raise UserError(f"{argv[0]}: no face was found in {len(pictures)} pictures")
    split = manifest.random_split(faces, config.split, manifest.SPLITS, config.seed)
    faces = faces.assign(split=split)
    if config.fakes.type != "none":
        pairs, without = written_pairs(faces, config, out)
        left_out += without
        faces = pd.concat([faces[faces["split"] == "train"], pairs])
    rows = faces.sort_values(["split", "label", "path"], kind="stable")

    manifest.write(out / "manifest.csv", rows)
    utils.write_atomic(out / "prepare.yaml", dump(config))
    table = pd.DataFrame([vars(f) for f in left_out], columns=["path", "reason"])
    utils.write_atomic(out / "left_out.csv", table.to_csv(index=False, lineterminator="\n"))
    print(summary(pictures, rows, left_out, out))
    return 0


def stored_faces(
    pictures: pd.DataFrame, config: Prepare, out: Path
) -> tuple[pd.DataFrame, list[Failure]]:
    """Rows of the context crops of all faces found, and the pictures that gave none."""
    device = utils.pick_device(config.device)
    found = find_faces(pictures["path"], config.face, out / "faces", device)
    failures = [Failure(f.path, f.failure) for f in found.values() if f.failure]
    dataset.check_share(failures, len(pictures), config.max_bad)
    rows = []
    for picture in pictures.to_dict("records"):
        faces = dataset.rows_of(picture, found[picture["path"]], no_face="drop")
        rows += [face | {"path": face.pop("file")} for face in faces]
        if not faces and not found[picture["path"]].failure:
            failures.append(Failure(picture["path"], dataset.NO_FACE))
    return pd.DataFrame(rows, columns=list(manifest.COLUMNS)), failures


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
        image = read_image(face["path"])
        try:
            fake = make_fake(image, face, config.seed, config.fakes)
        except NoFaceRegion as error:
            failures.append(Failure(face["path"], str(error)))
            continue
        write_image(paths[0], image)
        write_image(paths[1], fake)
        real = face | {"path": str(paths[0])}
        made = {"label": manifest.FAKE, "method": config.fakes.type, "source_path": real["path"]}
        rows += [real, face | {"path": str(paths[1])} | made]
    return pd.DataFrame(rows, columns=list(manifest.COLUMNS)), failures


def make_fake(image: np.ndarray, face: dict, seed: int, settings: Fakes) -> np.ndarray:
    """The fake of one stored face; the same for the same picture and seed."""
    key = utils.sha256_text(seed, Path(face["path"]).name)
    random = np.random.default_rng(int(key[:16], 16))
    return warp(image, manifest.numbers(face["box"]), random, settings)


def summary(pictures: pd.DataFrame, rows: pd.DataFrame, left_out: list[Failure], out: Path) -> str:
    lines = [f"[+] Prepared {out / 'manifest.csv'}", f" Pictures : {len(pictures):,}"]
    for name in manifest.SPLITS:
        part = rows[rows["split"] == name]
        fakes = int((part["label"] == manifest.FAKE).sum())
        people = manifest.scoped(part, "identity").nunique()
        lines.append(
            f" {name:<8} : {len(part) - fakes:,} real, {fakes:,} fake faces of {people:,} people"
        )
    no_face = sum(failure.reason == dataset.NO_FACE for failure in left_out)
    lines.append(
        f" Left out : {no_face} without a face, {len(left_out) - no_face} for other reasons"
        f" ({out / 'left_out.csv'})"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    utils.run_command(main)
