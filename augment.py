"""The training augmentation: faces as they come, changed as uploads and cameras change them."""

import torch
from torchvision.transforms import v2

from flags import Augment


def augmentation(settings: Augment) -> v2.Compose:
    """The training augmentation of uint8 [3, height, width] crops, drawn from the global RNG."""
    strength, (low, high) = settings.color, settings.jpeg_quality
    steps: list = [v2.RandomHorizontalFlip(settings.flip)]
    if settings.vertical_flip:
        steps.append(v2.RandomVerticalFlip(settings.vertical_flip))
    turn: list = []
    if settings.shift:
        shift, smooth = (settings.shift, settings.shift), v2.InterpolationMode.BILINEAR
        turn = [v2.RandomAffine(settings.rotation, translate=shift, interpolation=smooth)]
    elif settings.rotation:
        turn = [v2.RandomRotation(settings.rotation, interpolation=v2.InterpolationMode.BILINEAR)]
    if turn:  # by far the dearest of the steps
        steps.append(v2.RandomApply(turn, settings.turned))
    if strength:
        steps.append(v2.ColorJitter(strength, strength, strength))
    if settings.resize:
        steps.append(v2.RandomApply([_ShrinkAndGrow()], settings.resize))
    if settings.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], settings.blur))
    if settings.jpeg:
        steps.append(v2.RandomApply([v2.JPEG((low, high))], settings.jpeg))
    if settings.erasing:
        steps.append(v2.RandomErasing(settings.erasing, scale=(0.02, 0.2)))
    return v2.Compose(steps)


class _ShrinkAndGrow(torch.nn.Module):
    """Lose resolution as a re-sized upload does: down to half at most, and back."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[-2:]
        factor = float(torch.empty(()).uniform_(0.5, 1.0))
        small = v2.functional.resize(
            picture, [max(1, int(height * factor)), max(1, int(width * factor))], antialias=True
        )
        return v2.functional.resize(small, [height, width], antialias=True)
