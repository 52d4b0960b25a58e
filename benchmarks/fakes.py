"""How fast a real and its fake are made, against a plain reading of the paper and against training.

    python -m benchmarks.fakes
    python -m benchmarks.fakes --pairs 400 --rounds 7

Five candidates, in turns, so that a machine that slows down slows all of them:

- ours: `fakes.blend` on one core, stored faces in, pairs out;
- the release's: now blend, now swap, as `configs/release.yaml` has it, on one core;
- whole samples: at this size by configs/SBI.yaml, as a worker of train.py makes them on one core:
  the stored face read, its pair made, both cropped and augmented, JPEG among it;
- straightforward: the steps of the paper as they are written, one float array of the whole picture
  after another, the mask bent and blurred at the picture's size by SciPy, on one core (the
  authors' own code takes OpenCV for some of them, and is faster than this);
- training: EfficientNet-Lite0 at 224 px, forward, backward and step, on all cores, what it
  consumes of pairs (two pictures each). Ours must keep up with two cores.

The faces are the installed portraits, each in its stored crop.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from scipy import ndimage

import manifest
import networks
import sources.portraits
import utils
from batches import Batch
from dataset import FaceDataset
from faces.crop import StoredFace, store
from faces.detector import make_detector
from faces.image import read_image, write_image
from fakes import NoFake, make_pair
from fakes.blend import make
from fakes.donors import donors
from fakes.outline import outline
from flags import Blend, Config, Face, InputSize, Model, Optimizer, Prepare
from processes import Processes
from settings import load
from training.optimizer import make_optimizer
from training.step import Step

BATCH, SIDE = 32, 224
CONFIGS = Path(__file__).parent.parent / "configs"


def straightforward(face: StoredFace, random: np.random.Generator) -> tuple:
    """One pair, each step of the paper by itself, all of the picture, in float64."""
    image, size = face.image.astype(float), face.image.shape[:2]
    source, target = image, image
    changed = image + random.uniform(-20, 20, 3)
    changed = changed.clip(0, 255) * random.uniform(0.9, 1.1) + random.uniform(-0.1, 0.1) * 255
    changed = changed.clip(0, 255)
    if random.random() < 0.5:
        factor = int(random.choice([2, 4]))
        small = changed[::factor, ::factor]
        zoom = (size[0] / small.shape[0], size[1] / small.shape[1], 1)
        changed = ndimage.zoom(small, zoom, order=1)
    else:
        kernel = np.full((3, 3), -1.0)
        kernel[1, 1] = 8 + random.uniform(0.5, 1)
        sharp = np.stack([ndimage.convolve(changed[..., c], kernel) for c in range(3)], axis=2)
        share = random.uniform(0.2, 0.5)
        changed = ((1 - share) * changed + share * sharp).clip(0, 255)
    if random.random() < 0.5:
        source = changed
    else:
        target = changed
    mask = np.zeros(size)
    cv2.fillConvexPoly(mask, np.round(outline(face.landmarks, "face")).astype(np.int32), 1.0)
    scale = random.uniform(0.95, 1 / 0.95, 2)
    shift = random.uniform(-1, 1, 2) * [0.015 * size[0], 0.03 * size[1]]
    moved = [
        ndimage.affine_transform(layer, np.diag(1 / scale), -shift / scale, order=1, mode="nearest")
        for layer in (*np.moveaxis(source, 2, 0), mask)
    ]
    source, mask = np.stack(moved[:3], axis=2), moved[3]
    bend = [50 * ndimage.gaussian_filter(random.uniform(-1, 1, size), 7) for _ in range(2)]
    where = np.indices(size) + np.stack(bend)
    mask = ndimage.map_coordinates(mask, where, order=1)
    mask = ndimage.gaussian_filter(mask, random.uniform(1, 4))
    mask = (mask >= 0.999 * mask.max()).astype(float)
    mask = ndimage.gaussian_filter(mask, random.uniform(5, 12))
    mask = (mask / mask.max())[..., None] * random.choice([0.25, 0.5, 0.75, 1, 1, 1])
    fake = mask * source + (1 - mask) * target
    return target.round().astype(np.uint8), fake.round().astype(np.uint8)


def training() -> Callable[[int], None]:
    """A function that takes so many steps of EfficientNet-Lite0, as train.py takes them."""
    device = torch.device("cpu")
    config = Config(optimizer=Optimizer(type="SGD", lr=1e-3))
    network = networks.build(
        "EfficientNetLite", Model(), 2, 0.0, InputSize(height=SIDE, width=SIDE)
    ).to(memory_format=torch.channels_last)
    precision, why = utils.pick_precision("auto", device)
    print(f"EfficientNet-Lite0, {SIDE} px, batch {BATCH}, {torch.get_num_threads()} threads, {why}")
    optimizer = make_optimizer(network, config)
    step = Step(network, optimizer, config, None, precision, Processes(device), print)
    step.begin(1)
    images = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.arange(BATCH) % 2

    def run(steps: int) -> None:
        for number in range(steps):
            step([Batch(images, labels, torch.arange(BATCH))], number)

    return run


def stored_portraits(count: int) -> list[StoredFace]:
    detect, faces = make_detector(Face()), []
    for path in sources.portraits.index("", Prepare())["path"][:count]:
        image = read_image(path)
        faces += [store(image, face, 2.0, 512) for face in detect(image)[:1]]
    return faces


def written(faces: Sequence[StoredFace], folder: Path) -> FaceDataset:
    """The stored faces in files, read as training reads them."""
    config = load(Config, str(CONFIGS / "SBI.yaml"))
    rows = []
    for number, face in enumerate(faces):
        file = str(folder / f"{number}.jpg")
        write_image(Path(file), face.image)
        cells = {"file_box": face.box, "file_landmarks": face.landmarks}
        known = {name: manifest.cell(values) for name, values in cells.items()}
        rows.append({"path": file, "file": file, "label": manifest.REAL, **known})
    size = InputSize(height=SIDE, width=SIDE)
    augment = config.augment
    return FaceDataset(pd.DataFrame(rows), config.face, size, fakes=config.fakes, augment=augment)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def measure(folder: Path) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=200, help="of ours, for each measurement")
    parser.add_argument("--steps", type=int, default=4, help="of training, for each measurement")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    faces = stored_portraits(40)
    run, slow_pairs = training(), max(1, given.pairs // 10)

    def ours() -> float:
        for number in range(given.pairs):
            face = faces[number % len(faces)]
            random = np.random.default_rng(number)
            make(face.image, face.box, face.landmarks, random, Blend())
        return given.pairs

    everybody = np.arange(len(faces))
    landmarks = np.stack([face.landmarks for face in faces])
    whose = donors(landmarks, everybody, everybody >= 0, lambda row: faces[row].image)
    recipe = load(Config, str(CONFIGS / "release.yaml")).fakes

    def mixed() -> float:
        made = 0
        for number in range(given.pairs):
            face, row = faces[number % len(faces)], number % len(faces)
            random = np.random.default_rng(number)
            with contextlib.suppress(NoFake):
                make_pair(face.image, face.box, face.landmarks, random, recipe, whose.of(row))
                made += 1
        return made

    files = written(faces, folder)

    def samples() -> float:
        return sum(isinstance(files[n, n % len(faces)], list) for n in range(given.pairs // 4))

    def plain() -> float:
        for number in range(slow_pairs):
            straightforward(faces[number % len(faces)], np.random.default_rng(number))
        return slow_pairs

    def consumed() -> float:
        run(given.steps)
        return given.steps * BATCH / 2

    candidates = {"ours, one core": ours, "the release's, one core": mixed,
                  "whole samples, one core": samples,
                  "straightforward, one core": plain, "training consumes": consumed}  # fmt: skip
    for work in candidates.values():
        work()
    rounds = []
    for _ in range(given.rounds):
        speeds = {}
        for name, work in candidates.items():
            start = time.perf_counter()
            speeds[name] = work() / (time.perf_counter() - start)
        rounds.append(speeds)
    for name in candidates:
        print(f"  {name:<34} {statistics.median(r[name] for r in rounds):7.1f} pairs/s")
    for one, other, aim in (
        ("ours, one core", "straightforward, one core", 5),
        ("ours, one core", "training consumes", 1),
        ("the release's, one core", "training consumes", 1),
        ("whole samples, one core", "training consumes", 1),
    ):
        ratios = [r[one] / r[other] for r in rounds]
        print(
            f"  {one + ' / ' + other:<58} {statistics.median(ratios):.3f}  "
            f"(range {min(ratios):.3f} to {max(ratios):.3f}, aim {aim:g})"
        )


if __name__ == "__main__":
    main()
