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
from utils import UserError

FIRST = ("path", "label", "score")
"""The first columns of scores.csv; the manifest's others follow where they are known."""

OF_VIDEOS = ("video", "label", "score", "frames", "tracks", "tracks_left_out")
"""The first columns of video_scores.csv; those that all faces of each video agree on follow."""

TTA = ("none", "flip", "crops10")
"""Test-time augmentation, the names of flags.Tta: one view of a face; it and its mirror image; ten
crops of it, of whose scores the top half is averaged (FWA: Li & Lyu 2018)."""

CROPS, LEAST_CROP = 10, 0.8
"""The crops of `crops10`: squares of so many parts of the network's crop at the least. FWA takes a
head with margins of up to an eighth of the face on each side; ours lie inside what was cut."""

LEFT_OUT = ("landmarks", "media_box", "media_size")
"""Columns of a manifest that scores.csv does without."""


def fake_score(logits: torch.Tensor) -> torch.Tensor:
    """Logits [n, 2] (softmax) or [n, 1] (sigmoid) -> scores [n], float64, 0..1, 1 = fake."""
    logits = logits.detach().double()
    margin = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    return torch.sigmoid(margin)


def views(images: torch.Tensor, tta: str) -> Iterator[torch.Tensor]:
    """What is scored of pictures [n, channels, height, width] under each `tta`, one after another.

    `crops10`: the same squares of every face, drawn once, so that a face has one score wherever
    it stands in a batch and whoever asks.
    """
    if tta not in TTA:
        raise UserError(f"tta {tta!r} is a later version's: this one knows {', '.join(TTA)}")
    if tta != "crops10":
        yield images
        if tta == "flip":
            yield images.flip(-1)
        return
    height, width = images.shape[-2:]
    for side, x, y in np.random.default_rng(0).uniform((LEAST_CROP, 0, 0), 1, (CROPS, 3)):
        rows, columns = max(1, round(side * height)), max(1, round(side * width))
        top, left = round(y * (height - rows)), round(x * (width - columns))
        part = images[..., top : top + rows, left : left + columns].float()
        size = (height, width)
        yield nn.functional.interpolate(part, size, mode="bilinear", antialias=True)


def joined_views(each: torch.Tensor, tta: str) -> torch.Tensor:
    """Scores of all views [views, n] -> [n]: their mean; of `crops10` that of the top half."""
    highest = each.shape[0] // 2 if tta == "crops10" else each.shape[0]
    return each.sort(dim=0).values[-highest:].mean(dim=0)  # NaN counts as the highest, and stays


def scoring_precision(config: Config, device: torch.device) -> tuple[torch.dtype, str]:
    """float32 unless a precision is set by name: bfloat16 rounds a logit to three digits."""
    if config.precision == "auto":
        return torch.float32, "fp32 (scores are computed in float32 unless precision is set)"
    return utils.pick_precision(config.precision, device)


@contextmanager
def in_full(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """float32 as it is called: the convolutions of newer NVIDIA GPUs round to ten bits else (TF32),
    and thresholds that were fitted so are not quite those of scores from a CPU.
    """
    if device.type != "cuda" or precision != torch.float32:
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


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
    failure. A face counts by the network's own `tta`. processes: the loader gave each its share;
    every one returns the whole.
    """
    tta = getattr(network, "tta", "none")
    was_training = network.training
    network.eval()
    result = np.full(len(names), np.nan)
    failures: list[Failure] = []
    try:
        for batch in loader:
            failures.extend(batch.failures)
            if len(batch):
                images = to_device(batch.images, device, channels_last)
                each = []
                for view in views(images, tta):
                    with autocast(device, precision), in_full(device, precision):
                        logits = network(view)
                    # MPS has no float64, so the last step is the CPU's everywhere.
                    each.append(fake_score(logits.float().cpu()))
                values = joined_views(torch.stack(each), tta).numpy()
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
