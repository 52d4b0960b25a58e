"""Network + batches -> fake scores, and the scores.csv that every number is computed from."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

import manifest
from dataset import Batch, Failure
from utils import write_atomic

COLUMNS = (
    "path", "label", "score", "split", "video", "identity", "source", "method", "track", "frame",
    "timestamp", "box", "confidence", "source_path",
)  # fmt: skip
"""Columns of scores.csv: the manifest's keys and `score`, 0..1, how fake."""


def fake_score(logits: torch.Tensor) -> torch.Tensor:
    """Logits [n, 2] (softmax) or [n, 1] (sigmoid) -> scores [n], float64, 0..1, 1 = fake."""
    logits = logits.detach().double()
    margin = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    return torch.sigmoid(margin)


@torch.no_grad()
def score(
    network: nn.Module,
    batches: Iterable[Batch],
    count: int,
    device: torch.device,
    precision: torch.dtype = torch.float32,
    channels_last: bool = True,
    between: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, list[Failure]]:
    """Scores of `count` rows, float64 [count]; NaN where a row failed, with the failures.

    `between` is called after each batch (a progress bar; a stop). Scores are computed in float32
    unless another precision is asked for: bfloat16 rounds logits to three digits.
    """
    was_training = network.training
    network.eval()
    result = np.full(count, np.nan)
    failures: list[Failure] = []
    try:
        for batch in batches:
            failures.extend(batch.failures)
            if len(batch):
                images = to_device(batch.images, device, channels_last)
                with autocast(device, precision):
                    logits = network(images)
                # MPS has no float64, so the last step is the CPU's everywhere.
                result[batch.rows.numpy()] = fake_score(logits.float().cpu()).numpy()
            between()
    finally:
        network.train(was_training)
    return result, failures


def to_device(images: torch.Tensor, device: torch.device, channels_last: bool) -> torch.Tensor:
    """uint8 pictures to the device; the network turns them into floats there."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.to(device, non_blocking=True, memory_format=layout)


@contextmanager
def autocast(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Mixed precision where it is asked for; float32 is left alone."""
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        yield


def write_scores(path: Path, rows: pd.DataFrame, values: np.ndarray, home: Path) -> None:
    """Write the rows that have a score, all its digits, with paths as their manifest has them."""
    scored = rows.assign(score=values)[np.isfinite(values)]
    for column in ("path", "source_path"):
        scored[column] = [manifest.relative(value, home) for value in scored[column]]
    kept = ["path", "label", "score"]
    kept += [c for c in COLUMNS[3:] if (scored[c].astype(str) != "").any()]
    scored["score"] = [repr(float(value)) for value in scored["score"]]
    write_atomic(path, scored[kept].to_csv(index=False, lineterminator="\n"))


def of_random(count: int, labels: np.ndarray) -> pd.DataFrame:
    """Rows for `tmp_data`'s random pictures."""
    rows = pd.DataFrame({"path": [f"random-{i}" for i in range(count)], "label": labels})
    return rows.reindex(columns=list(manifest.COLUMNS), fill_value="")
