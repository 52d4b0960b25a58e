"""The training loss: cross-entropy with class weights, label smoothing and mixup where wanted."""

import numpy as np
import torch
import torch.nn.functional as F

from batches import shares
from flags import Fakes, Loss
from metrics import FAKE, REAL
from utils import sample_seed


def training_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cross-entropy of two outputs, or of one sigmoid, natural logarithm.

    logits: [n, 2] or [n, 1]. labels: [n], 0 (real) or 1 (fake), whole numbers; or the share of
    fake in each sample, 0..1, floats (mixup). smoothing: share of each label that is spread over
    both classes (Szegedy et al., CVPR 2016, section 7). weights: [2], how much a real and a fake
    count; the mean is over samples, not over weights, so that batches can be added up.
    """
    if smoothing == 0 and weights is None and not labels.is_floating_point():
        if logits.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
        return F.cross_entropy(logits, labels)
    fake = labels.to(logits.dtype)
    target = fake * (1 - smoothing) + smoothing / 2
    if logits.shape[1] == 1:
        losses = F.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
    else:
        losses = F.cross_entropy(logits, torch.stack([1 - target, target], 1), reduction="none")
    if weights is not None:
        losses = losses * ((1 - fake) * weights[REAL] + fake * weights[FAKE])
    return losses.mean()


def class_weights(
    labels: np.ndarray,
    settings: Loss,
    fakes: Fakes,
    cells: np.ndarray | None = None,
    power: float = 1.0,
) -> torch.Tensor | None:
    """How much a real and a fake count, [2]; None where they count alike.

    labels: of the training rows. A real of them becomes a fake with `fakes.probability` while
    training, or with `fakes.pairs` comes with one. cells: of the rows, once or several times over,
    where `data.balance` draws them otherwise than they are. Balanced weights count what the
    network will see.
    """
    weights = np.ones(2)
    if settings.weights == "balanced":
        drawn = np.ones(len(labels))
        if cells is not None and len(labels):
            own = np.unique(cells[: len(labels)], return_inverse=True)[1]
            drawn = (shares(own, power) / np.bincount(own))[own]
        reals = float(drawn[labels == REAL].sum())
        seen = np.array([reals, drawn.sum() - reals])
        if fakes.paired:
            seen[FAKE] += reals
        elif fakes.type != "none":
            seen += reals * fakes.probability * np.array([-1, 1])
        weights = seen.sum() / 2 / np.maximum(seen, 1e-12)
    weights[FAKE] *= settings.fake_weight
    if settings.weights == "none" and settings.fake_weight == 1:
        return None
    return torch.tensor(weights, dtype=torch.float32)


def mixed(
    images: torch.Tensor, labels: torch.Tensor, alpha: float, seed: int, epoch: int, number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup (Zhang et al., ICLR 2018): each sample with a part of another one of its batch.

    images: uint8 [n, channels, height, width] -> floats 0..255. labels: [n] -> the share of fake
    in each, 0..1. The parts are a function of (seed, epoch, number of the batch). The larger part
    is always the sample's own, so that its label still says what it mostly is.
    """
    random = np.random.default_rng(sample_seed(seed, epoch, -2 - number))
    share = float(random.beta(alpha, alpha))
    share = max(share, 1 - share)
    other = torch.from_numpy(random.permutation(len(labels))).to(images.device)
    both = images.float(), labels.float()
    pictures, fake = (share * one + (1 - share) * one[other] for one in both)
    return pictures, fake
