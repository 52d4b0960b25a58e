"""One photo or film -> a verdict that may say that it does not know.

    model = verdict.load_model(verdict.find_checkpoint(""), "auto")
    result = verdict.of_file("clip.mp4", model, Predict())
    result.state, result.score, result.persons[0].faces[0].seconds

The same road as prepare.py and test.py: the same frames, crops, encoding, network and rules, all as
the checkpoint says. Nothing is written but crops, into a folder that is removed again.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError

import checkpoint
import dataset
import familiar
import judging
import manifest
import scores
from batches import Batch
from faces.apart import Look, NotSeen, Wanted, here
from faces.cache import Found
from faces.clips import FoundClip
from faces.crop import BoxBeside, network_crop
from faces.image import UnreadableImage, encode_image, read_image
from faces.media import FILM, Media
from faces.video import UnreadableVideo
from failures import UNREADABLE
from flags import Config, Face, Predict
from judging import Caution, Limits, Person, ScoredFace, Searched, Suspicious, Verdict
from networks import Detector
from splits import UNSAFE, UNSAFE_NOTE
from utils import UserError, no_room, pick_device, sha256_file

Progress = Callable[[float, str], object]
"""Told how far a file is, 0..1, and what is being done."""

ROOT = Path(__file__).parent
RELEASED = ROOT / "weights" / "detector.safetensors"
QUICKSTART = Path("log/quickstart/checkpoints/best.pth")
RELEASED_FOR = (
    "for face swaps and blends in photographs like those that it learned from; on others it is "
    "little better than chance (weights/README.md)"
)
DEMONSTRATION = "a demonstration trained on warped portraits, which finds little else"

THUMBNAIL = 160
"""Pixels of the small pictures of faces."""

NOT_CHECKED = "not checked whether the face is unlike those that the network knows: {}"


# ---------------------------------------------------------------------------------- model


@dataclass(frozen=True)
class Model:
    """A checkpoint that is ready to judge. config: what the road reads, from the checkpoint.

    good_for: what it was trained for, in a few words.
    """

    file: Path
    sha256: str
    state: dict[str, Any]
    network: Detector
    device: torch.device
    config: Config
    good_for: str

    @property
    def released(self) -> bool:
        """Whether these are the weights of this repository, however they were named."""
        return _is_released(self.file)

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """What weakens every verdict of these weights."""
        return (Caution(UNSAFE, UNSAFE_NOTE),) if self.state["data"].get(UNSAFE) else ()

    def limits(self, film: bool) -> Limits:
        """Of films where validation had any, else of faces."""
        return judging.limits_of(self.state, film)


def find_checkpoint(given: str = "") -> Path:
    """What was asked for, else the released weights, else the quick start's best."""
    if given:
        return Path(given)
    for file in (RELEASED, QUICKSTART, ROOT / QUICKSTART):
        if file.is_file():
            return file
    raise UserError(
        f"no weights to judge by: neither {RELEASED} nor {QUICKSTART} is there; train the quick "
        "start's (make quickstart), or name a file by --checkpoint"
    )


def load_model(
    file: Path | str,
    device: str = "auto",
    batch_size: int = 32,
    soon: Callable[[Config, torch.device], object] = lambda config, device: None,
) -> Model:
    """Read a checkpoint and all that it says of its scores. Raises UserError.

    soon: called when it is known how pictures are read, before the network is built.
    """
    file, where = Path(file), pick_device(device)
    state = checkpoint.load(file)
    limits, crop, size = state["thresholds"], state["crop"], state["input"]
    if not np.isfinite([limits["t_low"], limits["t_high"]]).all():
        raise UserError(
            f"{file} has no thresholds ({limits['data']}), so that no score of it can be judged: "
            "take a checkpoint that was validated on reals and fakes, as best.pth of a run"
        )
    recipe = {
        "network": state["network"]["name"],
        "batch_size": max(2, batch_size),
        "num_workers": 0,
        "data": {"crop": crop["faces"], "num_classes": state["network"]["num_classes"]},
        "face": {key: crop[key] for key in Face.model_fields if key in crop},
        "input_size": {"height": size["height"], "width": size["width"]},
        "model": {"in_channels": size["channels"]},
    }
    try:
        config = Config.model_validate(recipe)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UserError(f"{file}: how it reads pictures is not known here: {wrong}") from None
    soon(config, where)
    network = checkpoint.network_of(state)
    layout = scores.layout(config.channels_last)
    network = network.to(device=where, memory_format=layout)  # type: ignore[call-overload]
    return Model(file, sha256_file(file), state, network, where, config, good_for(file, state))


def _is_released(file: Path) -> bool:
    return os.path.realpath(file) == os.path.realpath(RELEASED)


def good_for(file: Path, state: dict[str, Any]) -> str:
    """What a checkpoint was trained for, in a few words."""
    if _is_released(file):
        return RELEASED_FOR
    if file.parts[-4:] == QUICKSTART.parts:
        return DEMONSTRATION
    train, valid = (Path(state["data"][name] or "-").as_posix() for name in ("train", "valid"))
    made = (state["config"].get("fakes") or {}).get("type", "none")
    fakes = f", with fakes made by {made}" if made != "none" else ""
    return f"trained on {train}{fakes}, checked on {valid}; other kinds of fakes it may miss"


# ----------------------------------------------------------------------------------- file


def of_file(
    path: Path | str,
    model: Model,
    settings: Predict,
    progress: Progress | None = None,
    pictures: bool = False,
    look: Look = here,
) -> Verdict:
    """The verdict of one photo or film; whatever is wrong with the file is its state.

    Raises UserError where the disk for temporary files has no room.

    pictures: keep a small picture of each face, and with `settings.cam` the most suspicious ones
    as the network saw them. look: how it is searched for faces, in this process or another.
    """
    path, begun = str(path), time.monotonic()
    tell = progress or (lambda share, what: None)
    tell(0.0, "opening")

    def between(done: int, of: int) -> None:
        tell(0.9 * done / max(1, of), f"frame {done} of {of}")

    with contextlib.ExitStack() as searching:
        try:
            seen = searching.enter_context(
                look(wanted(path, model.config, model.device, settings), between)
            )
        except NotSeen as error:
            return _unreadable(path, str(error), begun, error.media)
        except (UnreadableImage, UnreadableVideo) as error:
            return _unreadable(path, str(error), begun)
        except OSError as error:
            if wrong := no_room(error):  # where the crops go: the file is not to blame
                home = f"{tempfile.gettempdir()}, where faces lie while they are judged,"
                raise UserError(f"the disk of {home} {wrong}; TMPDIR may name another") from None
            return _unreadable(path, error.strerror or str(error), begun)
        if seen.found.failure:
            return _unreadable(path, seen.found.failure, begun, seen.media)
        result = _judged(path, seen.media, seen.found, model, settings, tell, pictures)
    tell(1.0, "done")
    return replace(result, sha256=sha256_file(path), took=time.monotonic() - begun)


def wanted(path: Path | str, config: Config, device: torch.device, settings: Predict) -> Wanted:
    """How a checkpoint wants a file to be searched."""
    face = config.face.model_copy(update={"select": settings.persons})
    return Wanted(str(path), face, settings.frames, str(device), settings.time_limit)


def _unreadable(path: str, reason: str, begun: float, media: Media | None = None) -> Verdict:
    sha256 = ""
    with contextlib.suppress(OSError):
        sha256 = sha256_file(path) if Path(path).is_file() else ""
    took = time.monotonic() - begun
    return Verdict(path, judging.UNREADABLE, reason, media=media, sha256=sha256, took=took)


def _judged(
    path: str,
    media: Media,
    found: Found | FoundClip,
    model: Model,
    settings: Predict,
    tell: Progress,
    pictures: bool,
) -> Verdict:
    """Scores of the faces that were found, and what they say together."""
    film, evidence = media.kind == FILM, settings.evidence
    searched = _searched(found, media)
    whole = not film and (
        not model.config.data.crop or (not found.faces and model.config.face.no_face == "whole")
    )
    rows = _whole_picture(path, searched) if whole else _rows(path, found)
    if len(rows) == 0:
        looked = f"{searched.frames} frames" if film else "the photo"
        reason = f"no face was found in {looked}"
        cautions = judging.cautions_of((), media, searched, evidence, "")
        return Verdict(
            path, judging.NO_FACE, reason, cautions=cautions, media=media, searched=searched
        )
    tell(0.9, "asking the network")
    # A network of whole pictures was trained on stored faces whole too: dataset.locate_faces.
    seen = rows if model.config.data.crop else rows.assign(file_box="", file_landmarks="")
    samples = dataset.evaluation_set(seen, model.config)
    values, distances, unknown = _scored(samples, rows, model)
    if np.isnan(values).all() and whole:
        return Verdict(path, UNREADABLE, "the picture cannot be decoded", media=media)
    faces: dict[int, list[ScoredFace]] = {}
    for row, value, distance in zip(rows.to_dict("records"), values, distances, strict=True):
        picture = _thumbnail(row) if pictures else b""
        face = _scored_face(row, float(value), float(distance), picture)
        faces.setdefault(row["person"], []).append(face)
    limits = model.limits(film)
    persons = judging.judged(faces, limits, model.state["rule"], evidence, film)
    together = judging.by_frames(persons, model.state["rule"]) if film else None
    state = judging.concluded(persons, limits, together)
    score = persons[0].score if together is None else together
    score = None if state == judging.NOT_ENOUGH else score
    return Verdict(
        path,
        state,
        judging.why(state, persons),
        score,
        None if score is None else judging.calibrated(score, limits),
        limits,
        model.state["rule"],
        persons,
        (*judging.cautions_of(persons, media, searched, evidence, unknown), *model.cautions),
        media,
        searched,
        _suspicious(rows, samples, values, persons, settings) if settings.cam else (),
    )


def _searched(found: Found | FoundClip, media: Media) -> Searched:
    size = found.faces[0]["media_size"] if found.faces else (media.width, media.height)
    width, height = (int(side) for side in size)
    if isinstance(found, Found):
        return Searched(size=(width, height))
    total, seconds = found.total, max(found.duration, 0.0)
    return Searched(found.frames, found.missing, found.cut, total, seconds, (width, height))


def _rows(path: str, found: Found | FoundClip) -> pd.DataFrame:
    """One row a stored face, with the columns that dataset.py reads, in the order of time."""
    rows = [
        {
            "path": path,
            "label": -1,
            "file": one["file"],
            "file_box": manifest.cell(one["box"]),
            "file_landmarks": manifest.cell(one["landmarks"]),
            "media_box": tuple(one["media_box"]),
            "confidence": one["confidence"],
            "person": int(one.get("track", number)),
            "frame": one.get("frame"),
            "seconds": one.get("timestamp"),
        }
        for number, one in enumerate(found.faces)
    ]
    return pd.DataFrame(rows).astype(object)


def _whole_picture(path: str, searched: Searched) -> pd.DataFrame:
    """The row of a network that sees pictures whole."""
    row = {"path": path, "label": -1, "file": path, "file_box": "", "file_landmarks": ""}
    box = (0.0, 0.0, float(searched.size[0]), float(searched.size[1]))
    more = {"media_box": box, "confidence": None, "person": 0, "frame": None, "seconds": None}
    return pd.DataFrame([row | more]).astype(object)


def _scored(
    samples: dataset.FaceDataset, rows: pd.DataFrame, model: Model
) -> tuple[np.ndarray, np.ndarray, str]:
    """Scores [n] and distances from the usual in parts of the limit [n], NaN where there is none;
    and why there are no distances, where there are not.
    """
    loader = scores.loader_for(samples, model.config, model.device)
    order: list[int] = []
    features: list[np.ndarray] = []

    def noted(seen: list[torch.Tensor]) -> Iterator[Batch]:
        for batch in loader:
            seen.clear()
            yield batch
            order.extend(batch.rows.tolist())
            # Of several views of a face the first, as in training (training/usual.py).
            features.extend(part.numpy() for part in seen[:1])

    with model.network.features() as seen:
        values, _ = scores.score(
            model.network, noted(seen), rows["path"].tolist(), model.device,
            channels_last=model.config.channels_last,
        )  # fmt: skip
    distances, stored = np.full(len(rows), np.nan), model.state.get("features")
    if not stored:
        return values, distances, NOT_CHECKED.format("the checkpoint does not say what those are")
    try:
        found = familiar.distances(stored, np.concatenate(features))
        distances[order] = found / float(stored["limit"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        return values, distances, NOT_CHECKED.format(f"what the checkpoint says is no use, {error}")
    return values, distances, ""


def _scored_face(row: dict[str, Any], value: float, distance: float, picture: bytes) -> ScoredFace:
    return ScoredFace(
        row["media_box"],
        value if np.isfinite(value) else None,
        row["frame"],
        row["seconds"],
        row["confidence"],
        distance if np.isfinite(distance) else None,
        picture,
    )


def _thumbnail(row: dict[str, Any]) -> bytes:
    image = read_image(row["file"])
    box = manifest.numbers(row["file_box"])
    try:
        return encode_image(network_crop(image, box, "30%", THUMBNAIL, THUMBNAIL), ".jpg")
    except BoxBeside:  # a face that grazes the picture's edge: it has no score either
        return b""


def _suspicious(
    rows: pd.DataFrame,
    samples: dataset.FaceDataset,
    values: np.ndarray,
    persons: tuple[Person, ...],
    settings: Predict,
) -> tuple[Suspicious, ...]:
    """The faces with the highest scores, as the network saw them: those that the verdict rests on
    first, and then those of whom too little was seen.
    """
    faces = {(p.number, f.frame, f.box): f for p in persons for f in p.faces}
    unjudged = {person.number for person in persons if person.state == judging.NOT_ENOUGH}
    ordered = np.lexsort((-np.nan_to_num(values, nan=-1.0), rows["person"].isin(unjudged)))
    chosen = [int(i) for i in ordered if np.isfinite(values[i])][: settings.heatmaps.count]
    found = []
    for index in chosen:
        row = rows.iloc[index]
        face = faces[(row["person"], row["frame"], row["media_box"])]
        sample = samples[(0, index)]
        if isinstance(sample, tuple):
            picture = sample[0].permute(1, 2, 0).numpy()
            found.append(Suspicious(int(row["person"]), face, np.ascontiguousarray(picture)))
    return tuple(found)
