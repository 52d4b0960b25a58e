"""The configuration's keys: one typed schema that every command shares.

    python train.py --config_file configs/ResNet.yaml --optimizer.lr=3e-4 --num_epochs 3
    python train.py --help

settings.py reads it from defaults, then a YAML, then the command line.
"""

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator, model_validator

from flags.checking import Balance, Check, Files, Merge, NearDuplicates, Overlap, Split
from flags.faces import Data, Face, InputSize, Margin, parse_margin
from flags.fakes import Blend, Blending, Fakes, Generated, Swap, Warp
from flags.predicting import Cams, Evidence, Predict
from flags.preparing import Frames
from flags.serving import Demo
from flags.sources import CelebDf, DeepfakeTimit, Dfd, FaceForensics, Folder, Unsplash
from flags.testing import Cards, Compare, Films, Heatmaps, Limits, Perturb, Rule, Tracking, Tta
from flags.training import Augment, Loss, Model, Optimizer, Saving, Scheduler
from settings import NumberOrText, PathText, Section, Share, described, refuse_if

__all__ = [
    "Ablation", "Augment", "Balance", "Blend", "Blending", "Calibrate", "Cams", "CelebDf",
    "Check", "Compare", "Config", "Data", "DeepfakeTimit", "Demo", "Dfd", "Evidence", "Face",
    "FaceForensics", "Fakes", "Files", "Films", "Folder", "Frames", "Generated", "Heatmaps",
    "InputSize", "LeaveOneOut", "Limits", "Loss", "Margin", "Merge", "Model", "NearDuplicates",
    "Optimizer", "Overlap", "Perturb", "Predict", "Prepare", "Saving", "Scheduler", "Sheet",
    "Split", "Swap", "Tracking", "Unsplash", "Warp", "parse_margin",
]  # fmt: skip


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
    loss: Loss = described(Loss, "The loss.")
    optimizer: Optimizer = described(Optimizer, "The optimiser.")
    scheduler: Scheduler = described(Scheduler, "The learning-rate schedule.")
    saving: Saving = described(Saving, "Checkpoints, and what the best one is.")
    tracking: Tracking = described(Tracking, "Experiment trackers.")
    checkpoint: PathText = described("", "Checkpoint to continue from.")
    test_checkpoint: PathText = described(
        "", "Checkpoint to test or to calibrate; empty: the run's best.pth."
    )
    prefix: str = described(
        "./log/run", "Folder of the run; $NAME in it is the environment's.", min_length=1
    )
    batch_size: int = described(
        32, "Samples in a batch, over all processes; batch norm needs two.", ge=2
    )
    num_workers: int = described(
        2, "Processes that load pictures; 0: none beside the main one.", ge=0
    )
    num_epochs: int = described(20, "Epochs at the most.", "epochs", ge=1)
    print_epochs: int = described(1, "Epochs between two printed lines.", "epochs", ge=1)
    dropout_rate: float = described(0.0, "Dropout before the last layer.", ge=0, lt=1)
    EARLY_STOPPING_EPOCH: int = described(
        5, "Epochs without a better saving.best before stopping; 0: never.", "epochs", ge=0
    )
    tmp_data: list[int] | None = described(
        None, "[N, 3, H, W]: train on N random pictures, to see that everything runs."
    )
    rule: Rule = described("mean", "From the faces of a track in a video to its score.")
    limits: Limits = described(Limits, "Where verdicts begin.")
    tta: Tta = described(
        "",
        "How a face is scored: once, with its mirror image, by ten crops of it. Empty: once; "
        "test.py and calibrate.py: as the checkpoint says.",
    )
    subgroups: list[str] = described(
        [], "Columns of the manifest that test.py breaks down by, and face_side, the face's size."
    )
    bootstrap: int = described(2000, "Resamples behind each 95 % interval; 0: none.", ge=0)
    layer_table: bool = described(True, "test.py: print torchsummary's table of layers.")
    cam: bool = described(False, "test.py: draw heatmaps.")
    heatmaps: Heatmaps = described(Heatmaps, "Which heatmaps.")
    card: Cards = described(
        [], "Markdown files that the test's tables are written into, as weights/README.md#own."
    )
    robustness: bool = described(False, "test.py: score worse pictures too, by kind and strength.")
    perturb: Perturb = described(Perturb, "How they are worse.")

    @field_validator("prefix")
    @classmethod
    def _with_variables(cls, prefix: str) -> str:
        # A sweep's agent names each run by WANDB_RUN_ID and starts it without a shell.
        folder = os.path.expandvars(prefix)
        if missing := re.findall(r"\$\w+|\$\{\w+\}", folder):
            raise ValueError(f"{', '.join(missing)} is not set in the environment")
        return folder

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
        falls = self.scheduler.type in ("cosine", "linear", "plateau")
        if falls and self.scheduler.min_lr > self.optimizer.lr:
            wrong.append(
                f"scheduler.min_lr {self.scheduler.min_lr:g} is above optimizer.lr "
                f"{self.optimizer.lr:g}, which should fall to it: lower it"
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
        margin = max(self.augment.margin, default=0.0)
        if 1 + 2 * margin / 100 > self.face.grow + 1e-9:
            wrong.append(
                f"augment.margin {self.augment.margin} looks beyond the stored crop: set face.grow "
                f"to {1 + 2 * margin / 100:g} or more"
            )
        if self.augment.margin_each_side and (self.face.align or not self.augment.margin):
            wrong.append(
                "augment.margin_each_side draws four margins from augment.margin, of a face that "
                "is not turned: set augment.margin, and face.align to False"
            )
        of_boxes = [
            f"augment.{key}"
            for key in ("margin_each_side", "max_side")
            if getattr(self.augment, key)
        ]
        if of_boxes and (not self.data.crop or self.face.no_face == "whole"):
            wrong.append(
                f"{', '.join(of_boxes)}: done by a face's box, which each face must have: set "
                "data.crop to True and face.no_face to drop"
            )
        if self.saving.best == "epoch" and self.scheduler.type == "plateau":
            wrong.append(
                "scheduler.type plateau waits for an epoch that is no better, and by saving.best "
                "epoch each is: set one of the two"
            )
        if self.face.align and not self.data.crop:
            wrong.append(
                "face.align: a face is turned in the crop around it, by its five points: set "
                "data.crop to True"
            )
        if self.model.pretrained and self.model.weights:
            wrong.append(
                f"model.pretrained and model.weights {self.model.weights} both say where to start: "
                "set one of the two"
            )
        if self.heatmaps.path and not self.cam:
            wrong.append(f"heatmaps.path {self.heatmaps.path} needs --cam: heatmaps are drawn then")
        if self.robustness and self.tmp_data:
            wrong.append(
                "robustness needs pictures in files: tmp_data's are random, set one of two"
            )
        return refuse_if(wrong, self)


class Calibrate(Config):
    """What calibrate.py reads: all of a run, and where the new checkpoint goes."""

    films: Films = described(Films, "Films made of validation photographs.")
    members: list[PathText] = described(
        [], "Checkpoints of the same kind of network beside test_checkpoint: all become one, side "
        "by side, which answers with the mean of their logits.",
    )  # fmt: skip
    half: bool = described(False, "Store weights in float16: half the file.")
    out: PathText = described(
        "", "File to write, .safetensors; empty: calibrated/best.safetensors in the run folder."
    )

    @model_validator(mode="before")
    @classmethod
    def _data_of_its_own(cls, values: Any) -> Any:
        # Of a run that split its validation off at random; here data.valid alone counts.
        data = values.get("data") if isinstance(values, dict) else None
        if isinstance(data, dict) and data.get("valid"):
            return values | {"data": data | {"random_split": False}}
        return values

    @model_validator(mode="after")
    def _writes_a_checkpoint(self) -> "Calibrate":
        wrong = []
        if self.out and not self.out.endswith(".safetensors"):
            wrong.append(f"out {self.out} must end in .safetensors")
        if self.checkpoint:
            wrong.append(
                f"checkpoint {self.checkpoint}: nothing is trained: empty it (--checkpoint=); for "
                "another file than the run's best.pth set test_checkpoint"
            )
        if self.tmp_data:
            wrong.append("tmp_data: random pictures calibrate nothing: remove it")
        return refuse_if(wrong, self)


class LeaveOneOut(Config):
    """What leave_one_out.py reads: all of a run, and what is left out of it."""

    by: Literal["source", "method"] = described("source", "Column whose values are left out.")
    only: list[str] = described([], "Values to leave out, one after another; empty: each.")
    same_steps: bool = described(
        False, "num_epochs is that of all rows: a run that has fewer of them left takes more "
        "epochs, so that each takes about as many steps.",
    )  # fmt: skip
    members: list[PathText] = described(
        [], "Prefixes of earlier calls: nothing is trained, and of each value their networks are "
        "tested, several side by side, with limits that are fitted anew.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_run_each(self) -> "LeaveOneOut":
        wrong = []
        if Path(self.prefix).resolve() in [Path(prefix).resolve() for prefix in self.members]:
            wrong.append(f"members: {self.prefix} is this call's own prefix: choose another")
        wrong += [
            f"{key} {value}: each of the runs begins anew and has a test of its own: remove it"
            for key, value in {
                "checkpoint": self.checkpoint,
                "test_checkpoint": self.test_checkpoint,
                "tmp_data": self.tmp_data,
                "heatmaps.path": self.heatmaps.path,
            }.items()
            if value
        ]
        if self.same_steps and self.scheduler.type in ("step", "plateau"):
            wrong.append(
                f"same_steps: scheduler.type {self.scheduler.type} counts epochs, of which some "
                "runs take more: set it to cosine, linear or none"
            )
        if self.same_steps and self.EARLY_STOPPING_EPOCH:
            wrong.append(
                f"same_steps: EARLY_STOPPING_EPOCH {self.EARLY_STOPPING_EPOCH} may end a run "
                "before its steps are done: set it to 0"
            )
        return refuse_if(wrong, self)


class Ablation(LeaveOneOut):
    """What ablation.py reads: all of leave_one_out.py, and what is changed about it."""

    changes: PathText = described(
        "configs/ablation/release.yaml",
        "YAML: name of a row -> settings in which it differs; first: {}.",
    )
    rows: list[str] = described([], "Rows of it to run; empty: all. The first always runs.")

    @model_validator(mode="after")
    def _trains_each_row(self) -> "Ablation":
        wrong = ["members: each row of an ablation is trained: remove it"] if self.members else []
        return refuse_if(wrong, self)


class Prepare(Section):
    """What prepare.py reads."""

    root: PathText = described("", "Folder of the collection; empty where a package brings it.")
    out: PathText = described("", "Folder for the faces and the manifest; empty: data/SOURCE.")
    split: Split = described(Split, "Who goes to train, val and test.")
    balance: Balance = described(Balance, "How many fakes stay.")
    near_duplicates: NearDuplicates = described(NearDuplicates, "Pictures that look alike.")
    seed: int = described(42, "Seed of split, balance and fakes.", ge=0, lt=2**32)
    device: NumberOrText = described("cpu", "Where faces are searched: cpu, cuda, a GPU's number.")
    face: Face = described(Face, "The crop recipe.")
    fakes: Fakes = described(Fakes, "Fakes to write for val and test, from their reals.")
    frames: Frames = described(Frames, "Which frames of a clip.")
    workers: int | None = described(
        None, "Processes that search, one thread each; 0: this one; empty: one a core.", ge=0
    )
    scheduler: PathText = described("", "Dask scheduler to work on, as tcp://HOST:8786.")
    memory: PathText = described("", "Memory limit of a process, as 2GB; empty: its share.")
    time_limit: float = described(
        600.0, "A clip that takes longer is left out, and a photo, alone or with 15 others.",
        "seconds", gt=0,
    )  # fmt: skip
    separate_csv: bool = described(False, "Also write train.csv, val.csv and test.csv.")
    max_bad: Share = described(0.05, "Share of unreadable files above which it stops.")
    faceforensics: FaceForensics = described(FaceForensics, "The source faceforensics.")
    dfd: Dfd = described(Dfd, "The source dfd.")
    celeb_df: CelebDf = described(CelebDf, "The source celeb_df.")
    deepfake_timit: DeepfakeTimit = described(DeepfakeTimit, "The source deepfake_timit.")
    folder: Folder = described(Folder, "The source folder.")
    unsplash: Unsplash = described(Unsplash, "The source unsplash.")

    @model_validator(mode="after")
    def _stores_faces(self) -> "Prepare":
        wrong = []
        if self.face.no_face == "whole":
            wrong.append(
                "face.no_face: whole: what is stored is a face: set it to drop, and train and test "
                "on whole pictures without prepare.py"
            )
        return refuse_if(wrong, self)


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
