"""Face detection: one picture -> boxes, five points and confidences, by MTCNN or a Haar cascade."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from flags import Face


@dataclass(frozen=True)
class Detection:
    """One face. box: [4] left, top, right, bottom in pixels of the picture. landmarks: [5, 2]
    left eye, right eye, nose, left and right corner of the mouth (left as seen), or None where
    the detector gives none. confidence: 0..1, None for a Haar cascade.
    """

    box: np.ndarray
    landmarks: np.ndarray | None
    confidence: float | None

    @property
    def area(self) -> float:
        left, top, right, bottom = self.box
        return float((right - left) * (bottom - top))


Detect = Callable[[np.ndarray], list[Detection]]


def make_detector(recipe: Face, device: torch.device | str = "cpu") -> Detect:
    """The recipe's detector: a function from uint8 RGB [height, width, 3] to the faces kept.

    Faces come largest first; with `face.select: largest` there is at most one. Pictures longer
    than `face.detect_size` are shrunk for the search; boxes are in the picture's own pixels.
    """
    find = _mtcnn(recipe, torch.device(device)) if recipe.detector == "mtcnn" else _haar(recipe)

    def detect(image: np.ndarray) -> list[Detection]:
        small, scale = _shrink(image, recipe.detect_size)
        faces = sorted((_scaled(face, scale) for face in find(small)), key=lambda f: -f.area)
        return faces[:1] if recipe.select == "largest" else faces

    return detect


@lru_cache(maxsize=4)
def shared_detector(recipe: str, device: str) -> Detect:
    """A detector that a process makes once. recipe: a Face as JSON, which can be a key."""
    return make_detector(Face.model_validate_json(recipe), device)


def _mtcnn(recipe: Face, device: torch.device) -> Detect:
    # Zhang et al. 2016, the weights of facenet-pytorch.
    from facenet_pytorch import MTCNN

    with torch.random.fork_rng(devices=[]):  # its layers draw weights before they load theirs
        network = MTCNN(
            min_face_size=recipe.min_size,
            thresholds=recipe.thresholds,
            keep_all=True,
            device=device,
        )

    def find(image: np.ndarray) -> list[Detection]:
        if min(image.shape[:2]) < recipe.min_size:
            return []  # MTCNN's pyramid would be empty, and it fails on that
        with torch.autocast(device.type, enabled=False):  # its boxes drift in half precision
            boxes, confidences, points = network.detect(image, landmarks=True)
        if boxes is None:
            return []
        return [
            Detection(np.asarray(box, float), np.asarray(marks, float), float(confidence))
            for box, confidence, marks in zip(boxes, confidences, points, strict=True)
            if confidence >= recipe.confidence and box[2] > box[0] and box[3] > box[1]
        ]

    return find


def _haar(recipe: Face) -> Detect:
    cascade = haar_cascade()

    def find(image: np.ndarray) -> list[Detection]:
        return [
            Detection(np.array([x, y, x + w, y + h], float), None, None)
            for x, y, w, h in haar_boxes(cascade, image, recipe.min_size)
        ]

    return find


@lru_cache(maxsize=1)
def haar_cascade() -> cv2.CascadeClassifier:
    """OpenCV's frontal-face cascade (Viola & Jones 2001), read from its package."""
    folder = Path(cv2.__file__).parent / "data"
    return cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))


def haar_boxes(cascade: cv2.CascadeClassifier, image: np.ndarray, min_size: int) -> np.ndarray:
    """Boxes [n, 4] as x, y, width, height, with the KAIST project's scale 1.3 and 5 neighbours."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found = cascade.detectMultiScale(grey, 1.3, 5, minSize=(min_size, min_size))
    return np.asarray(found, dtype=int).reshape(-1, 4)


def _shrink(image: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _scaled(face: Detection, scale: float) -> Detection:
    points = None if face.landmarks is None else face.landmarks / scale
    return Detection(face.box / scale, points, face.confidence)
