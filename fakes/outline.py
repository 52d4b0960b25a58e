"""Five points of a face -> its outline: what the recipes cut along.

The papers take theirs from 68 or 81 landmarks; ours have the five of a detector. What that loses:
an outline follows where the face is, how large, how it is tilted and turned aside, and is an
average face's otherwise: an open mouth, a full cheek, raised brows or a high forehead are not
followed. Against the hull of 106 landmarks of InsightFace's network in 208 real faces of three
collections (its brows and jaw, without forehead), intersection over union is 0.85 in the mean and
above 0.70 in 95 %; of the part between brows and mouth 0.81 and 0.56, most of the difference below
the lips. It is worst in profiles, where it reaches into the background, and where another person
hides a part. `python -m benchmarks.outlines FOLDER ... --faces 208` measures it and draws both, and
fakes along both; the folders held reals of London, FFHQ and the web (weights/README.md).
That network is not asked while training: its weights are for non-commercial research only, and a
manifest keeps five points.
"""

import cv2
import numpy as np

from fakes import NoFake

MEAN_FACE = (0.222, 0.256), (0.778, 0.256), (0.5, 0.596), (0.243, 0.834), (0.757, 0.834)
"""Eyes, nose and corners of the mouth in the upright square, as shares of its side.

Our own: the Procrustes mean of MTCNN's points in the faces of `prepare.py portraits`, made
symmetric. The side is 1.8 eye distances: brows to lower lip, where the paper's inner landmarks lie.
"""

LIKENESS = 0.7
"""Correlation with MEAN_FACE, 0..1, below which five points are no face.

Of 315 real faces, profiles among them, the lowest has 0.88.
"""


JAW = (
    (0.00, 0.76, 0.23, 0.00), (-0.09, 0.74, 0.13, 0.15), (-0.25, 0.67, -0.26, 0.40),
    (-0.37, 0.55, -0.67, 0.56), (-0.47, 0.42, -0.99, 0.61), (-0.54, 0.27, -1.21, 0.56),
    (-0.57, 0.11, -1.30, 0.43), (-0.59, -0.06, -1.38, 0.28), (-0.58, -0.22, -1.43, 0.12),
    (-0.58, -0.30, -1.43, 0.03),
)  # fmt: skip
BROWS = (
    (-0.41, -0.41, -0.23, 0.02), (-0.31, -0.43, -0.04, -0.05), (-0.20, -0.41, 0.15, -0.08),
    (-0.11, -0.37, 0.31, -0.07),
)  # fmt: skip
FOREHEAD = ((-0.52, -0.60, -0.90, 0.00), (-0.32, -0.78, -0.30, 0.00), (0.00, -0.85, 0.00, 0.00))
NOSE = ((0.00, -0.18, 0.30, 0.00),)
"""The left half of an outline, chin to temple, and of the brows' upper edge, as seen: x and y in
sides of the upright square from its middle, and how far each moves when the face turns aside until
the nose stands one side from the middle.

Our own averages, by linear regression on the five points of the 82 portraits and their mirror
images, of the landmarks that InsightFace's 106-point network finds there; forehead and bridge of
the nose, which it does not have, by the thirds of a face.
"""

PARTS = {
    "face": JAW + FOREHEAD,
    "brows": JAW + BROWS,
    "lower": JAW[:7] + NOSE,
}
"""What an outline can enclose; `inner`, brows to mouth, is face_hull's."""


def similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Turn, scale and shift that bring points [n, 2] closest to `onto`, [2, 3], least squares.

    Umeyama (1991, section III) in the plane: without a reflection his solution is the regression
    of one set of complex numbers on the other. The paper fits 51 inner landmarks, we five: an
    error of one moves the whole square, and the face's own expression is not averaged out.
    """
    z, w = points @ [1, 1j], onto @ [1, 1j]
    turn = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
    shift = w.mean() - turn * z.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def face_points(landmarks: np.ndarray | None) -> np.ndarray:
    """The landmarks [5, 2], where they are those of a face. Raises NoFake."""
    if landmarks is None:
        raise NoFake("the row has no landmarks, which this recipe needs")
    points = np.asarray(landmarks, float)
    if not np.isfinite(points).all():
        raise NoFake("the landmarks are not those of a face")
    z, w = ((p - np.mean(p, axis=0)) @ [1, 1j] for p in (points, MEAN_FACE))
    lengths = np.linalg.norm(z) * np.linalg.norm(w)
    if not lengths > 0 or abs(np.vdot(z, w)) < LIKENESS * lengths:
        raise NoFake("the landmarks are not those of a face")
    return points


def face_hull(points: np.ndarray) -> np.ndarray:
    """Convex hull of brows and mouth, [n, 2] in pixels, guessed from five points [5, 2].

    The paper's hull runs along the landmarks of brows and mouth. Five points have neither brows
    nor lips: both stand where they are in an average face, in shares of the distances between
    the eyes and from eyes to mouth, so raised brows and an open mouth are not followed. Of a face
    that is turned aside the far side is narrower, as the nose tells.
    """
    left, right, nose, mouth_left, mouth_right = points
    across, lips = right - left, (mouth_left + mouth_right) / 2
    down = lips - (left + right) / 2
    turned = np.clip((nose - left) @ across / max(across @ across, 1e-6), 0, 1)  # 0.5: straight
    outline = [
        left - 0.8 * turned * across - 0.18 * down,
        left - 0.3 * turned * across - 0.4 * down,
        right + 0.3 * (1 - turned) * across - 0.4 * down,
        right + 0.8 * (1 - turned) * across - 0.18 * down,
        mouth_right + 0.1 * (1 - turned) * across,
        lips + 0.2 * (1 - turned) * across + 0.2 * down,
        lips - 0.2 * turned * across + 0.2 * down,
        mouth_left - 0.1 * turned * across,
    ]
    return cv2.convexHull(np.array(outline, np.float32))[:, 0]


def outline(points: np.ndarray, part: str) -> np.ndarray:
    """Convex outline [n, 2] in pixels of a part of the face whose five points [5, 2] these are.

    part: `face` (chin to hairline), `brows` (chin to brows, as 68 landmarks have it), `inner`
    (brows to mouth, without the jaw) or `lower` (bridge of the nose to chin).
    """
    if part == "inner":
        return face_hull(points)
    upright = similarity(points, np.array(MEAN_FACE) - 0.5)
    eyes, nose, mouth = (
        p @ upright[:, :2].T + upright[:, 2]
        for p in (points[:2].mean(0), points[2], points[3:].mean(0))
    )
    turn = np.clip(nose[0] - (eyes[0] + mouth[0]) / 2, -0.25, 0.25)
    left = np.array(PARTS[part])
    right = left * [-1, 1, 1, -1]
    moved = np.concatenate([half[:, :2] + turn * half[:, 2:] for half in (left, right)])
    placed = (moved - upright[:, 2]) @ np.linalg.inv(upright[:, :2]).T
    return cv2.convexHull(placed.astype(np.float32))[:, 0]
