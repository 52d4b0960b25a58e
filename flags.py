"""The configuration's keys: one typed schema that every command shares.

    python train.py --config_file configs/ResNet.yaml --optimizer.lr=3e-4 --num_epochs 3
    python train.py --help

settings.py reads it from defaults, then a YAML, then the command line.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from settings import (
    NumberOrText,
    OptionalText,
    PathText,
    Section,
    Share,
    described,
    not_a_bool,
    refuse_if,
)


def _as_margin(value: Any) -> Any:
    text = "" if isinstance(value, bool) else str(value).replace(" ", "")
    if not re.fullmatch(r"\d+(\.\d+)?(px|%)?", text):
        raise ValueError("give pixels (50 or 50px) or a share of the box (30%)")
    return text if text.endswith(("px", "%")) else f"{text}px"


Margin = Annotated[str, BeforeValidator(_as_margin)]
"""Context around the face box, on each side: `30%` of the box or `50px` of the stored crop."""


def parse_margin(margin: str) -> tuple[float, str]:
    """`"30%"` -> (30.0, "%"), `"50px"` -> (50.0, "px")."""
    unit = "%" if margin.endswith("%") else "px"
    return float(margin.removesuffix(unit)), unit


# --------------------------------------------------------------------------------- schema


class Data(Section):
    train: PathText = described("", "CSV of faces, or a folder with real/ and fake/, to train on.")
    valid: PathText = described(
        "", "CSV or folder to validate on, where data.train has no val rows."
    )
    test: PathText = described("", "CSV or folder for test.py; train.py never reads it.")
    random_split: bool = described(False, "Take test_proportions of data.train as validation.")
    test_proportions: float = described(
        0.2, "Share of data.train held out by random_split.", gt=0, lt=1
    )
    crop: bool = described(True, "Find faces once and cut them out; False takes pictures whole.")
    num_classes: Annotated[Literal[1, 2], BeforeValidator(not_a_bool)] = described(
        2, "2: softmax over real and fake; 1: one sigmoid."
    )
    fake_label: int | str | None = described(
        None, "Which value of the label column means fake, where the CSV does not say."
    )
    repeat: int = described(1, "Passes over the training rows in one epoch (small sets).", ge=1)
    max_bad: Share = described(0.05, "Share of unreadable pictures above which a run stops.")
    cache: PathText = described("data/cache", "Folder for the face crops that data.crop finds.")


class Face(Section):
    """The crop recipe: travels in the checkpoint, so that test and predict cut alike."""

    detector: Literal["mtcnn", "haar"] = described("mtcnn", "Face detector.")
    thresholds: list[Share] = described(
        [0.6, 0.7, 0.7], "MTCNN's thresholds for its three stages.", min_length=3, max_length=3
    )
    confidence: Share = described(0.95, "Faces that MTCNN is less sure of are not kept.")
    min_size: int = described(
        20, "About the smallest face looked for, in the picture that is searched.", "px", ge=10
    )
    detect_size: int = described(
        1024, "Pictures with a longer side are shrunk to it for detection only.", "px", ge=64
    )
    select: Literal["largest", "all"] = described(
        "largest", "Keep a picture's largest face, or all."
    )
    no_face: Literal["drop", "whole"] = described(
        "drop", "A picture without a face is left out, or taken whole."
    )
    grow: float = described(
        2.0, "Side of the stored context crop, in sides of the face box.", ge=1, le=4
    )
    max_size: int = described(
        512, "Longest side of the stored crop; larger ones are shrunk.", "px", ge=64
    )
    format: Literal["jpg", "png"] = described(
        "jpg", "Stored crop: JPEG 95 with 4:4:4 colour, or PNG, four times larger and slower."
    )
    margin: Margin = described(
        "30%", "Context that the network sees around the box, each side.", "% of box, or px"
    )

    @model_validator(mode="after")
    def _margin_inside_the_stored_crop(self) -> "Face":
        if self.margin.endswith("%"):
            needed = 1 + 2 * float(self.margin[:-1]) / 100
            if needed > self.grow + 1e-9:
                raise ValueError(
                    f"face.margin {self.margin} looks beyond the stored crop: "
                    f"set face.grow to {needed:g} or more"
                )
        return self


class InputSize(Section):
    height: int = described(224, "Height of the network's input.", "px", ge=16)
    width: int = described(224, "Width of the network's input.", "px", ge=16)


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


class Warp(Section):
    """Face-warping artefacts: the face region resized, blurred, resized back."""

    scale_min: float = described(0.7, "Smallest resize of the face region.", gt=0)
    scale_max: float = described(1.5, "Largest resize of the face region.", gt=0)
    kernel: int = described(5, "Side of the Gaussian blur's kernel, odd.", "px", ge=1)
    detector: Literal["stored", "haar"] = described(
        "stored", "Face region: the stored box of the row, or a Haar cascade's."
    )

    @model_validator(mode="after")
    def _ranges(self) -> "Warp":
        wrong = []
        if self.kernel % 2 == 0:
            wrong.append(f"fakes.warp.kernel {self.kernel} must be odd: use {self.kernel + 1}")
        if self.scale_min > self.scale_max:
            wrong.append(
                f"fakes.warp.scale_min {self.scale_min:g} is larger than fakes.warp.scale_max "
                f"{self.scale_max:g}: swap them"
            )
        return refuse_if(wrong, self)


class Fakes(Section):
    """Fakes made from real faces; `type` is a file of fakes/ and names its group of settings."""

    type: Literal["none", "warp"] = described(
        "none", "warp: face-warping artefacts (Li & Lyu 2018)."
    )
    probability: Share = described(0.5, "Chance that a real training sample becomes a fake.")
    warp: Warp = described(Warp, "Settings of warp.")


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


class Tracking(Section):
    wandb: Literal["online", "offline", "off"] = described(
        "offline", "Weights & Biases: offline needs no account and no network."
    )
    tensorboard: Literal["on", "off"] = described("off", "TensorBoard files in the run folder.")
    project: str = described("deepfake-detection", "W&B project.")
    timeout: int = described(20, "Longest wait for the W&B server at the start.", "seconds", ge=1)


class Heatmaps(Section):
    count: int = described(12, "Pictures drawn: a third most wrong, most certain, random.", ge=1)
    path: PathText = described("", "One picture or a folder to explain instead of the test set.")


class Config(Section):
    """What train.py and test.py read."""

    network: str = described("ResNet", "Name of a file in networks/.")
    seed: int = described(42, "Seed of everything random.", ge=0, lt=2**32)
    device: NumberOrText = described("auto", "auto, cpu, cuda, mps, or the number of a GPU.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = described(
        "auto", "Arithmetic; auto looks at what the processor can do and says what it took."
    )
    channels_last: bool = described(True, "Memory format of pictures; faster for convolutions.")
    data: Data = described(Data, "The faces.")
    face: Face = described(Face, "The crop recipe.")
    input_size: InputSize = described(InputSize, "What the network is shown.")
    model: Model = described(Model, "The network.")
    fakes: Fakes = described(Fakes, "Fakes made while training.")
    augment: Augment = described(Augment, "Training augmentation.")
    optimizer: Optimizer = described(Optimizer, "The optimiser.")
    scheduler: Scheduler = described(Scheduler, "The learning-rate schedule.")
    tracking: Tracking = described(Tracking, "Experiment trackers.")
    checkpoint: PathText = described("", "Checkpoint to continue from.")
    test_checkpoint: PathText = described("", "Checkpoint to test; empty: the run's best.pth.")
    prefix: str = described("./log/run", "Folder of the run.", min_length=1)
    batch_size: int = described(32, "Samples in a batch; batch norm needs two.", ge=2)
    num_workers: int = described(
        2, "Processes that load pictures; 0: none beside the main one.", ge=0
    )
    num_epochs: int = described(20, "Epochs at the most.", "epochs", ge=1)
    print_epochs: int = described(1, "Epochs between two printed lines.", "epochs", ge=1)
    dropout_rate: float = described(0.0, "Dropout before the last layer.", ge=0, lt=1)
    EARLY_STOPPING_EPOCH: int = described(
        5, "Epochs without a lower validation loss before stopping; 0: never.", "epochs", ge=0
    )
    tmp_data: list[int] | None = described(
        None, "[N, 3, H, W]: train on N random pictures, to see that everything runs."
    )
    bootstrap: int = described(2000, "Resamples behind each 95 % interval; 0: none.", ge=0)
    layer_table: bool = described(True, "test.py: print torchsummary's table of layers.")
    cam: bool = described(False, "test.py: draw Grad-CAM heatmaps.")
    heatmaps: Heatmaps = described(Heatmaps, "Which heatmaps.")

    @model_validator(mode="after")
    def _combinations(self) -> "Config":
        wrong = []
        if self.data.random_split and self.data.valid:
            wrong.append(
                "data.random_split takes the validation from data.train, and data.valid "
                f"{self.data.valid!r} is another: set one of the two"
            )
        shape = self.tmp_data
        if shape is not None and (len(shape) != 4 or min(shape) < 1 or shape[0] < 8):
            wrong.append(f"tmp_data {shape} wants [N, 3, H, W] with N of at least 8")
        elif shape is not None and shape[1] != self.model.in_channels:
            wrong.append(
                f"tmp_data has {shape[1]} channels, model.in_channels is "
                f"{self.model.in_channels}: make them equal"
            )
        if self.scheduler.type == "cosine" and self.scheduler.warmup_epochs >= self.num_epochs:
            wrong.append(
                f"scheduler.warmup_epochs {self.scheduler.warmup_epochs} must be less than "
                f"num_epochs {self.num_epochs}"
            )
        if self.fakes.type != "none" and not self.data.crop:
            wrong.append(
                f"fakes.type {self.fakes.type}: fakes are made in the crop around a face: set "
                "data.crop to True"
            )
        if self.fakes.type != "none" and self.face.no_face == "whole":
            wrong.append(
                f"fakes.type {self.fakes.type} needs a face box, face.no_face: whole keeps "
                "pictures without one: set face.no_face to drop"
            )
        if self.model.pretrained and self.model.weights:
            wrong.append(
                f"model.pretrained and model.weights {self.model.weights} both say where to start: "
                "set one of the two"
            )
        if self.heatmaps.path and not self.cam:
            wrong.append(f"heatmaps.path {self.heatmaps.path} needs --cam: heatmaps are drawn then")
        return refuse_if(wrong, self)


class Prepare(Section):
    """What prepare.py reads."""

    root: PathText = described("", "Folder of the collection; empty where a package brings it.")
    out: PathText = described("", "Folder for the faces and the manifest; empty: data/SOURCE.")
    split: list[float] = described(
        [0.6, 0.2, 0.2], "Shares of people for train, val and test.", min_length=3, max_length=3
    )
    seed: int = described(42, "Seed of the split and of the fakes.", ge=0, lt=2**32)
    device: NumberOrText = described("cpu", "Where faces are searched: cpu, cuda, a GPU's number.")
    face: Face = described(Face, "The crop recipe.")
    fakes: Fakes = described(Fakes, "Fakes to write for val and test, from their reals.")
    max_bad: Share = described(0.05, "Share of unreadable pictures above which it stops.")

    @model_validator(mode="after")
    def _shares(self) -> "Prepare":
        if min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(f"split {self.split} must be shares that sum to 1, as [.6, .2, .2]")
        return self


class Sheet(Section):
    """What fakes/sheet.py reads."""

    out: str = described("sheet.png", "Picture to write, .png or .jpg.", min_length=5)
    count: int = described(30, "Pairs on the sheet.", ge=1)
    seed: int = described(42, "Seed of the fakes.", ge=0, lt=2**32)
    face: Face = described(Face, "The crop recipe.")
    fakes: Fakes = described(Fakes, "The fakes.")

    @model_validator(mode="after")
    def _suffix(self) -> "Sheet":
        if not self.out.endswith((".png", ".jpg")):
            raise ValueError(f"out {self.out} must end in .png or .jpg")
        return self
