"""How much of the bare training step the data loader leaves, and what the plain loop does.

    python -m benchmarks.training
    python -m benchmarks.training --rounds 5 --batches 30

ResNet18, 224 px, batch 32, JPEG files of 256 px. The candidates take turns in each round; the
ratio of two is taken within a round, and the median over the rounds is printed with its range.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import timm
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

import dataset
import manifest
import networks
import sources.portraits
import utils
from batches import EpochBatches, make_loader
from faces.image import read_image
from flags import Augment, Config, Data, Model
from scores import autocast, to_device
from training.loss import training_loss
from training.optimizer import make_optimizer

BATCH, SIDE = 32, 224
DEVICE = torch.device("cpu")


# ------------------------------------------------------------------------------ candidates


class BareStep:
    """Our training step on one batch of tensors in memory: what no loader can exceed."""

    def __init__(self, config: Config, precision: torch.dtype) -> None:
        self.config, self.precision = config, precision
        self.network = networks.build("ResNet", Model(), 2, 0.0).to(  # type: ignore[call-overload]
            memory_format=torch.channels_last
        )
        self.optimizer = make_optimizer(self.network, config)
        self.images = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)
        self.labels = torch.arange(BATCH) % 2

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.network.train()
        with autocast(DEVICE, self.precision):
            logits = self.network(to_device(images, DEVICE, channels_last=True))
        loss = training_loss(logits.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def run(self, batches: int) -> None:
        for _ in range(batches):
            self.step(self.images, self.labels)


class WithLoader:
    """The same step fed by our loader."""

    def __init__(self, bare: BareStep, samples: Dataset, workers: int, batches: int) -> None:
        self.bare = bare
        count = min(len(samples), BATCH * batches)  # type: ignore[arg-type]
        self.order = EpochBatches(count, BATCH, seed=0, shuffle=True)
        self.loader = make_loader(samples, self.order, workers)

    def run(self, batches: int) -> None:
        done = 0
        while done < batches:
            self.order.epoch += 1
            for batch in self.loader:
                self.bare.step(batch.images, batch.labels)
                done += 1
                if done == batches:
                    break


class PlainLoop:
    """The loop of the XAI606 project: float32, contiguous, cv2 decode and resize in 2 workers."""

    class Pictures(Dataset):
        def __init__(self, rows: pd.DataFrame) -> None:
            self.paths, self.labels = rows["path"].tolist(), rows["label"].tolist()

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = cv2.resize(cv2.imread(self.paths[index]), (SIDE, SIDE))
            picture = torch.from_numpy(np.transpose(image, (2, 0, 1))).float() / 255.0
            return picture, self.labels[index]

    def __init__(self, rows: pd.DataFrame) -> None:
        self.network = timm.create_model("resnet18", num_classes=2)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, weight_decay=1e-2)
        self.loader: DataLoader = DataLoader(
            self.Pictures(rows), BATCH, shuffle=True, num_workers=2
        )

    def run(self, batches: int) -> None:
        done = 0
        while done < batches:
            for images, labels in self.loader:
                self.optimizer.zero_grad()
                F.cross_entropy(self.network(images), labels).backward()
                self.optimizer.step()
                done += 1
                if done == batches:
                    break


# -------------------------------------------------------------------------------- pictures


def picture_rows(folder: Path, side: int, count: int) -> pd.DataFrame:
    """`count` JPEG files of `side` px, made of the installed portraits."""
    folder.mkdir()
    paths = sources.portraits.index()["path"].tolist()
    pictures = [cv2.resize(read_image(path), (side, side)) for path in paths]
    rows = []
    for number in range(count):
        file = folder / f"{number:05d}.jpg"
        # Shifted by a little, so that no two files have the same content.
        picture = np.roll(pictures[number % len(pictures)], number // len(pictures), axis=1)
        cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        rows.append({"path": str(file), "label": number % 2})
    return pd.DataFrame(rows).reindex(columns=list(manifest.COLUMNS), fill_value="")


def ready_crops(rows: pd.DataFrame, config: Config, cache: Path) -> pd.DataFrame:
    """The rows as prepare.py would have stored them: the crop is the path, with its box."""
    data = config.data.model_copy(update={"cache": str(cache)})
    located, _ = dataset.locate_faces(rows, data, config.face, DEVICE, progress=False)
    return located.assign(path=located["file"])


# --------------------------------------------------------------------------------- measure


@dataclass(frozen=True)
class Ratio:
    name: str
    candidate: str
    reference: str
    wanted: float


def measure(
    candidates: dict[str, Callable[[int], None]], batches: int, rounds: int
) -> Iterator[dict[str, float]]:
    """Images a second of each candidate, round by round, the order turning."""
    names = list(candidates)
    for run in candidates.values():
        run(3)  # warm: allocator, workers, caches
    for number in range(rounds):
        speeds = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            candidates[name](batches)
            speeds[name] = BATCH * batches / (time.perf_counter() - start)
        yield speeds


def report(ratios: list[Ratio], rounds: list[dict[str, float]]) -> None:
    for name in rounds[0]:
        print(f"  {name:<34} {statistics.median(r[name] for r in rounds):7.1f} images/s")
    for ratio in ratios:
        values = [r[ratio.candidate] / r[ratio.reference] for r in rounds]
        print(
            f"  {ratio.name:<58} {statistics.median(values):.3f}  "
            f"(range {min(values):.3f} to {max(values):.3f}, aim {ratio.wanted:g})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=16, help="of 32, for each measurement")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    precision, why = utils.pick_precision("auto", DEVICE)
    print(f"ResNet18, {SIDE} px, batch {BATCH}, {torch.get_num_threads()} threads, {why}")

    with tempfile.TemporaryDirectory() as home:
        config = Config(
            data=Data(crop=False, cache=f"{home}/cache"), augment=Augment(), num_workers=2
        )
        cropped = config.model_copy(update={"data": config.data.model_copy(update={"crop": True})})
        count = BATCH * given.batches
        rows = picture_rows(Path(home) / "small", 256, count)
        located, _ = dataset.locate_faces(rows, config.data, config.face, DEVICE)
        large = picture_rows(Path(home) / "large", 1024, 160)
        from_pictures, _ = dataset.locate_faces(large, cropped.data, cropped.face, DEVICE)
        stored = ready_crops(large, cropped, Path(home) / "cache")
        from_crops, _ = dataset.locate_faces(stored, cropped.data, cropped.face, DEVICE)

        bare = BareStep(config, precision)
        plain = dataset.evaluation_set(located, config)
        augmented = dataset.training_set(located, config)
        cut = dataset.evaluation_set(pd.concat([from_pictures] * 8), cropped)
        ready = dataset.evaluation_set(pd.concat([from_crops] * 8), cropped)
        workers, batches = given.workers, given.batches
        candidates: dict[str, Callable[[int], None]] = {
            "bare step": bare.run,
            "loader": WithLoader(bare, plain, workers, batches).run,
            "loader and augmentation": WithLoader(bare, augmented, workers, batches).run,
            "plain loop": PlainLoop(rows).run,
            "crop: True, 1024 px pictures": WithLoader(bare, cut, workers, batches).run,
            "ready crops of them": WithLoader(bare, ready, workers, batches).run,
        }
        ratios = [
            Ratio("real loader / bare step, without augmentation", "loader", "bare step", 0.90),
            Ratio(
                "real loader / bare step, shipped augmentation",
                "loader and augmentation",
                "bare step",
                0.85,
            ),
            Ratio(
                "real loader, augmented / plain loop", "loader and augmentation", "plain loop", 2.3
            ),
            Ratio(
                "crop: True from the second epoch on / ready crops",
                "crop: True, 1024 px pictures",
                "ready crops of them",
                0.95,
            ),
        ]
        report(ratios, list(measure(candidates, batches, given.rounds)))


if __name__ == "__main__":
    main()
