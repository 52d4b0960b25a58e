"""Network + samples -> fake scores, and the scores.csv that every number is computed from."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import manifest
import utils
from batches import Batch, EpochBatches, make_loader
from failures import NO_SCORE, Failure
from flags import Config
from processes import Processes

FIRST = ("path", "label", "score")
"""The first columns of scores.csv; the manifest's others follow where they are known."""

OF_VIDEOS = ("video", "label", "score", "frames", "tracks", "tracks_left_out")
"""The first columns of video_scores.csv; those that all faces of each video agree on follow."""

LEFT_OUT = ("landmarks", "media", "media_box", "media_size")
"""Columns of a manifest that scores.csv does without."""


def fake_score(logits: torch.Tensor) -> torch.Tensor:
    """Logits [n, 2] (softmax) or [n, 1] (sigmoid) -> scores [n], float64, 0..1, 1 = fake."""
    logits = logits.detach().double()
    margin = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    return torch.sigmoid(margin)


def scoring_precision(config: Config, device: torch.device) -> tuple[torch.dtype, str]:
    """float32 unless a precision is set by name: bfloat16 rounds a logit to three digits."""
    if config.precision == "auto":
        return torch.float32, "fp32 (scores are computed in float32 unless precision is set)"
    return utils.pick_precision(config.precision, device)


def loader_for(
    samples: Dataset, config: Config, device: torch.device, processes: Processes | None = None
) -> DataLoader:
    """All samples once, in order; of several processes each its share of every batch."""
    order = EpochBatches(
        len(samples),  # type: ignore[arg-type]
        config.batch_size,
        config.seed,
        shuffle=False,
        processes=processes,
    )
    return make_loader(samples, order, config.num_workers, pin_memory=device.type == "cuda")


@torch.no_grad()
def score(
    network: nn.Module,
    loader: Iterable[Batch],
    names: list[str],
    device: torch.device,
    precision: torch.dtype = torch.float32,
    channels_last: bool = True,
    between: Callable[[], object] = lambda: None,
    stop: Callable[[], object] = lambda: False,
    processes: Processes | None = None,
) -> tuple[np.ndarray, list[Failure]]:
    """Scores of the rows called `names`, float64 [n]; NaN where a row failed, with the failures.

    `between` is called after each batch (a progress bar); where `stop` then says so, the rest is
    not scored. A network that answers NaN has failed on that row: it is named like any other
    failure. processes: the loader gave each its share; every one returns the whole.
    """
    was_training = network.training
    network.eval()
    result = np.full(len(names), np.nan)
    failures: list[Failure] = []
    try:
        for batch in loader:
            failures.extend(batch.failures)
            if len(batch):
                images = to_device(batch.images, device, channels_last)
                with autocast(device, precision):
                    logits = network(images)
                # MPS has no float64, so the last step is the CPU's everywhere.
                values = fake_score(logits.float().cpu()).numpy()
                result[batch.rows.numpy()] = values
                failures += [
                    Failure(names[row], NO_SCORE, "the network's answer is not a number")
                    for row in batch.rows[np.isnan(values)].tolist()
                ]
            between()
            if stop():
                break
    finally:
        network.train(was_training)
    return (result, failures) if processes is None else _joined(processes, result, failures)


def _joined(
    processes: Processes, result: np.ndarray, failures: list[Failure]
) -> tuple[np.ndarray, list[Failure]]:
    """Scores and failures of all processes: each row was scored by one of them."""
    parts = processes.gather((result, failures))
    for values, _ in parts:
        result = np.where(np.isnan(result), values, result)
    return result, [failure for _, theirs in parts for failure in theirs]


def to_device(images: torch.Tensor, device: torch.device, channels_last: bool) -> torch.Tensor:
    """uint8 pictures to the device; the network turns them into floats there."""
    return images.to(device, non_blocking=True, memory_format=layout(channels_last))


def layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


@contextmanager
def autocast(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Mixed precision where it is asked for; float32 is left alone."""
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        yield


def write_scores(path: Path, rows: pd.DataFrame, values: np.ndarray, home: Path) -> None:
    """Write the rows that have a score, all its digits, with paths as their manifest has them."""
    scored = rows.assign(score=values)[np.isfinite(values)]
    scored = scored.drop(columns=[c for c in LEFT_OUT if c in scored])
    scored["score"] = [repr(float(value)) for value in scored["score"]]
    utils.write_atomic(path, manifest.as_csv(scored, home, FIRST))


def write_videos(path: Path, videos: pd.DataFrame) -> None:
    """Write rules.to_videos' table, all digits of its scores."""
    text = [repr(float(value)) for value in videos["score"]]
    utils.write_atomic(path, manifest.as_csv(videos.assign(score=text), path.parent, OF_VIDEOS))


def of_random(count: int, labels: np.ndarray) -> pd.DataFrame:
    """Rows for `tmp_data`'s random pictures."""
    rows = pd.DataFrame({"path": [f"random-{i}" for i in range(count)], "label": labels})
    return rows.reindex(columns=list(manifest.COLUMNS), fill_value="")
