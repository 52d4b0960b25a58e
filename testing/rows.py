"""Which rows are tested: those of manifests, pictures to explain, or random ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.data import Dataset

import dataset
import manifest
import scores
import seen
from failures import Failure
from flags import Config, Data
from utils import UserError


@dataclass(frozen=True)
class Collection:
    """Rows to score, and what they are called. home: what their paths are relative to.

    samples: where the rows are no files. overlap: `checked` against the rows that the checkpoint
    was trained on, or `unknown`.
    """

    data: str
    rows: pd.DataFrame
    home: Path
    left_out: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    overlap: str = "checked"
    samples: Dataset | None = None


def to_explain(config: Config) -> Collection:
    """The pictures of `heatmaps.path`, whose labels nobody knows."""
    path = config.heatmaps.path
    return Collection(path, manifest.pictures(path), Path.cwd())


def to_test(config: Config, file: Path, state: dict[str, Any]) -> list[Collection]:
    """The collections of `data.test`, or tmp_data's random pictures."""
    data = config.data
    if config.tmp_data:
        samples = dataset.RandomFaces(config.tmp_data, config.seed + 2)
        rows = scores.of_random(len(samples), samples.labels)
        found = [Collection("random pictures", rows, Path.cwd(), samples=samples)]
    else:
        found = [of_manifest(name, data, file, state) for name in data.tests]
    if not found:
        raise UserError("data.test is empty: name the CSV or folder to test on")
    return found


def of_manifest(name: str, data: Data, file: Path, state: dict[str, Any]) -> Collection:
    """A manifest's test rows, or all rows of one without splits.

    Rows that the checkpoint was trained or validated on are refused: a number from rows that were
    learned says nothing.
    """
    whole = manifest.read(name, data.fake_label)
    rows = whole.split("test") if whole.has_splits else whole.rows
    if len(rows) == 0:
        raise UserError(
            f"{name}: has splits, but no row of split `test`: give it some, or "
            "name another CSV by --data.test"
        )
    shared = seen.overlap(file, state, rows, data.cache)
    if shared:
        raise UserError(
            f"{name}: {file} was trained or validated on some of these rows:\n  "
            + "\n  ".join(shared)
            + "\ntest on other people"
        )
    unknown = (
        f"{file.parent / seen.ROWS_FILE} is missing or another run's: nobody can tell "
        "whether this checkpoint was trained on these rows"
    )
    return Collection(
        name,
        rows,
        whole.home,
        whole.left_out("test") if whole.has_splits else whole.left_out(),
        (*whole.warnings, *([unknown] if shared is None else [])),
        "unknown" if shared is None else "checked",
    )
