"""Faces as pictures: heatmaps of chosen or given faces, and the worst mistakes, one PNG each."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

import metrics
from faces.image import write_image
from networks import Detector
from report import heatmaps, page
from utils import relative

MISTAKES = 12
"""So many of the worst mistakes are shown."""

ON_A_SHEET = 24
"""So many of the pictures that were asked for are shown on one sheet as well."""


def chosen_heatmaps(
    network: Detector,
    samples: Dataset,
    names: Sequence[str],
    labels: np.ndarray,
    values: np.ndarray,
    count: int,
    seed: int,
    folder: Path,
    method: str = heatmaps.METHOD,
) -> list[page.Heatmap]:
    """Heatmaps of the most wrong, the most certain and random faces, for the report.

    names, labels (0 or 1), values (scores, NaN where there is none): one a sample. method: one of
    report.cams.METHODS, which the captions name.
    """
    _clear(folder)
    chosen = heatmaps.choose(labels, values, count, seed)
    entries = []
    drawn = draw_rows(network, samples, [c.row for c in chosen], labels, values, method)
    for number, (choice, picture) in enumerate(zip(chosen, drawn, strict=True), 1):
        score = values[choice.row]
        stem = Path(names[choice.row]).stem[:40]
        file = folder / f"{number:03d}_{choice.group.split()[-1]}_{score:.3f}_{stem}.png"
        write_image(file, picture)
        text = heatmaps.caption(labels[choice.row], score).replace("\n", ", ")
        text += f". {heatmaps.legend(score, method)}"
        entries.append(page.Heatmap(file, text, choice.group))
    return entries


def explained(
    network: Detector,
    samples: Dataset,
    names: Sequence[str],
    values: np.ndarray,
    folder: Path,
    say: Callable[[str], None],
    method: str = heatmaps.METHOD,
) -> None:
    """A heatmap of each picture that was asked for, whose labels nobody knows."""
    _clear(folder)
    rows = [int(i) for i in np.flatnonzero(np.isfinite(values))]
    labels = np.full(len(values), -1)
    shown: list[np.ndarray] = []
    drawn = draw_rows(network, samples, rows, labels, values, method)
    for number, (row, picture) in enumerate(zip(rows, drawn, strict=True), 1):
        source = Path(names[row])
        file = folder / f"{number:03d}_{source.stem[:40]}.png"
        write_image(file, picture)
        called = metrics.called(values[row])
        say(f" {source.name}: called {called}, fake score {values[row]:.4f} -> {file}")
        shown += [picture] if len(shown) < ON_A_SHEET else []
    if len(shown) > 1:
        write_image(folder / "sheet.png", heatmaps.sheet(shown))
        say(f" On one sheet: {folder / 'sheet.png'}")


def worst_mistakes(
    samples: Dataset, names: Sequence[str], labels: np.ndarray, values: np.ndarray, folder: Path
) -> list[page.Mistake]:
    """The faces that were called wrongly and furthest from the truth, as the network saw them."""
    _clear(folder)
    wrong = heatmaps.mistakes(labels, values)[:MISTAKES]
    entries = []
    for number, row in enumerate(wrong, 1):
        file = folder / f"{number:03d}.png"
        write_image(file, as_picture(samples[(0, row)][0]))
        name = relative(names[row], Path.cwd())
        entries.append(page.Mistake(file, name, int(labels[row]), float(values[row])))
    return entries


def draw_rows(
    network: Detector,
    samples: Dataset,
    rows: list[int],
    labels: np.ndarray,
    values: np.ndarray,
    method: str = heatmaps.METHOD,
) -> Iterator[np.ndarray]:
    """Drawn heatmaps of some samples, one after another: any number of them fits the memory."""
    device = next(network.parameters()).device
    size = 1 if method in heatmaps.ONE_AT_A_TIME else heatmaps.BATCH
    with tqdm(total=len(rows), desc=method, disable=not sys.stderr.isatty()) as bar:
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            pictures = torch.stack([samples[(0, row)][0] for row in part])
            maps = heatmaps.heatmaps(network, pictures.to(device), values[part], method)
            for row, picture, one in zip(part, pictures, maps, strict=True):
                label, score = int(labels[row]), float(values[row])
                yield heatmaps.draw(as_picture(picture), one, label, score, method)
            bar.update(len(part))


def as_picture(sample: torch.Tensor) -> np.ndarray:
    """A sample's uint8 [channels, height, width] -> RGB [height, width, 3]."""
    return np.ascontiguousarray(sample.expand(3, -1, -1).permute(1, 2, 0).numpy())


def _clear(folder: Path) -> None:
    for old in folder.glob("*.png"):  # of an earlier test
        old.unlink()
