"""The configuration: one typed schema, read from defaults, then a YAML, then the command line.

    python train.py --config_file configs/ResNet.yaml --optimizer.lr=3e-4 --num_epochs 3
    python train.py --help

A mistake is one error that names file, key, value, nearest known key and remedy.
"""

import argparse
import difflib
import io
import re
import reprlib
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names file, key, value and remedy."""


# ---------------------------------------------------------------------------------- types


def _empty_if_none(value: Any) -> Any:
    return "" if value is None else value


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _not_a_bool(value: Any) -> Any:
    if isinstance(value, bool):  # True == 1 for Python, and nobody means that
        raise ValueError("input should be a number")
    return value


def _as_margin(value: Any) -> Any:
    text = "" if isinstance(value, bool) else str(value).replace(" ", "")
    if not re.fullmatch(r"\d+(\.\d+)?(px|%)?", text):
        raise ValueError("give pixels (50 or 50px) or a share of the box (30%)")
    return text if text.endswith(("px", "%")) else f"{text}px"


PathText = Annotated[str, BeforeValidator(_empty_if_none)]
"""A path; empty (or `key:` alone in the YAML) means none."""

NumberOrText = Annotated[str, BeforeValidator(_as_text)]
"""Text that may be written as a bare integer in a YAML (`device: 0`, `variant: 34`)."""

OptionalText = Annotated[NumberOrText, BeforeValidator(_empty_if_none)]

Margin = Annotated[str, BeforeValidator(_as_margin)]
"""Context around the face box, on each side: `30%` of the box or `50px` of the picture."""

Share = Annotated[float, Field(ge=0, le=1)]


def described(default: Any, text: str, unit: str = "", **limits: Any) -> Any:
    """A field with its one-sentence description and its unit, both shown by --help."""
    extra: Any = {"unit": unit} if unit else None
    if isinstance(default, type) and issubclass(default, BaseModel):
        return Field(default_factory=default, description=text)
    return Field(default=default, description=text, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """One group of settings: unknown keys and wrong types are errors, never guesses."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _is_a_group(cls, value: Any) -> Any:
        if value is None:  # `optimizer:` with all of its keys commented out
            return {}
        if not isinstance(value, (dict, BaseModel)):
            raise ValueError("expected a group of keys, indented below it")
        return value


Checked = TypeVar("Checked", bound=Section)


def refuse_if(wrong: list[str], section: Checked) -> Checked:
    """The section, unless settings in it contradict each other; then one error names all."""
    if wrong:
        raise ValueError("\n".join(wrong))
    return section


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
    num_classes: Annotated[Literal[1, 2], BeforeValidator(_not_a_bool)] = described(
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
    in_channels: Annotated[Literal[1, 3], BeforeValidator(_not_a_bool)] = described(
        3, "3: colour; 1: pictures are turned grey."
    )
    init_weights: bool = described(
        True, "Initialise as the network's paper does; False: PyTorch's defaults for each layer."
    )


class Fakes(Section):
    """Fakes made on the fly from real rows, for training only."""

    type: Literal["none", "warp"] = described(
        "none", "warp: face-warping artefacts (Li & Lyu 2018)."
    )
    probability: Share = described(0.5, "Chance that a real sample becomes a fake.")
    scale_min: float = described(0.7, "Smallest resize of the face region.", gt=0)
    scale_max: float = described(1.5, "Largest resize of the face region.", gt=0)
    kernel: int = described(5, "Side of the Gaussian blur's kernel, odd.", "px", ge=1)
    detector: Literal["stored", "haar"] = described(
        "stored", "Face region: the stored box of the row, or a Haar cascade's."
    )

    @model_validator(mode="after")
    def _ranges(self) -> "Fakes":
        wrong = []
        if self.kernel % 2 == 0:
            wrong.append(f"fakes.kernel {self.kernel} must be odd: use {self.kernel + 1}")
        if self.scale_min > self.scale_max:
            wrong.append(
                f"fakes.scale_min {self.scale_min:g} is larger than fakes.scale_max "
                f"{self.scale_max:g}: swap them"
            )
        return refuse_if(wrong, self)


class Augment(Section):
    """Training augmentation (torchvision.transforms.v2); each chance is for one sample."""

    flip: Share = described(0.5, "Chance of a horizontal flip.")
    rotation: float = described(5.0, "Largest rotation either way.", "degrees", ge=0, le=180)
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


class Cam(Section):
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
    cam: bool = described(False, "test.py: draw Grad-CAM heatmaps.")
    cams: Cam = described(Cam, "Which heatmaps.")

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


# -------------------------------------------------------------------------------- reading

Schema = TypeVar("Schema", bound=Section)


def keys(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All leaf keys of a schema in order, dotted, with their pydantic fields."""
    for name, field in schema.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def load(schema: type[Schema], file: str = "", overrides: dict[str, Any] | None = None) -> Schema:
    """Read defaults, then the YAML `file`, then `overrides` (dotted keys, values as typed).

    Raises ConfigError with every mistake at once: file, key, value, nearest key and remedy.
    """
    values = _read_yaml(file) if file else {}
    overrides = overrides or {}
    for key, value in overrides.items():
        _put(values, key, value)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        problems = [_explain(schema, item, overrides, file) for item in error.errors()]
    raise ConfigError("\n".join(dict.fromkeys(problems)))


def parse(schema: type[Schema], argv: Sequence[str], description: str) -> Schema:
    """The command line of a program: `--config_file`, `--help` and every key of the schema.

    A mistake is printed and ends the program with status 2, as argparse does.
    """
    fields = dict(keys(schema))
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--config_file YAML] [--KEY VALUE ...]",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--config_file", default="", metavar="YAML", help="Settings to start from.")
    for key, field in fields.items():
        flag = field.annotation is bool
        parser.add_argument(
            f"--{key}",
            default=argparse.SUPPRESS,
            nargs="?" if flag else None,
            const="true" if flag else None,
            metavar=_type_name(field.annotation),
            help=_help(field),
        )
    known, unknown = parser.parse_known_args(list(argv))
    given = vars(known)
    file = given.pop("config_file")
    problems = _unknown_arguments(unknown, ["config_file", *fields])
    try:
        overrides = {key: _typed(text, fields[key].annotation) for key, text in given.items()}
        config = load(schema, file, overrides)
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        print("error: " + "\n".join(problems), file=sys.stderr)
        raise SystemExit(2)
    return config


def dump(config: BaseModel) -> str:
    """The resolved configuration as YAML text that load() reads back to an equal one."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(config.model_dump(), text)
    return text.getvalue()


def parse_margin(margin: str) -> tuple[float, str]:
    """`"30%"` -> (30.0, "%"), `"50px"` -> (50.0, "px")."""
    unit = "%" if margin.endswith("%") else "px"
    return float(margin.removesuffix(unit)), unit


# --------------------------------------------------------------------------- small pieces


def _read_yaml(file: str) -> dict[str, Any]:
    path = Path(file)
    if not path.is_file():
        nearby = sorted(str(p) for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        near = difflib.get_close_matches(file, nearby, n=1, cutoff=0.5)
        what = "a folder, not a YAML" if path.is_dir() else "no such file"
        raise ConfigError(f"{file}: {what}" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        # YAML 1.2: `1e-4` is a number, a key given twice is an error, and no tag can run code.
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, OSError, ValueError, RecursionError) as error:
        first = " ".join(str(error).split("To suppress")[0].split())
        raise ConfigError(f"{file}: not a YAML that can be read: {first}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected `key: value` lines, found a {type(values).__name__}")
    return values


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        if inner is not None and not isinstance(inner, dict):
            return  # the YAML has a value where a group belongs: the schema will say so
        # A copy: two groups of a YAML may be one, by an alias.
        values[parent] = values = {**(inner or {})}
    values[leaf] = value


def _typed(text: str, annotation: Any) -> Any:
    """A command-line word as the YAML would read it, unless the key holds text."""
    options = get_args(annotation) if get_origin(annotation) in (Union, type(int | str)) else ()
    words = [v for v in get_args(annotation) if isinstance(v, str)] if not options else []
    if annotation is str or text in words:
        return text
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return text
    wants_list = get_origin(annotation) is list or any(get_origin(o) is list for o in options)
    if wants_list and isinstance(value, str):
        value = [_typed(part, float) for part in value.split(",")]
    if annotation is bool and isinstance(value, str):
        value = {"yes": True, "on": True, "no": False, "off": False}.get(value.lower(), value)
    return value


def _explain(schema: type[BaseModel], item: Any, overrides: dict[str, Any], file: str) -> str:
    location = [str(part) for part in item["loc"]]
    known = [key for key, _ in keys(schema)]
    key = ".".join(location)
    unknown = item["type"] in ("extra_forbidden", "invalid_key")
    # A union or a list adds its own parts behind the key: name the key itself.
    while location and key not in {*known, *_groups(known)} and not unknown:
        location.pop()
        key = ".".join(location)
    value = item.get("input")
    where = file if file and key not in overrides else "command line"
    if unknown:
        return f"{where}: {key}: unknown key{_shown(value)}; {_nearest(key, known)}"
    message = item["msg"].removeprefix("Value error, ")
    if isinstance(value, (dict, BaseModel)):  # a rule about several keys, which it names
        where += " and command line" if file and overrides else ""
        return "\n".join(f"{where}: {line}" for line in message.splitlines())
    return f"{where}: {key}: {message[0].lower()}{message[1:]}{_shown(value)}"


def _shown(value: Any) -> str:
    short = reprlib.Repr()
    short.maxlevel = 2  # a few lines of aliases can hold a billion values
    text = short.repr(value) if isinstance(value, (dict, list)) else repr(value)
    return f" (value {text})"


def _groups(known: list[str]) -> set[str]:
    return {key.rsplit(".", 1)[0] for key in known if "." in key}


def _nearest(key: str, known: list[str]) -> str:
    """The remedy for an unknown key."""
    if key in known:  # dots are for the command line
        return "in a YAML write `{}:` and, indented below it, `{}:`".format(*key.split(".", 1))
    if key in _groups(known):
        return "a group: name one of " + ", ".join(k for k in known if k.startswith(f"{key}."))
    names = {name.rsplit(".", 1)[-1].lower(): name for name in known}
    names |= {name.lower(): name for name in (*_groups(known), *known)}
    near = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.6)
    return f"did you mean {names[near[0]]}?" if near else "--help lists all keys"


def _unknown_arguments(words: list[str], known: list[str]) -> list[str]:
    problems, follows = [], False
    for word, after in pairwise([*words, "-"]):
        if word.startswith("-"):
            name, _, value = word.lstrip("-").partition("=")
            follows = not value and not after.startswith("-")
            shown = _shown(value or after) if value or follows else ""
            problems.append(f"command line: --{name}: unknown key{shown}; {_nearest(name, known)}")
        elif follows:  # the value of the unknown key before it
            follows = False
        else:
            problems.append(f"command line: {word!r} belongs to no key; write --key value")
    return problems


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "{" + ",".join(str(value) for value in get_args(annotation)) + "}"
    if get_origin(annotation) is list:
        return "LIST"
    options = [o for o in get_args(annotation) if o is not type(None)]
    if options:
        return "|".join(_type_name(option) for option in options)
    return {bool: "BOOL", int: "INT", float: "FLOAT", str: "TEXT"}.get(annotation, "VALUE")


def _help(field: Any) -> str:
    unit = (field.json_schema_extra or {}).get("unit", "")
    default = field.default if field.default not in ("", None) else "none"
    return f"{field.description}{f' [{unit}]' if unit else ''} (default: {default})".replace(
        "%", "%%"
    )
