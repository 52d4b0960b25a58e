"""What is trained and how: network, augmentation, optimiser, schedule."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from settings import OptionalText, PathText, Section, Share, described, not_a_bool


class Model(Section):
    variant: OptionalText = described("", "Size of the network, as ResNet's 34; empty: its first.")
    pretrained: bool = described(
        False, "Start from published weights: ImageNet's, or what a ViT's variant names."
    )
    weights: PathText = described(
        "", "File of weights to start from: .safetensors, or .pth of timm, torchvision or ours."
    )
    in_channels: Annotated[Literal[1, 3], BeforeValidator(not_a_bool)] = described(
        3, "3: colour; 1: pictures are turned grey."
    )
    init_weights: bool = described(
        True, "Initialise as the network's paper does; False: PyTorch's defaults for each layer."
    )
    learns: Literal["all", "norms"] = described(
        "all", "norms: the normalisation layers and the head alone, the rest stays as it begins."
    )
    freeze_epochs: int = described(0, "First epochs in which only the head learns.", "epochs", ge=0)
    ema: float = described(
        0.0,
        "Decay of a moving average of the weights, as .999, which is tested; 0: none.",
        ge=0,
        lt=1,
    )
    compile: bool = described(False, "Train through torch.compile; needs a C++ compiler.")


class Augment(Section):
    """Training augmentation (torchvision.transforms.v2); each chance is for one sample."""

    flip: Share = described(0.5, "Chance of a horizontal flip.")
    vertical_flip: Share = described(0.0, "Chance of a vertical flip.")
    rotation: float = described(5.0, "Largest rotation either way.", "degrees", ge=0, le=360)
    shift: Share = described(0.0, "Largest shift either way, in sides of the crop.")
    turned: Share = described(0.5, "Chance that a sample is rotated and shifted.")
    color: Share = described(0.1, "Strength of brightness, contrast and saturation changes.")
    jpeg: Share = described(0.1, "Chance of JPEG compression.")
    jpeg_quality: list[int] = described(
        [60, 100], "Range of JPEG quality.", "1..100", min_length=2, max_length=2
    )
    blur: Share = described(0.0, "Chance of a slight Gaussian blur of the whole crop.")
    resize: Share = described(0.1, "Chance of shrinking and growing back.")
    resize_least: float = described(
        0.5, "Smallest share of its size that a sample is shrunk to.", gt=0, le=1
    )
    sharpen: Share = described(
        0.0, "Chance of sharpening: without it, what is sharp is soon called fake, or real."
    )
    noise: Share = described(0.0, "Chance of Gaussian noise.")
    noise_most: float = described(
        8.0, "Largest standard deviation of the noise.", "levels of 255", gt=0, le=128
    )
    h264: Share = described(
        0.0, "Chance of H.264 compression, as of a film's frame; takes 10 ms of a core each time."
    )
    h264_crf: list[float] = described(
        [18, 34], "Range of its constant rate factor.", "0..51", min_length=2, max_length=2
    )
    erasing: Share = described(0.0, "Chance of erasing a rectangle.")
    margin: list[float] = described(
        [], "Range of the context around the box, as [5, 20]; empty: face.margin.", "% of box",
        max_length=2,
    )  # fmt: skip
    margin_each_side: bool = described(
        False, "Each side of the crop draws its own margin, and the crop is squeezed to the input "
        "size, as SBI's code does (there of the box's width or height, here of its longer side).",
    )  # fmt: skip
    max_side: list[float] = described(
        [], "Faces whose box's longer side exceeds one drawn from this range are shrunk to it, as "
        "[56, 104]: where forgeries have larger faces than reals, detail alone would tell them. "
        "Below most of the reals' sides; empty: not.", "px of the stored face", max_length=2,
    )  # fmt: skip

    @model_validator(mode="after")
    def _max_side(self) -> "Augment":
        if self.max_side and not (
            len(self.max_side) == 2 and 1 <= self.max_side[0] <= self.max_side[1]
        ):
            raise ValueError(
                f"augment.max_side {self.max_side} wants [low, high] in pixels, or nothing"
            )
        return self

    @model_validator(mode="after")
    def _margin(self) -> "Augment":
        if self.margin and not (len(self.margin) == 2 and 0 <= self.margin[0] <= self.margin[1]):
            raise ValueError(
                f"augment.margin {self.margin} wants [low, high] in % of the box, or nothing"
            )
        return self

    @model_validator(mode="after")
    def _quality(self) -> "Augment":
        low, high = self.jpeg_quality
        if not 1 <= low <= high <= 100:
            raise ValueError(
                f"augment.jpeg_quality {self.jpeg_quality} wants [low, high] within 1..100"
            )
        least, most = self.h264_crf
        if not 0 <= least <= most <= 51:
            raise ValueError(f"augment.h264_crf {self.h264_crf} wants [low, high] within 0..51")
        return self


class Optimizer(Section):
    type: Literal["Adam", "AdamW", "SGD", "Adadelta", "RMSprop"] = described("Adam", "Optimiser.")
    lr: float = described(1e-4, "Learning rate at the start (after warm-up).", gt=0)
    weight_decay: float = described(1e-2, "Weight decay.", ge=0)
    momentum: float = described(0.9, "Momentum of SGD and RMSprop.", ge=0, lt=1)
    clip_norm: float = described(
        0.0, "Gradients whose norm is larger are scaled down to it; 0: never.", ge=0
    )
    sam_rho: float = described(
        0.0,
        "Sharpness-aware minimisation (Foret 2021): how far around the weights it looks, SBI: "
        ".05; a step takes twice as long; 0: not.",
        ge=0,
    )
    accumulate: int = described(
        1, "Batches whose gradients make one step, as if they were one batch.", "batches", ge=1
    )


class Loss(Section):
    """Cross-entropy, and what is changed about it."""

    weights: Literal["none", "balanced"] = described(
        "none", "balanced: each class counts alike, however many samples it has."
    )
    fake_weight: float = described(1.0, "A fake counts so many times as much as a real.", gt=0)
    label_smoothing: float = described(
        0.0, "Share of a label that is spread over both classes (Szegedy 2016).", ge=0, lt=1
    )
    mixup: float = described(
        0.0, "Pairs of a batch are mixed by Beta(mixup, mixup) (Zhang 2018); 0: not.", ge=0
    )


Metric = Literal[
    "valid_loss", "valid_accuracy", "valid_precision", "valid_recall", "valid_f1", "valid_auc",
    "valid_eer", "valid_average_precision", "epoch",
]  # fmt: skip


class Saving(Section):
    """Which checkpoints a run keeps, and what it does when the numbers run away."""

    best: Metric = described(
        "valid_loss",
        "What best.pth, early stopping and a plateau schedule look at; epoch: the "
        "newest is the best, for validation data too small to choose by.",
    )
    keep: int = described(0, "Numbered checkpoints kept, the newest; 0: all.", ge=0)
    minutes: float = described(
        15.0, "An epoch under way is saved each so often; 0: never.", "minutes", ge=0
    )
    on_nan: Literal["stop", "roll_back"] = described(
        "stop", "Loss is not a number: stop, or go back one epoch with a tenth of the rate."
    )


class Scheduler(Section):
    type: Literal["step", "cosine", "linear", "plateau", "none"] = described(
        "step", "Learning-rate schedule."
    )
    hold: Share = described(0.75, "linear: share of the run before the rate falls to min_lr.")
    step_size: int = described(5, "step: epochs between two decays.", "epochs", ge=1)
    gamma: float = described(0.1, "step and plateau: factor of a decay.", gt=0, le=1)
    warmup_epochs: int = described(0, "cosine: epochs of linear warm-up.", "epochs", ge=0)
    patience: int = described(
        2, "plateau: epochs without improvement before a decay.", "epochs", ge=0
    )
    min_lr: float = described(
        0.0, "cosine, linear and plateau: the rate never falls below it.", ge=0
    )
