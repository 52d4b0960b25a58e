"""The rows that gave no sample while training: named, counted, and too many stop the run."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from failures import BAD, SHOWN, Failure, check_share, write_failures
from flags import Config
from processes import Processes
from training.rows import Rows
from utils import UserError

OFTEN = 30.0
"""Seconds between two times that the list is written while an epoch goes on: it is written whole,
and where hundreds of thousands of rows give no sample that would be most of the work."""


class LeftOut:
    """What a run left out so far; left_out.csv in its folder says the same."""

    def __init__(self, rows: Rows, config: Config, processes: Processes) -> None:
        self.file, self.home = Path(config.prefix) / "left_out.csv", rows.home
        # As where the faces were found: of all pictures, those that were left out among them.
        self.total = rows.used["path"].nunique() + len(rows.left_out)
        self.max_bad = config.data.max_bad
        self.processes = processes
        self.before = frozenset(rows.left_out)  # that training began
        self.failures = dict.fromkeys(rows.left_out)
        self.met: dict[Failure, None] = {}  # while training
        self.write()

    def note(self, failures: Iterable[Failure], training: bool = True) -> None:
        """Name and count rows that gave no sample. Raises UserError where they are too many.

        training: they were to be learned from.
        """
        failures = list(failures)
        if training:
            self.met |= dict.fromkeys(failures)
        new = dict.fromkeys(f for f in failures if f not in self.failures)
        if not new:
            return
        self.failures |= new
        try:
            if any(failure.kind in BAD for failure in new):
                check_share(self.failures, self.total, self.max_bad)
        except UserError:
            self.write()
            raise
        if time.monotonic() - self.written > OFTEN:
            self.write()

    def share(self) -> None:
        """Tell all processes what each of them met in its own share."""
        theirs = self.processes.gather((list(self.failures), list(self.met)))
        for every, met in theirs:
            self.note(every, training=False)
            self.note(met)
        self.write()

    def state(self) -> list[tuple[str, str, str, bool]]:
        """What a checkpoint keeps of all processes: path, kind, reason, and whether it was met in
        training. What was left out before that, a run that goes on finds by itself.
        """
        own = [failure for failure in self.failures if failure not in self.before]
        kept = [(one.path, one.kind, one.reason, one in self.met) for one in own]
        return list(dict.fromkeys(one for theirs in self.processes.gather(kept) for one in theirs))

    def restore(self, state: Iterable[Sequence[Any]]) -> None:
        """Go on with what an earlier part of the run met."""
        for *words, met in state:
            failure = Failure(*words)
            self.failures[failure] = None
            if met:
                self.met[failure] = None
        self.write()

    def refuse_one_class(self, epoch: int, reals: float, fakes: float) -> None:
        """Raises UserError where an epoch had samples of one class alone because of rows left out:
        no fake could be made of any real, say, which no network learns anything from.
        """
        if min(reals, fakes) > 0 or not self.met:
            return
        kind = "fake" if reals else "real" if fakes else "sample"
        first = "\n  ".join(f"{f.path}: {f.reason}" for f in list(self.met)[:SHOWN])
        raise UserError(
            f"epoch {epoch} had no {kind} to learn from: {len(self.met):,} rows gave none, "
            f"listed in {self.file}, as\n  {first}"
        )

    @property
    def told(self) -> str:
        """How many rows gave no sample since the run began, in a line; empty: none."""
        met = len(self.met)
        rows = "row" if met == 1 else "rows"
        return f"{met:,} {rows} gave no sample while training: {self.file}" if met else ""

    def write(self) -> None:
        """Bring left_out.csv up to date."""
        self.written = time.monotonic()
        if self.processes.first:
            write_failures(self.file, list(self.failures), self.home)
