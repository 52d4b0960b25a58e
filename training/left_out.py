"""The rows that gave no sample while training: named, counted, and too many stop the run."""

from collections.abc import Iterable
from pathlib import Path

from failures import Failure, check_share, write_failures
from flags import Config
from processes import Processes
from training.rows import Rows


class LeftOut:
    """What a run left out so far; left_out.csv in its folder says the same."""

    def __init__(self, rows: Rows, config: Config, processes: Processes) -> None:
        self.file, self.home = Path(config.prefix) / "left_out.csv", rows.home
        self.total, self.max_bad = len(rows.train) + len(rows.valid), config.data.max_bad
        self.processes = processes
        self.failures = dict.fromkeys(rows.left_out)
        self._write()

    def note(self, failures: Iterable[Failure]) -> None:
        """Name and count rows that gave no sample. Raises UserError where they are too many."""
        new = dict.fromkeys(f for f in failures if f not in self.failures)
        if new:
            self.failures |= new
            self._write()
            check_share(self.failures, self.total, self.max_bad)

    def share(self) -> None:
        """Tell all processes what each of them met in its own share."""
        theirs = self.processes.gather(list(self.failures))
        self.note(failure for some in theirs for failure in some)

    def _write(self) -> None:
        if self.processes.first:
            write_failures(self.file, list(self.failures), self.home)
