"""A small checkpoint to judge by, and films with faces in them."""

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

import checkpoint
from flags import Config
from networks import build

SIZE = 64


def configuration(**more: Any) -> Config:
    """What the checkpoint was trained with, as far as it says."""
    return Config.model_validate({
        "network": "MesoNet",
        "input_size": {"height": SIZE, "width": SIZE},
        "num_workers": 0, "bootstrap": 0, "layer_table": False, "tracking": {"wandb": "off"},
        "face": {"select": "all"},
        **more,
    })  # fmt: skip


def write_checkpoint(
    path: Path,
    low: float = 0.2,
    high: float = 0.8,
    config: Config | None = None,
    **more: Any,
) -> Path:
    """An untrained network whose scores spread, with limits that the test chooses."""
    config = config or configuration()
    torch.manual_seed(3)
    network = build(config.network, config.model, config.data.num_classes, 0.0, config.input_size)
    network.tta = config.tta or "none"
    limits = {"threshold": 0.5, "t_low": low, "t_high": high, "data": "made validation"}
    state = checkpoint.describe_network(network, config) | {
        "thresholds": limits | {"unit": "face", "temperature": 1.0},
        "weights": network.state_dict(),
        "config": config.model_dump(),
        "epoch": 1,
        "history": [{"epoch": 1, "valid_auc": 0.9}],
        "best": {"epoch": 1, "valid_loss": 0.5},
        "data": {"train": "made/train.csv", "valid": "made/train.csv", "rows": ""},
        "training": {k: {} for k in checkpoint.INNER_KEYS["training"]},
        "versions": checkpoint.versions(),
        **more,
    }
    checkpoint.save(path, state)
    return path


def write_film(
    path: Path,
    portrait: np.ndarray,
    frames: int = 24,
    faces: int = 1,
    side: int = 120,
    rate: int = 12,
    size: tuple[int, int] = (480, 240),
    sound: bool = False,
    rotation: int = 0,
) -> Path:
    """`faces` copies of a portrait's face beside one another, which wander over a plain wall."""
    face = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    width, height = size
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=rate, options={"g": "8"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        tone = film.add_stream("aac", rate=8000) if sound else None
        for number in range(frames):
            image = np.full((height, width, 3), 128, np.uint8)
            for place in range(faces):
                row, column = divmod(place, max(1, width // (side + 20)))
                top, left = 10 + row * (side + 10), 5 + column * (side + 20) + number % 12
                part = image[top : top + side, left : left + side]
                part[:] = face[: part.shape[0], : part.shape[1]]
            if rotation:
                image = np.ascontiguousarray(image)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        film.mux(stream.encode())
        if tone is not None:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.sample_rate = 8000
            film.mux(tone.encode(silence))
            film.mux(tone.encode())
    return path


def face_of(portrait: np.ndarray) -> np.ndarray:
    """The part of the portrait that shows the face with what is around it."""
    return np.ascontiguousarray(portrait[0:256, 96:352])
