"""One collection of photos and films -> face crops and a manifest that leaks nobody.

    python prepare.py portraits --out data/portraits --fakes.type warp
    python prepare.py faceforensics --root ff --faceforensics.splits splits --out data/ff
    python prepare.py folder --root mine --frames.count 16 --face.select all
    python prepare.py check data/portraits/manifest.csv
    python prepare.py merge A.csv B.csv --out C.csv
    python prepare.py overlap A.csv B.csv
    python prepare.py --help
    python prepare.py SOURCE --help

Finds the faces, follows each person through a clip, splits the people, and writes for the reals of
val and test one fake each (`--fakes.type`), through the same encoder; training makes its own on the
fly. Stopped and called again, it goes on where it was.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

import manifest
import sources
import splits
import utils
from audit import commands, duplicates
from balance import balance
from faces.image import UnreadableImage, read_image, write_image
from failures import NO_FAKE, UNREADABLE, Failure, check_share, write_failures
from fakes import Draw, NoFake, make_pair, needs_donors
from fakes.donors import Donors, donors
from flags import Fakes, Prepare, Split
from metrics import grouping
from preparing.rows import face_rows
from preparing.search import search
from preparing.summary import summary
from report.classes import save_classes
from settings import dump, parse, read_yaml
from utils import UserError, cores

KINDS = ("real", "fake")
"""Names of the two of a pair."""


def main(argv: list[str]) -> int:
    if argv and argv[0] in commands.COMMANDS:
        return commands.run(argv)
    if not argv or argv[0].startswith("-"):
        print(f"{__doc__}\n{sources.overview()}")
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    source = sources.find(argv[0])
    config = parse(Prepare, argv[1:], f"python prepare.py {argv[0]} ...\n\n{source.__doc__}")
    out = Path(config.out or f"data/{argv[0]}")
    if out.exists() and not out.is_dir():
        raise UserError(f"out {out}: Not a directory: name another, or a new one")
    refuse_within(out, config.root)
    if config.fakes.donors:
        raise UserError(
            "fakes.swap.donors is for training: here each split pastes its own reals, so leave it "
            "empty"
        )

    media = source.index(config.root, config)
    left_out, notes = list(media.attrs.get("left_out", [])), list(media.attrs.get("notes", []))
    listed = out / "left_out.csv"
    write_failures(listed, left_out, out.absolute())
    check_share(left_out, len(media), config.max_bad, "max_bad")  # before hours of search, too
    found = search(media, config, out)
    faces, without = face_rows(media, found)
    left_out += without
    write_failures(listed, left_out, out.absolute())  # there too where the run ends here
    check_share(left_out, len(media), config.max_bad, "max_bad")
    if len(faces) == 0:
        raise UserError(f"{argv[0]}: no face was found in {len(media)} files; {listed} says why")
    faces = duplicates.with_near_duplicates(faces, config.near_duplicates, cores())
    faces, of_split = splits.with_splits(faces, rule_for(faces, config.split), config.seed)
    faces, twice = each_once(faces)
    faces, dropped, of_balance = balance(faces, config.balance.how, config.seed)
    notes += [
        *of_split,
        *twice,
        *of_balance,
        *([f"balance left out {dropped:,} faces"] if dropped else []),
    ]
    if config.fakes.type != "none":
        pairs, without = written_pairs(faces, config, out)
        left_out += without
        write_failures(listed, left_out, out.absolute())
        notes += [
            f"{name} has no row left: no fake could be made of its faces ({listed} says why)"
            for name in sorted(set(faces["split"]) - {"train"} - set(pairs["split"]))
        ]
        faces = pd.concat([faces[faces["split"] == "train"], pairs])
        if len(faces) == 0:
            raise UserError(f"{argv[0]}: not one fake could be made; {listed} says why")
    rows = in_order(faces)

    write_splits(rows, config, out)
    manifest.write(out / "manifest.csv", rows)
    utils.write_atomic(out / "prepare.yaml", dump(config))
    save_classes(rows, out / "classes.png")
    write_failures(listed, left_out, out.absolute())
    print(summary(media, found, rows, left_out, notes, out))
    return 0


def refuse_within(out: Path, root: str) -> None:
    """Raise UserError where the faces would be written into the collection: the next call would
    take them for pictures of it, and its own fakes for whatever lies there.
    """
    if root and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(root)):
        raise UserError(f"out {out} lies in root {root}: name a folder outside of it by --out")


def each_once(faces: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Without second rows of one face, as of a photo that lies there under two names; and a note.
    After the split, that both names tie persons together.
    """
    first = ~faces.duplicated(manifest.SAME_FACE)
    twice = int((~first).sum())
    note = [f"{twice:,} faces are there twice, in pictures that are the same: taken once"]
    return faces[first].reset_index(drop=True), note if twice else []


def outdated(out: Path, config: Prepare) -> None:
    """Take away a manifest of other settings before a picture of it changes, and the CSVs of its
    splits: were this run stopped, they would describe others.
    """
    before = out / "prepare.yaml"
    if before.is_file() and before.read_text(encoding="utf-8") != dump(config):
        for name in ("manifest", *(manifest.SPLITS if wrote_splits(out) else ())):
            (out / f"{name}.csv").unlink(missing_ok=True)


def wrote_splits(out: Path) -> bool:
    """Whether an earlier call wrote the CSVs of splits there: others may be somebody's own."""
    before = out / "prepare.yaml"
    return before.is_file() and read_yaml(str(before)).get("separate_csv") is True


def write_splits(rows: pd.DataFrame, config: Prepare, out: Path) -> None:
    """A CSV a split where that is wanted; those of an earlier call, of other splits, go."""
    ours = wrote_splits(out)
    for name in manifest.SPLITS:
        own, file = rows[rows["split"] == name], out / f"{name}.csv"
        if config.separate_csv and len(own):
            manifest.write(file, own)
        elif ours:
            file.unlink(missing_ok=True)


def in_order(faces: pd.DataFrame) -> pd.DataFrame:
    """Rows by split and label, photos by their file, and of films by clip, frame and track: their
    files are named by where the clip lies, and whoever draws rows would draw others elsewhere.
    """
    frame = pd.to_numeric(faces["frame"], errors="coerce")
    keys = faces.assign(clip=splits.scoped(faces, "video"), frame=frame).reset_index(drop=True)
    keys = keys.sort_values(["split", "label", "clip", "frame", "track", "path"], kind="stable")
    return faces.iloc[keys.index]


def rule_for(faces: pd.DataFrame, settings: Split) -> Split:
    """What `auto` means here: the collection's own split where it has one, and trains at all."""
    if settings.rule != "auto":
        return settings
    has_one = bool((faces["split"] != "").any()) and settings.shares[2] < 1
    return settings.model_copy(update={"rule": "official" if has_one else "ratio"})


def written_pairs(
    faces: pd.DataFrame, config: Prepare, out: Path
) -> tuple[pd.DataFrame, list[Failure]]:
    """The faces of val and test with one fake for each real, written once.

    Both of a pair go through the same encoder the same number of times: were only the fake
    encoded again, a network could tell the two by that.
    """
    rows, failures, written = [], [], False
    kept = faces[faces["split"] != "train"].reset_index(drop=True)
    pasted = donors_of(kept, config.fakes)
    names = splits.names_in_clips(kept)
    for number, face in enumerate(kept.to_dict("records")):
        if face["label"] == manifest.FAKE:
            rows.append(face)
            continue
        stem, suffix = Path(face["path"]).stem, config.face.format
        paths = [(out / "pairs" / f"{stem}_{kind}.{suffix}").absolute() for kind in KINDS]
        try:
            drawn = pasted[face["split"]].of(number) if pasted else None
            name = names[number] or Path(face["path"]).name
            pair = make_fake(face, name, config.seed, config.fakes, drawn)
        except UnreadableImage as error:
            failures.append(Failure(face["path"], UNREADABLE, str(error)))
            continue
        except NoFake as error:
            failures.append(Failure(face["path"], NO_FAKE, str(error)))
            continue
        if not written:
            outdated(out, config)
            written = True
        for path, image in zip(paths, pair, strict=True):
            write_image(path, image)
        real = face | {"path": str(paths[0])}
        made = {"label": manifest.FAKE, "method": config.fakes.type, "source_path": real["path"]}
        rows += [real, face | {"path": str(paths[1])} | made]
    return pd.DataFrame(rows, columns=faces.columns), failures


def donors_of(faces: pd.DataFrame, settings: Fakes) -> dict[str, Donors]:
    """Whose faces a recipe may paste: for each split its own reals, that none meets another's."""
    if not needs_donors(settings):
        return {}
    landmarks = manifest.table(faces["landmarks"], 10).reshape(-1, 5, 2)
    groups, _ = grouping(faces)
    files = faces["path"].tolist()

    def read(row: int) -> np.ndarray:
        return read_image(files[row])

    real = faces["label"].to_numpy(int) == manifest.REAL
    return {
        name: donors(landmarks, groups, real & (faces["split"] == name).to_numpy(), read)
        for name in faces["split"].unique()
    }


def make_fake(
    face: dict, name: str, seed: int, settings: Fakes, draw: Draw | None
) -> tuple[np.ndarray, np.ndarray]:
    """One stored face and a fake of it; the same for the same name and seed."""
    key = utils.sha256_text(seed, name)
    random = np.random.default_rng(int(key[:16], 16))
    box, landmarks = manifest.numbers(face["box"]), manifest.numbers(face["landmarks"])
    points = None if landmarks is None else landmarks.reshape(5, 2)
    return make_pair(read_image(face["path"]), box, points, random, settings, draw)


if __name__ == "__main__":
    utils.run_command(main)
