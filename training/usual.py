"""The features of validation reals, kept while they are scored: what is usual for a network."""

from collections.abc import Iterable, Iterator

import numpy as np

import familiar
from batches import Batch
from manifest import REAL
from networks import Detector
from processes import Processes
from training.thresholds import Fitted


class Reals:
    """The batches of a loader; between two of them the features of its reals are kept.

    labels: [n], of the loader's rows. At most familiar.MOST reals count, evenly spread.
    """

    def __init__(self, network: Detector, loader: Iterable[Batch], labels: np.ndarray) -> None:
        reals = np.flatnonzero(labels == REAL)
        count = min(len(reals), familiar.MOST)
        places = np.linspace(0, max(0, len(reals) - 1), count).round().astype(int)
        self.network, self.loader, self.wanted = network, loader, reals[places]
        self.kept: dict[int, np.ndarray] = {}

    def __iter__(self) -> Iterator[Batch]:
        with self.network.features() as seen:
            for batch in self.loader:
                seen.clear()
                yield batch
                self._keep(batch, seen[0].numpy() if seen else None)

    def _keep(self, batch: Batch, features: np.ndarray | None) -> None:
        if features is None or len(features) != len(batch):
            return  # a network of somebody's own that calls its head in another way
        for row in np.flatnonzero(np.isin(batch.rows.numpy(), self.wanted)):
            self.kept[int(batch.rows[row])] = features[row].copy()

    def fitted(self, processes: Processes, data: str) -> Fitted:
        """The checkpoint's key `features`, or nothing where the reals are too few."""
        kept = {row: values for part in processes.gather(self.kept) for row, values in part.items()}
        if not kept:
            return {}
        stored = familiar.fit(np.stack([kept[row] for row in sorted(kept)]), data)
        return {"features": stored} if stored else {}
