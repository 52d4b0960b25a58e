"""What a manifest of a million faces costs: seconds to the first batch, bytes a row, memory.

    python -m benchmarks.scale
    python -m benchmarks.scale --rows 100000 --files 1000 --epochs 2

The rows are a collection on paper: each has a path of its own that can be read, but the paths lead
to a few small JPEG files (links to their folder). Every step is one that train.py takes before its
first batch. Seconds are printed as ratios to pandas.read_csv of the same file and, for each row,
to the same step with few rows: 1 means that the step grows no faster than the data. Memory is what
the main process has resident after the step, beyond what it had before the first.
"""

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import psutil
import torch

import dataset
import manifest
import seen
import sources.portraits
import splits
from batches import EpochBatches, make_loader
from faces.image import read_image
from flags import Augment, Config, Data, InputSize

FEW, BATCH = 10_000, 64
"""Rows of the reference, samples of a batch."""

VIDEO, PERSON = 20, 100
"""Rows of one clip, and of one person."""


# --------------------------------------------------------------------------- the collection


def small_files(folder: Path, count: int, side: int) -> None:
    """`count` JPEG files of `side` px, made of the installed portraits, no two alike."""
    folder.mkdir()
    paths = sources.portraits.index()["path"].tolist()
    pictures = [cv2.resize(read_image(path), (side, side)) for path in paths]
    for number in range(count):
        picture = np.roll(pictures[number % len(pictures)], number // len(pictures), axis=1)
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def paper_manifest(home: Path, rows: int, files: int) -> Path:
    """A manifest of `rows` faces, half of them fake, as prepare.py writes it for frames of clips.

    Row i is file i % files, under a folder that is a link to the one that holds them all.
    """
    for number in range(-(-rows // files)):
        link = home / f"part{number:05d}"
        if not link.exists():
            link.symlink_to(home / "files", target_is_directory=True)
    i = np.arange(rows)
    path = pd.Series(i // files).map("part{:05d}/".format) + pd.Series(i % files).map(
        "{:06d}.jpg".format
    )
    fake, person = i % 2 == 1, i // PERSON
    clip = pd.Series(i // 2 * 2 // VIDEO).map("clips/{:07d}.mp4".format)
    shift = i % 700 / 100
    numbers = {
        "box": (24, 20, 72, 80),
        "landmarks": (37, 42, 58, 42, 48, 52, 39, 63, 57, 63),
        "media_box": (324, 220, 372, 280),
    }
    columns = {
        "path": path,
        "label": fake.astype(int),
        "split": np.choose(person % 10, ["train"] * 8 + ["val", "test"]),
        "video": clip,
        "identity": pd.Series(person).map("person{:06d}".format),
        "source": "paper",
        "method": np.where(fake, "warp", ""),
        "frame": i // 2 % (VIDEO // 2) * 25,
        "confidence": 0.99,
        "source_path": path.shift().where(fake, ""),
        "media": clip,
        "media_size": "1280 720",
    }
    for name, values in numbers.items():
        cells = [pd.Series(value + shift).map("{:.2f}".format) for value in values]
        columns[name] = cells[0].str.cat(cells[1:], sep=" ")
    file = home / f"manifest{rows}.csv"
    pd.DataFrame(columns).to_csv(file, index=False)
    return file


# ------------------------------------------------------------------------------- the steps


@dataclass
class Step:
    """seconds: of this step alone. memory: bytes resident after it. aside: not on the way."""

    name: str
    seconds: float
    memory: int
    aside: bool


class Start:
    """The way from a manifest to the first batch, step by step."""

    def __init__(self, file: Path, config: Config) -> None:
        self.file, self.config = file, config
        self.steps: list[Step] = []
        self.results: dict[str, Any] = {}
        self.before = resident()

    def run(self) -> None:
        """Take each step and note what it costs; what no later step needs is let go."""
        self._take("pandas.read_csv alone", self._read_alone, aside=True)
        self._take("os.stat of each path alone", self._stats_alone, aside=True)
        self._take("manifest.read", self._read)
        self._take("  of which splits.leaks of all splits", self._leaks, aside=True)
        self._take("splits.random_split (data.random_split)", self._random_split, aside=True)
        self._take("dataset.locate_faces", self._locate)
        self._take("seen.row_hashes", self._row_hashes)
        self._take("  the same again", self._row_hashes, aside=True)
        self._take("dataset.training_set", self._training_set)
        self._take("first batch", self._first_batch)

    def _take(self, name: str, step: Callable[[], None], aside: bool = False) -> None:
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        gc.collect()
        self.steps.append(Step(name, seconds, resident() - self.before, aside))

    def _read_alone(self) -> None:
        pd.read_csv(self.file, dtype=str, keep_default_na=False)

    def _stats_alone(self) -> None:
        for path in pd.read_csv(self.file, usecols=["path"])["path"].tolist():
            os.stat(f"{self.file.parent}/{path}")  # noqa: PTH116 - the cheapest way there is

    def _read(self) -> None:
        self.results["whole"] = manifest.read(str(self.file))

    def _leaks(self) -> None:
        whole = self.results["whole"]
        for one, other in combinations(manifest.SPLITS, 2):
            splits.leaks(whole.split(one), whole.split(other))

    def _random_split(self) -> None:
        rows, shares = self.results["whole"].rows, (0.9, 0.1)
        splits.random_split(rows, shares, ("train", "val"), seed=0)

    def _locate(self) -> None:
        whole, given = self.results["whole"], self.config
        device = torch.device("cpu")
        self.results["parts"] = [
            dataset.locate_faces(whole.split(name), given.data, given.face, device)[0]
            for name in ("train", "val")
        ]

    def _row_hashes(self) -> None:
        cache = str(self.file.parent / f"cache{id(self)}")
        seen.row_hashes(pd.concat(self.results["parts"]), cache)

    def _training_set(self) -> None:
        self.results["samples"] = dataset.training_set(self.results["parts"][0], self.config)

    def _first_batch(self) -> None:
        samples, workers = self.results["samples"], self.config.num_workers
        order = EpochBatches(len(samples), BATCH, seed=0, shuffle=True)
        order.start = max(0, len(order) - 4)
        loader = make_loader(samples, order, workers)
        next(iter(loader))
        self.results["loader"] = order, loader


def epochs_of(start: Start, samples: int, count: int) -> Iterator[list[int]]:
    """Bytes of the main process and of each worker, after each of `count` epochs.

    An epoch is `samples` samples in an order drawn from all rows: enough to touch all of them
    after some epochs, which is what makes a worker's copy of a list of names grow.
    """
    order, loader = start.results["loader"]
    for epoch in range(1, count + 1):
        order.epoch, order.start = epoch, 0
        order.start = max(0, len(order) - samples // BATCH)
        for _ in loader:
            pass
        me = psutil.Process()
        yield [owned(process) for process in (me, *me.children(recursive=True))]


# ---------------------------------------------------------------------------------- memory


def resident() -> int:
    return psutil.Process().memory_info().rss


def owned(process: psutil.Process) -> int:
    """Bytes that one process alone holds, where the system tells; else all that it has mapped."""
    memory = process.memory_full_info()
    return getattr(memory, "uss", memory.rss)


def held(value: Any, seen: set[int]) -> int:
    """Bytes of arrays and texts in `value`, without those that were seen before."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.nbytes
    if isinstance(value, list):
        return value.__sizeof__() + sum(held(item, seen) for item in value)
    if isinstance(value, Sequence) and hasattr(value, "__dict__"):
        return sum(held(part, seen) for part in vars(value).values())
    return value.__sizeof__() if isinstance(value, str) else 0


# ---------------------------------------------------------------------------------- report


def report(few: Start, many: Start, count: int) -> None:
    whole = many.steps[0].seconds
    print(f"\n  {'step':<42}{'seconds':>9}{'/ read_csv':>12}{'a row / few rows':>18}{'memory':>14}")
    for one, other in zip(few.steps, many.steps, strict=True):
        growth = (other.seconds / count) / (one.seconds / FEW)
        print(
            f"  {other.name:<42}{other.seconds:9.2f}{other.seconds / whole:12.2f}{growth:18.2f}"
            f"{other.memory / count:8.0f} B/row"
        )
    total = sum(step.seconds for step in many.steps if not step.aside)
    print(f"  {'reading to first batch':<42}{total:9.2f}{total / whole:12.2f}")

    samples, seen = many.results["samples"], set[int]()
    rows = len(many.results["parts"][0])
    print(f"\n  What the training set holds, bytes a row of its {rows:,} rows:")
    parts = {name: held(value, seen) / rows for name, value in vars(samples).items()}
    print("    " + ", ".join(f"{name} {size:.0f}" for name, size in parts.items() if size >= 1))
    print(f"    together {sum(parts.values()):.0f}")


def report_epochs(sizes: Iterator[list[int]], samples: int) -> None:
    print(f"\n  MB that main process + workers alone hold, after epochs of {samples:,} samples:")
    sums = []
    for epoch, of_each in enumerate(sizes, 1):
        sums.append(sum(of_each))
        shown = " + ".join(f"{size / 1e6:.1f}" for size in of_each)
        print(f"    {epoch:>2}: {shown}   {sums[-1] / sums[0]:.3f} of the first", flush=True)
    late = statistics.mean(sums[-2:]) / sums[0]
    print(f"    the last two / the first: {late:.3f} (flat: at most 1.02)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1000, help="files that the rows share")
    parser.add_argument("--side", type=int, default=96, help="of the files, in pixels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=40_000, help="samples of an epoch")
    given = parser.parse_args()
    config = Config(
        data=Data(train="manifest.csv", repeat=1),
        input_size=InputSize(height=32, width=32),
        augment=Augment(flip=0, rotation=0, color=0, jpeg=0, resize=0),
        num_workers=given.workers,
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        small_files(home / "files", given.files, given.side)
        for _ in range(2):  # the first time, much is imported and allocated
            few = Start(paper_manifest(home, FEW, given.files), config)
            few.run()
            few.results.clear()
        many = Start(paper_manifest(home, given.rows, given.files), config)
        size = many.file.stat().st_size / given.rows
        kilobytes = statistics.mean(f.stat().st_size for f in (home / "files").iterdir()) / 1e3
        print(
            f"{given.rows:,} rows of {size:.0f} bytes (few rows: {FEW:,}), {given.workers} workers"
        )
        print(
            f"Their paths lead to {given.files:,} JPEG files of {given.side} px, {kilobytes:.1f} "
            f"KB, each of {-(-given.rows // given.files):,} names"
        )
        many.run()
        report(few, many, given.rows)
        report_epochs(epochs_of(many, given.samples, given.epochs), given.samples)


if __name__ == "__main__":
    main()
