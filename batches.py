"""Samples -> batches: in which order, balanced how, loaded by how many workers, the same by any."""

import atexit
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from failures import Failure
from processes import Processes
from utils import sample_seed

Key = tuple[int, int]
"""(epoch, index): a sample's randomness is a function of (seed, epoch, index) and nothing else."""


Sample = tuple[torch.Tensor, int, int]
"""Picture, label, row."""
Samples = Sample | list[Sample] | Failure
"""What an index gives: a sample, several that stay together, or what is missing."""


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


class EpochBatches:
    """Batches of (epoch, index): a shuffled order for each epoch, from the batch `start` on.

    The order is a function of (seed, epoch), so a run that continues sees what it would have
    seen. cells: [count], a number for each index; in every epoch each cell then comes as often as
    its share says, the rare ones again and again. power: what a cell's size counts for, see
    `shares`. processes: each gets its share of every batch.
    A last batch that is too small for batch norm, which has no statistics of one sample, joins
    the one before.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        cells: np.ndarray | None = None,
        processes: Processes | None = None,
        power: float = 0.0,
    ) -> None:
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.cells, self.processes, self.power = cells, processes, power
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return len(self._ends()) - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.count)
        if self.shuffle:
            random = np.random.default_rng(sample_seed(self.seed, self.epoch, -1))
            order = random.permutation(self.count)
            if self.cells is not None:
                order = balanced(self.cells, random, self.power)
        ends = self._ends()
        for begin, end in list(zip([0, *ends], ends, strict=False))[self.start :]:
            batch = order[begin:end]
            mine = batch if self.processes is None else self.processes.share(batch)
            yield [(self.epoch, int(index)) for index in mine]

    def _ends(self) -> list[int]:
        least = 2 * (1 if self.processes is None else self.processes.world)
        ends = [*range(self.batch_size, self.count, self.batch_size), self.count]
        if self.shuffle and len(ends) > 1 and ends[-1] - ends[-2] < least:
            del ends[-2]
        return ends


def shares(cells: np.ndarray, power: float) -> np.ndarray:
    """What share of the samples each cell gets: by its size to the power, 0 all alike."""
    weights = np.unique(cells, return_counts=True)[1] ** float(power)
    return weights / weights.sum()


def balanced(cells: np.ndarray, random: np.random.Generator, power: float = 0.0) -> np.ndarray:
    """An order of len(cells) indices in which each cell comes as often as its share, within one.

    A cell that is too small comes again: its second pass counts on from len(cells), so that the
    same picture gets other random changes.
    """
    count, names = len(cells), np.unique(cells)
    exact = shares(cells, power) * count
    wanted = np.floor(exact + 1e-9).astype(int)
    left = random.permutation(len(names))  # whom chance gives what is left over
    left = left[np.argsort(-(exact - wanted)[left], kind="stable")]
    wanted[left[: count - wanted.sum()]] += 1
    order = []
    for name, number in zip(names, wanted, strict=True):
        own = np.flatnonzero(cells == name)
        passes = -(-number // len(own))
        drawn = [random.permutation(own) + count * turn for turn in range(passes)]
        order += [np.concatenate(drawn)[:number]] if passes else []
    return random.permutation(np.concatenate(order))


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


def collate(samples: list[Samples]) -> Batch:
    """Samples -> one Batch; failures are carried along, not replaced."""
    failures = tuple(s for s in samples if isinstance(s, Failure))
    good: list[Sample] = []
    for sample in samples:
        if not isinstance(sample, Failure):
            good += sample if isinstance(sample, list) else [sample]
    images = torch.stack([s[0] for s in good]) if good else torch.empty(0, dtype=torch.uint8)
    return Batch(
        images,
        torch.tensor([s[1] for s in good], dtype=torch.int64),
        torch.tensor([s[2] for s in good], dtype=torch.int64),
        failures,
    )


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
