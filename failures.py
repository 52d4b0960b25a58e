"""What could not be used, and why: named, counted and listed, never replaced by something else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from utils import UserError, csv_text, relative, write_atomic

MISSING = "missing"
UNREADABLE = "unreadable"
NO_FACE = "no_face"
NO_LANDMARKS = "no_landmarks"
NO_FAKE = "no_fake"
NO_SCORE = "no_score"
DAMAGED = "damaged"
UNLABELLED = "unlabelled"

BAD = (MISSING, UNREADABLE, NO_SCORE)
"""The kinds that `data.max_bad` counts; no face or no label is left out, but not bad."""

SHOWN = 5
"""So many examples are named where there are many."""


@dataclass(frozen=True)
class Failure:
    """One picture or face that gave no sample. kind: one of the names above. reason: in words."""

    path: str
    kind: str
    reason: str


def check_share(
    failures: Iterable[Failure], total: int, max_bad: float, key: str = "data.max_bad"
) -> None:
    """Stop where more than `max_bad` (setting `key`) of `total` pictures or clips are bad."""
    bad = [f for f in failures if f.kind in BAD]
    if len(bad) > max_bad * max(total, 1):
        first = "\n  ".join(f"{f.path}: {f.reason}" for f in bad[:SHOWN])
        raise UserError(
            f"{len(bad)} of {total} pictures cannot be used, more than {key} = {max_bad:g} "
            f"allows:\n  {first}"
        )


def write_failures(file: Path, failures: Sequence[Failure], home: Path) -> None:
    """Write left_out.csv (`path,kind,reason`), paths as the manifest in `home` writes them."""
    rows = [(relative(f.path, home), f.kind, f.reason) for f in failures]
    write_atomic(file, csv_text(pd.DataFrame(rows, columns=["path", "kind", "reason"])))


def summary(failures: Sequence[Failure], file: Path) -> str:
    """`3 left out: 2 no_face, 1 unreadable (FILE)`."""
    kinds = sorted({f.kind for f in failures})
    counts = ", ".join(f"{sum(f.kind == kind for f in failures)} {kind}" for kind in kinds)
    return f"{len(failures)} left out: {counts} ({file})" if failures else "none left out"
