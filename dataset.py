"""Manifest rows -> batches of uint8 faces: the same batches with any number of workers."""

import atexit
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import manifest
from faces.cache import Found, find_faces
from faces.crop import network_crop
from faces.image import UnreadableImage, read_image
from failures import NO_FACE, NO_FAKE, UNREADABLE, Failure, check_share
from fakes import NoFake, make_pair
from flags import Augment, Config, Data, Face, Fakes, InputSize
from manifest import FAKE, REAL
from utils import sample_seed

Key = tuple[int, int]
"""(epoch, index): a sample's randomness is a function of (seed, epoch, index) and nothing else."""


@dataclass(frozen=True)
class Batch:
    """images: uint8 [n, channels, height, width]. labels: int64 [n]. rows: int64 [n], the row of
    each sample. failures: the rows that are missing from this batch.
    """

    images: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def pin_memory(self) -> "Batch":
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.rows, self.failures)


# ---------------------------------------------------------------------------------- faces


def locate_faces(
    rows: pd.DataFrame, data: Data, face: Face, device: torch.device, progress: bool = True
) -> tuple[pd.DataFrame, list[Failure]]:
    """Rows with what is read for each (`file`, `file_box`, `file_landmarks`); those left out.

    With data.crop, rows that have a `box` are stored faces and read as they are; the others are
    pictures, searched once, whose context crops are kept in data.cache. Their `box` is then in
    pixels of the picture, `file_box` in pixels of the crop. Raises UserError where more than
    data.max_bad of the pictures cannot be read.
    """
    rows = rows.reset_index(drop=True)
    files = {"file": rows["path"], "file_box": rows["box"], "file_landmarks": rows["landmarks"]}
    rows = rows.assign(**files)
    if not data.crop:
        return rows.assign(file_box="", file_landmarks=""), []
    pictures = rows[rows["box"] == ""]
    if len(pictures) == 0:
        return rows, []
    found = find_faces(pictures["path"], face, Path(data.cache), device, progress)
    failures = [Failure(f.path, UNREADABLE, f.failure) for f in found.values() if f.failure]
    check_share(failures, rows["path"].nunique(), data.max_bad)
    parts: list[dict] = []
    places: list[int] = []
    for place, row in zip(pictures.index, pictures.to_dict("records"), strict=True):
        faces = found[row["path"]]
        if faces.faces or faces.failure or face.no_face == "drop":
            parts += [row | columns for columns in face_columns(faces)]
        else:
            parts.append(row)
        places += [place] * (len(parts) - len(places))
    failures += [
        Failure(f.path, NO_FACE, "no face found")
        for f in found.values()
        if face.no_face == "drop" and not f.faces and not f.failure
    ]
    searched = pd.DataFrame(parts, index=places, columns=rows.columns)
    rows = pd.concat([rows[rows["box"] != ""], searched]).sort_index(kind="stable")
    return rows.reset_index(drop=True), failures


def face_columns(found: Found) -> list[dict[str, str]]:
    """Columns for each face found in a picture: where its crop is, and where it is itself."""
    return [
        {
            "file": one["file"],
            "file_box": manifest.cell(one["box"]),
            "file_landmarks": manifest.cell(one["landmarks"]),
            "box": manifest.cell(one["media_box"]),
            "landmarks": manifest.cell(one["media_landmarks"]),
            "confidence": "" if one["confidence"] is None else f"{one['confidence']:.6f}",
        }
        | ({"track": str(number)} if len(found.faces) > 1 else {})
        for number, one in enumerate(found.faces)
    ]


# -------------------------------------------------------------------------------- samples


class FaceDataset(Dataset):
    """Faces by (epoch, index); an index counts on through `repeat` passes over the rows."""

    def __init__(
        self,
        rows: pd.DataFrame,
        face: Face,
        size: InputSize,
        channels: int = 3,
        seed: int = 0,
        fakes: Fakes | None = None,
        augment: Augment | None = None,
        repeat: int = 1,
    ) -> None:
        self.files = rows["file"].tolist()
        self.names = rows["path"].tolist()
        self.labels = rows["label"].to_numpy(np.int64)
        self.boxes = manifest.table(rows["file_box"], 4)
        self.landmarks = manifest.table(rows["file_landmarks"], 10).reshape(-1, 5, 2)
        self.margin, self.size, self.channels, self.seed = face.margin, size, channels, seed
        self.fakes = fakes if fakes is not None and fakes.type != "none" else None
        self.augment = augmentation(augment) if augment is not None else None
        self.repeat = repeat

    def __len__(self) -> int:
        return len(self.files) * self.repeat

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int, int] | Failure:
        epoch, index = key
        row = index % len(self.files)
        random = np.random.default_rng(sample_seed(self.seed, epoch, index))
        box, landmarks = known(self.boxes[row]), known(self.landmarks[row])
        try:
            image, label = read_image(self.files[row]), int(self.labels[row])
            if self.fakes and label == REAL and random.random() < self.fakes.probability:
                _, image = make_pair(image, box, landmarks, random, self.fakes)
                label = FAKE
        except UnreadableImage as error:
            return Failure(self.names[row], UNREADABLE, str(error))
        except NoFake as error:
            return Failure(self.names[row], NO_FAKE, str(error))
        crop = network_crop(image, box, self.margin, self.size.height, self.size.width)
        picture = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
        if self.augment is not None:
            picture = self._augmented(picture, int(random.integers(2**62)))
        if self.channels == 1:
            picture = v2.functional.rgb_to_grayscale(picture, 1)
        return picture, label, row

    def _augmented(self, picture: torch.Tensor, seed: int) -> torch.Tensor:
        # The transforms draw from the global generator: lend it to this sample and give it back,
        # so that neither the number of workers nor dropout changes what is drawn.
        state = torch.random.default_generator.get_state()
        torch.random.default_generator.manual_seed(seed)
        try:
            return self.augment(picture)  # type: ignore[misc]
        finally:
            torch.random.default_generator.set_state(state)


def known(values: np.ndarray) -> np.ndarray | None:
    """A row of a table of numbers, or None where it holds none."""
    return None if np.isnan(values).any() else values


class RandomFaces(Dataset):
    """Random pictures with random labels (`tmp_data`): a smoke run needs no data."""

    def __init__(self, shape: list[int], seed: int) -> None:
        self.count, *self.shape = shape
        self.seed = seed
        self.names = [f"random-{index}" for index in range(self.count)]
        # Exactly half of each class, so that no split of them lacks one.
        self.labels = np.arange(self.count, dtype=np.int64) % 2

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int, int] | Failure:
        index = key[1]
        generator = torch.Generator().manual_seed(sample_seed(self.seed, 0, index))
        picture = torch.randint(0, 256, self.shape, generator=generator, dtype=torch.uint8)
        return picture, int(self.labels[index]), index


def augmentation(settings: Augment) -> v2.Compose:
    """The training augmentation of uint8 [3, height, width] crops, drawn from the global RNG."""
    strength, (low, high) = settings.color, settings.jpeg_quality
    steps: list = [v2.RandomHorizontalFlip(settings.flip)]
    if settings.rotation:
        turn = v2.RandomRotation(settings.rotation, interpolation=v2.InterpolationMode.BILINEAR)
        steps.append(v2.RandomApply([turn], 0.5))  # by far the dearest of the steps
    if strength:
        steps.append(v2.ColorJitter(strength, strength, strength))
    if settings.resize:
        steps.append(v2.RandomApply([_ShrinkAndGrow()], settings.resize))
    if settings.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], settings.blur))
    if settings.jpeg:
        steps.append(v2.RandomApply([v2.JPEG((low, high))], settings.jpeg))
    if settings.erasing:
        steps.append(v2.RandomErasing(settings.erasing, scale=(0.02, 0.2)))
    return v2.Compose(steps)


class _ShrinkAndGrow(torch.nn.Module):
    """Lose resolution as a re-sized upload does: down to half at most, and back."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[-2:]
        factor = float(torch.empty(()).uniform_(0.5, 1.0))
        small = v2.functional.resize(
            picture, [max(1, int(height * factor)), max(1, int(width * factor))], antialias=True
        )
        return v2.functional.resize(small, [height, width], antialias=True)


# -------------------------------------------------------------------------------- batches


class EpochBatches:
    """Batches of (epoch, index): a shuffled order for each epoch, from the batch `start` on.

    The order is a function of (seed, epoch), so a run that continues sees what it would have
    seen. A last batch of one sample joins the one before: batch norm has no statistics of one.
    """

    def __init__(self, count: int, batch_size: int, seed: int, shuffle: bool) -> None:
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return len(self._ends()) - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.count)
        if self.shuffle:
            random = np.random.default_rng(sample_seed(self.seed, self.epoch, -1))
            order = random.permutation(self.count)
        ends = self._ends()
        for begin, end in list(zip([0, *ends], ends, strict=False))[self.start :]:
            yield [(self.epoch, int(index)) for index in order[begin:end]]

    def _ends(self) -> list[int]:
        ends = [*range(self.batch_size, self.count, self.batch_size), self.count]
        if self.shuffle and len(ends) > 1 and ends[-1] - ends[-2] == 1:
            del ends[-2]
        return ends


def make_loader(
    dataset: Dataset,
    batches: EpochBatches,
    num_workers: int,
    pin_memory: bool = False,
) -> DataLoader:
    """A loader that yields Batch; workers persist over the epochs and leave signals to us."""
    if num_workers:
        atexit.unregister(_end_workers)
        atexit.register(_end_workers)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if num_workers else None,
        # Its own generator: the loader draws a base seed, and the global one belongs to dropout.
        generator=torch.Generator().manual_seed(0),
    )


def collate(samples: list[tuple[torch.Tensor, int, int] | Failure]) -> Batch:
    """Samples -> one Batch; failures are carried along, not replaced."""
    failures = tuple(s for s in samples if isinstance(s, Failure))
    good = [s for s in samples if not isinstance(s, Failure)]
    images = torch.stack([s[0] for s in good]) if good else torch.empty(0, dtype=torch.uint8)
    return Batch(
        images,
        torch.tensor([s[1] for s in good], dtype=torch.int64),
        torch.tensor([s[2] for s in good], dtype=torch.int64),
        failures,
    )


def training_set(rows: pd.DataFrame, config: Config) -> FaceDataset:
    """The training rows with their fakes and augmentation."""
    return FaceDataset(
        rows,
        config.face,
        config.input_size,
        config.model.in_channels,
        config.seed,
        config.fakes,
        config.augment,
        config.data.repeat,
    )


def evaluation_set(rows: pd.DataFrame, config: Config) -> FaceDataset:
    """Rows as they are, for validation, test and heatmaps."""
    return FaceDataset(rows, config.face, config.input_size, config.model.in_channels, config.seed)


def _start_worker(worker: int) -> None:
    # The main process decides what Ctrl-C and SIGTERM mean; workers end when it lets go of them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)


def _end_workers() -> None:
    """At the exit after an error: workers whose loader was not closed.

    multiprocessing asks them by SIGTERM, which they leave to us, and would wait for ever.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's would raise for each of them
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
