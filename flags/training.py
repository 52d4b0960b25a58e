"""What is trained and how: network, augmentation, optimiser, schedule."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from settings import OptionalText, PathText, Section, Share, described, not_a_bool


class Model(Section):
    variant: OptionalText = described("", "Size of the network, as ResNet's 34; empty: its first.")
    pretrained: bool = described(False, "Start from ImageNet weights.")
    weights: PathText = described(
        "", "File of weights to start from: .safetensors, or .pth of timm, torchvision or ours."
    )
    in_channels: Annotated[Literal[1, 3], BeforeValidator(not_a_bool)] = described(
        3, "3: colour; 1: pictures are turned grey."
    )
    init_weights: bool = described(
        True, "Initialise as the network's paper does; False: PyTorch's defaults for each layer."
    )


class Augment(Section):
    """Training augmentation (torchvision.transforms.v2); each chance is for one sample."""

    flip: Share = described(0.5, "Chance of a horizontal flip.")
    rotation: float = described(
        5.0, "Largest rotation either way, of half of the samples.", "degrees", ge=0, le=180
    )
    color: Share = described(0.1, "Strength of brightness, contrast and saturation changes.")
    jpeg: Share = described(0.1, "Chance of JPEG compression.")
    jpeg_quality: list[int] = described(
        [60, 100], "Range of JPEG quality.", "1..100", min_length=2, max_length=2
    )
    blur: Share = described(0.0, "Chance of a slight Gaussian blur of the whole crop.")
    resize: Share = described(0.1, "Chance of shrinking to half at most and growing back.")
    erasing: Share = described(0.0, "Chance of erasing a rectangle.")

    @model_validator(mode="after")
    def _quality(self) -> "Augment":
        low, high = self.jpeg_quality
        if not 1 <= low <= high <= 100:
            raise ValueError(
                f"augment.jpeg_quality {self.jpeg_quality} wants [low, high] within 1..100"
            )
        return self


class Optimizer(Section):
    type: Literal["Adam", "AdamW", "SGD", "Adadelta", "RMSprop"] = described("Adam", "Optimiser.")
    lr: float = described(1e-4, "Learning rate at the start (after warm-up).", gt=0)
    weight_decay: float = described(1e-2, "Weight decay.", ge=0)
    momentum: float = described(0.9, "Momentum of SGD and RMSprop.", ge=0, lt=1)


class Scheduler(Section):
    type: Literal["step", "cosine", "plateau", "none"] = described(
        "step", "Learning-rate schedule."
    )
    step_size: int = described(5, "step: epochs between two decays.", "epochs", ge=1)
    gamma: float = described(0.1, "step and plateau: factor of a decay.", gt=0, le=1)
    warmup_epochs: int = described(0, "cosine: epochs of linear warm-up.", "epochs", ge=0)
    patience: int = described(
        2, "plateau: epochs without improvement before a decay.", "epochs", ge=0
    )
    min_lr: float = described(0.0, "cosine and plateau: the rate never falls below it.", ge=0)
