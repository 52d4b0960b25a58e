"""Face detection: pictures -> boxes, five points and confidences, by MTCNN or a Haar cascade."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from faces import mtcnn
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


Search = Callable[[Sequence[np.ndarray]], list[list[Detection]]]


@dataclass(frozen=True)
class Detector:
    """A recipe's detector, called with a picture: uint8 RGB [height, width, 3] -> the faces kept.

    Pictures longer than `face.detect_size` are shrunk for the search; boxes are in the picture's
    own pixels. cascade: what can look around known faces, None for a Haar cascade.
    """

    recipe: Face
    search_small: Search
    cascade: mtcnn.Cascade | None
    device: torch.device

    def __call__(self, image: np.ndarray) -> list[Detection]:
        return self.many([image])[0]

    def many(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The faces kept of pictures of one size, searched at once."""
        return [self.keep(faces) for faces in self.search(images)]

    def keep(self, faces: Sequence[Detection]) -> list[Detection]:
        """The sure ones, largest first; with `face.select: largest` at most one."""
        kept = sorted((face for face in faces if self.sure(face)), key=lambda face: -face.area)
        return kept[:1] if self.recipe.select == "largest" else kept

    def sure(self, face: Detection | None) -> bool:
        """Is it a face, with an inside, and confident enough for the recipe?"""
        if face is None or (face.box[2:] <= face.box[:2]).any():
            return False
        return face.confidence is None or face.confidence >= self.recipe.confidence

    def search(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """All faces of pictures of one size, sure or not."""
        small, scales = zip(*(_shrink(one, self.recipe.detect_size) for one in images), strict=True)
        found = self.search_small(small)
        return [
            [face for face in (_scaled(one, scale) for one in faces) if self.shown(face, shape)]
            for shape, faces, scale in zip((i.shape for i in images), found, scales, strict=True)
        ]

    def near(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[Detection | None]:
        """The face around each box [4] of a picture, None where there is none any more.

        Raises ValueError for a detector that has no such look.
        """
        if self.cascade is None:
            raise ValueError(f"face.detector {self.recipe.detector} cannot look around a face")
        seen = _detections(self.cascade.near(image, np.array(boxes)))
        return [
            face if face.confidence and self.shown(face, image.shape) else None for face in seen
        ]

    def shown(self, face: Detection, shape: tuple[int, ...]) -> bool:
        """Is any of it in a picture of that shape without its edges?"""
        edge = trimmed(self.recipe.trim, shape)
        return not beside(face.box - edge, (shape[0] - 2 * edge, shape[1] - 2 * edge))


def trimmed(trim: float, shape: tuple[int, ...]) -> int:
    """How many pixels `face.trim` takes of each edge of a picture of that shape."""
    return round(trim * min(shape[:2]))


def beside(box: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a box has no pixel of its picture, which tracks that leave the frame can end in.

    A hundredth of a pixel, to which manifests round, is none.
    """
    left, top, right, bottom = box
    inside = right > 0.01 and bottom > 0.01
    return not (inside and left < shape[1] - 0.01 and top < shape[0] - 0.01)


def make_detector(recipe: Face, device: torch.device | str = "cpu") -> Detector:
    """The detector that the `face` section asks for."""
    device = torch.device(device)
    if recipe.detector == "haar":
        return Detector(recipe, _haar(recipe), None, device)
    cascade = mtcnn.load(recipe.thresholds, device)

    def search(images: Sequence[np.ndarray]) -> list[list[Detection]]:
        smallest = smallest_side(recipe, images[0].shape)
        return [_detections(faces) for faces in cascade.search(images, smallest)]

    return Detector(recipe, search, cascade, device)


@lru_cache(maxsize=4)
def shared_detector(recipe: str, device: str) -> Detector:
    """A detector that a process makes once. recipe: a Face as JSON, which can be a key."""
    return make_detector(Face.model_validate_json(recipe), device)


def smallest_side(recipe: Face, shape: tuple[int, ...]) -> float:
    """Side of the smallest face looked for in a searched picture of a shape, px."""
    return max(recipe.min_size, recipe.smallest * max(shape[:2]))


def _haar(recipe: Face) -> Search:
    cascade = haar_cascade()

    def search(images: Sequence[np.ndarray]) -> list[list[Detection]]:
        return [
            [
                Detection(np.array([x, y, x + w, y + h], float), None, None)
                for x, y, w, h in haar_boxes(
                    cascade, image, round(smallest_side(recipe, image.shape))
                )
            ]
            for image in images
        ]

    return search


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


def _detections(faces: mtcnn.Faces) -> list[Detection]:
    parts = zip(faces.boxes, faces.points, faces.confidences, strict=True)
    return [
        Detection(box.astype(float), points.astype(float), float(sure))
        for box, points, sure in parts
    ]


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
