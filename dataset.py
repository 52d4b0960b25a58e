"""Manifest rows -> samples: uint8 faces with their fakes and augmentation."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

import manifest
from batches import EpochBatches, Key, Samples, shares
from faces import decoded
from faces.cache import Found, find_faces
from faces.crop import BoxBeside, NoLandmarks, network_crop, refuse_beside
from faces.image import UnreadableImage, read_image
from failures import NO_FACE, NO_FAKE, NO_LANDMARKS, UNREADABLE, Failure, check_share
from fakes import NoFake, changes_reals, make_pair, needs_donors
from fakes.donors import Donors, Either, donors
from flags import Augment, Config, Data, Face, Fakes, InputSize
from manifest import FAKE, REAL
from metrics import grouping
from processes import Processes
from utils import UserError, sample_seed

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


class Texts(Sequence[str]):
    """Texts in two arrays, for data sets of which every worker has a copy.

    Python counts the uses of a text inside the text: reading a list of a million, each worker
    would write to all of it, and the memory that they share would become memory of their own.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self.ends = np.cumsum([0, *map(len, encoded)])
        self.content = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        begin, end = self.ends[index % len(self)], self.ends[index % len(self) + 1]
        return self.content[begin:end].tobytes().decode("utf-8", "surrogateescape")


class FaceDataset(Dataset):
    """Faces by (epoch, index); an index counts on through `repeat` passes over the rows.

    With `fakes.pairs` a real row gives two samples, itself and a fake of it, which see the same
    crop and the same augmentation; a row that is a fake already gives one. pasted: located rows of
    fakes.swap.donors, whose faces are pasted and which are no samples.
    """

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
        read: Callable[[str], np.ndarray] = read_image,
        pasted: pd.DataFrame | None = None,
    ) -> None:
        self.read = read
        self.files = Texts(rows["file"].tolist())
        same = rows["file"].equals(rows["path"])  # stored faces: the file that is read is the row's
        self.names = self.files if same else Texts(rows["path"].tolist())
        self.labels = rows["label"].to_numpy(np.int64)
        self.boxes = manifest.table(rows["file_box"], 4)
        self.landmarks = manifest.table(rows["file_landmarks"], 10).reshape(-1, 5, 2)
        self.face, self.size, self.channels, self.seed = face, size, channels, seed
        self.fakes = fakes if fakes is not None and fakes.type != "none" else None
        self.pairs = self.fakes is not None and self.fakes.paired
        self.reals_too = self.fakes is not None and changes_reals(self.fakes)
        self.donors = None
        if self.fakes is not None and needs_donors(self.fakes):
            self.donors = whose_faces(rows, self.files, pasted, self.fakes.swap.donated, read)
        self.augment = _augmentation(augment) if augment is not None else None
        self.margins = augment.margin if augment is not None else []
        self.each_side = augment is not None and augment.margin_each_side
        self.sides = augment.max_side if augment is not None else []
        self.repeat = repeat

    def __len__(self) -> int:
        return len(self.files) * self.repeat

    def __getitem__(self, key: Key) -> Samples:
        epoch, index = key
        row = index % len(self.files)
        random = np.random.default_rng(sample_seed(self.seed, epoch, index))
        try:
            images = self._images(row, random)
            margin, side = self._margin(random), self._side(random)
            crops = [(self._cut(image, row, margin, side), label) for image, label in images]
        except UnreadableImage as error:
            return Failure(self.names[row], UNREADABLE, str(error))
        except NoFake as error:
            return Failure(self.names[row], NO_FAKE, str(error))
        except NoLandmarks as error:
            return Failure(self.names[row], NO_LANDMARKS, str(error))
        except BoxBeside as error:
            return Failure(self.names[row], NO_FACE, str(error))
        seed = None if self.augment is None else int(random.integers(2**62))
        samples = [(self._picture(crop, seed), label, row) for crop, label in crops]
        return samples if self.pairs else samples[0]

    def _stored(self, row: int) -> np.ndarray:
        return _stored(self.read, self.files, row)

    def _images(self, row: int, random: np.random.Generator) -> list[tuple[np.ndarray, int]]:
        """What a row shows, with labels: its face, a fake made of it, or with `pairs` both."""
        image, label = self._stored(row), int(self.labels[row])
        box, landmarks = known(self.boxes[row]), known(self.landmarks[row])
        if box is not None:
            refuse_beside(box, image.shape)  # whatever would be made of it
        if self.fakes is None or label != REAL:
            return [(image, label)]
        faked = self.pairs or random.random() < self.fakes.probability
        if not (faked or self.reals_too):
            return [(image, label)]
        draw = self.donors.of(row) if self.donors else None
        real, fake = make_pair(image, box, landmarks, random, self.fakes, draw)
        if self.pairs:
            return [(real, REAL), (fake, FAKE)]
        return [(fake, FAKE) if faked else (real, REAL)]

    def _margin(self, random: np.random.Generator) -> str | np.ndarray:
        """The context around the box: augmented where that is asked for."""
        if not self.margins:
            return self.face.margin
        if self.each_side:
            return random.uniform(self.margins[0], self.margins[1], 4) / 100
        return f"{random.uniform(self.margins[0], self.margins[1]):.6f}%"

    def _side(self, random: np.random.Generator) -> float:
        """How large a face may be, in pixels of its picture, before it is shrunk to that."""
        return random.uniform(self.sides[0], self.sides[1]) if self.sides else math.inf

    def _cut(
        self, image: np.ndarray, row: int, margin: str | np.ndarray, side: float
    ) -> np.ndarray:
        face, size = self.face, self.size
        box, landmarks = known(self.boxes[row]), known(self.landmarks[row])
        return network_crop(
            image, box, margin, size.height, size.width, landmarks, face.align, face.pad, side
        )

    def _picture(self, crop: np.ndarray, seed: int | None) -> torch.Tensor:
        picture = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
        if seed is not None:
            picture = self._augmented(picture, seed)
        if self.channels == 1:
            from torchvision.transforms.v2 import functional

            picture = functional.rgb_to_grayscale(picture, 1)
        return picture

    def _augmented(self, picture: torch.Tensor, seed: int) -> torch.Tensor:
        # The transforms draw from the global generator: lend it to this sample and give it back,
        # so that neither the number of workers nor dropout changes what is drawn.
        state = torch.random.default_generator.get_state()
        torch.random.default_generator.manual_seed(seed)
        try:
            return self.augment(picture)  # type: ignore[misc]
        finally:
            torch.random.default_generator.set_state(state)


def _stored(read: Callable[[str], np.ndarray], files: Sequence[str], row: int) -> np.ndarray:
    return read(files[row])


def whose_faces(
    rows: pd.DataFrame,
    files: Sequence[str],
    pasted: pd.DataFrame | None,
    share: float,
    read: Callable[[str], np.ndarray],
) -> Donors | Either:
    """Whose faces are pasted into those of `rows`, whose files are `files`: the other reals of
    them, or with a chance of `share` those of `pasted`, which are counted on from them.
    """

    def giving(all_rows: pd.DataFrame, which: np.ndarray, all_files: Sequence[str]) -> Donors:
        landmarks = manifest.table(all_rows["file_landmarks"], 10).reshape(-1, 5, 2)
        # Nothing of the data set itself is kept: decoded pictures and all, it would stay until
        # somebody looks for cycles.
        read_row = partial(_stored, read, all_files)
        return donors(landmarks, grouping(all_rows)[0], which, read_row)

    real = rows["label"].to_numpy(np.int64) == REAL
    if pasted is None:
        return giving(rows, real, files)
    both = pd.concat([rows, pasted], ignore_index=True)
    beside = np.arange(len(both)) >= len(rows)
    table = giving(both, beside, Texts(both["file"].tolist()))
    return table if share == 1 else Either(table, giving(rows, real, files), share)


def _augmentation(settings: Augment) -> Callable[[torch.Tensor], torch.Tensor]:
    from augment import augmentation  # torchvision, two seconds, for training alone

    return augmentation(settings)


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


def training_set(
    rows: pd.DataFrame, config: Config, pasted: pd.DataFrame | None = None
) -> FaceDataset:
    """The training rows with their fakes and augmentation. pasted: located rows of
    fakes.swap.donors.
    """
    everything = rows if pasted is None else pd.concat([rows, pasted])
    return FaceDataset(
        rows,
        config.face,
        config.input_size,
        config.model.in_channels,
        config.seed,
        config.fakes,
        config.augment,
        config.data.repeat,
        reader(everything, config.data),
        pasted,
    )


def evaluation_set(
    rows: pd.DataFrame,
    config: Config,
    keep: bool = False,
    read: Callable[[str], np.ndarray] = read_image,
) -> FaceDataset:
    """Rows as they are, for validation, test and heatmaps. keep: they are read again and again.
    read: how else a file becomes a picture of the same size.
    """
    read = reader(rows, config.data) if keep else read
    size, channels = config.input_size, config.model.in_channels
    return FaceDataset(rows, config.face, size, channels, config.seed, read=read)


def reader(rows: pd.DataFrame, data: Data) -> Callable[[str], np.ndarray]:
    """How pictures are read: from their files, or decoded once as `data.memory` says."""
    if data.memory == "ram":
        return decoded.in_memory(rows["file"]).read
    if data.memory == "file":
        return decoded.in_file(rows["file"], Path(data.cache)).read
    return read_image


def training_order(
    samples: Dataset, rows: pd.DataFrame, config: Config, processes: Processes
) -> EpochBatches:
    """Batches of about `batch_size` samples, balanced as `data.balance` says, in each epoch."""
    cells = balance_cells(rows, config.data.balance, config.data.repeat)
    power = config.data.balance_power
    return EpochBatches(
        len(samples),  # type: ignore[arg-type]
        rows_per_batch(samples, config.batch_size, cells, power),
        config.seed,
        shuffle=True,
        cells=cells,
        processes=processes,
        power=power,
    )


def rows_per_batch(
    samples: Dataset, batch_size: int, cells: np.ndarray | None = None, power: float = 0.0
) -> int:
    """How many rows make a batch of about `batch_size` samples: a real with its fake is two.

    Exactly that many where all rows are reals. cells: as balance_cells gives them; power: what
    their size counts for.
    """
    if not isinstance(samples, FaceDataset) or not samples.pairs or len(samples) == 0:
        return batch_size
    own = None if cells is None else cells[: len(samples.labels)]
    return max(1, round(batch_size / (1 + share_of_reals(samples.labels, own, power))))


def share_of_reals(labels: np.ndarray, cells: np.ndarray | None, power: float) -> float:
    """The share of reals [0..1] among the rows that are drawn: of each cell by its size's power."""
    real = labels == REAL
    if cells is None:
        return float(real.mean())
    of_cells = [real[cells == cell].mean() for cell in np.unique(cells)]
    return float(np.dot(shares(cells, power), of_cells))


def balance_cells(rows: pd.DataFrame, balance: str, repeat: int) -> np.ndarray | None:
    """The cell of each index for `data.balance`: its class, or its class within its source."""
    if balance == "none" or len(rows) == 0:
        return None
    columns = ["label"] if balance == "class" else ["label", "source"]
    if len(rows[columns].drop_duplicates()) == 1:
        raise UserError(
            f"data.balance {balance}: all training rows are of one class and source, so there is "
            "nothing to balance: set it to none (fakes.probability is the share of fakes made)"
        )
    return np.tile(rows.groupby(columns, sort=True).ngroup().to_numpy(), repeat)
