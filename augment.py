"""The training augmentation: faces as they come, changed as uploads and cameras change them."""

import torch
from torchvision.transforms import v2

from faces import roundtrip
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
    if settings.sharpen:
        steps.append(v2.RandomApply([_Sharpen()], settings.sharpen))
    if settings.resize:
        steps.append(v2.RandomApply([_ShrinkAndGrow(settings.resize_least)], settings.resize))
    if settings.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], settings.blur))
    if settings.noise:
        steps.append(v2.RandomApply([_Noise(settings.noise_most)], settings.noise))
    if settings.jpeg:
        steps.append(v2.RandomApply([v2.JPEG((low, high))], settings.jpeg))
    if settings.h264:
        steps.append(v2.RandomApply([_H264(*settings.h264_crf)], settings.h264))
    if settings.erasing:
        steps.append(v2.RandomErasing(settings.erasing, scale=(0.02, 0.2)))
    return v2.Compose(steps)


class _ShrinkAndGrow(torch.nn.Module):
    """Lose resolution as a re-sized upload does: down to `least` of it at most, and back."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.least = least

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[-2:]
        factor = float(torch.empty(()).uniform_(self.least, 1.0))
        small = v2.functional.resize(
            picture, [max(1, int(height * factor)), max(1, int(width * factor))], antialias=True
        )
        return v2.functional.resize(small, [height, width], antialias=True)


class _Sharpen(torch.nn.Module):
    """Unsharp masking, as cameras and editors do it: the detail finer than a blur, up to 2.5 times
    more of it.
    """

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        amount = float(torch.empty(()).uniform_(0.3, 2.5))
        sigma = float(torch.empty(()).uniform_(0.6, 1.6))
        blurred = v2.functional.gaussian_blur(picture, [9, 9], [sigma, sigma])
        sharp = picture + amount * (picture.float() - blurred.float())
        return sharp.round().clamp(0, 255).to(torch.uint8)


class _H264(torch.nn.Module):
    """Lose what a film loses: a frame after H.264 of a constant rate factor `least` to `most`."""

    def __init__(self, least: float, most: float) -> None:
        super().__init__()
        self.least, self.most = least, most

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        crf = float(torch.empty(()).uniform_(self.least, self.most))
        frame = roundtrip.h264(picture.permute(1, 2, 0).numpy(), crf)
        return torch.from_numpy(frame).permute(2, 0, 1).contiguous()


class _Noise(torch.nn.Module):
    """Gaussian noise of each channel, uint8 to uint8, of a deviation up to `most` levels."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        deviation = float(torch.empty(()).uniform_(0.0, self.most))
        noisy = picture + deviation * torch.randn(picture.shape)
        return noisy.round().clamp(0, 255).to(torch.uint8)
