"""Faces of successive frames -> persons: one track each, and no lone false alarm among them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from faces.detector import Detection

NEAR = 0.8
"""How far a face may move between two looks, in sides of its box."""

FAST, FAR, SOON = 1.5, 2.0, 2.0
"""A face that nobody else's can be taken for may move so many sides a second, so many at the most,
where the looks are no more than so many seconds apart."""

ALIKE = 2.0
"""How much larger or smaller it may get."""

GAP = 4
"""Looks in which a face may be missing before its track ends."""

SHARE = 0.1
"""Of the looks that a track must hold; a detector's false alarms come and go."""


@dataclass
class Track:
    """One person's faces: (number of the frame among those that were searched, face)."""

    faces: list[tuple[int, Detection]] = field(default_factory=list)

    @property
    def area(self) -> float:
        """Square pixels, summed over the frames: a person who is large and there for long."""
        return sum(face.area for _, face in self.faces)


def link(
    frames: Sequence[Sequence[Detection]],
    seconds: Sequence[float] | None = None,
    goes_on: Sequence[bool] | None = None,
) -> list[Track]:
    """Follow faces from frame to frame, nearest first; the largest track comes first.

    frames: the faces of each searched frame, in the order of time. Tracks that are too short to
    be a person's are left out: fewer than two faces where a clip has eight looks or more, and
    fewer than a tenth of the looks. seconds: when each frame is shown; goes_on: does it show the
    scene of the frame before? With both, someone who cannot be mistaken for another may move
    further between two looks that are a second apart.
    """
    tracks: list[Track] = []
    for number, faces in enumerate(frames):
        alive = [track for track in tracks if number - track.faces[-1][0] <= GAP]
        distances = np.array(
            [[_distance(track.faces[-1][1], face) for face in faces] for track in alive]
        ).reshape(len(alive), len(faces))
        near = distances <= NEAR
        if seconds is not None and goes_on is not None and goes_on[number]:
            last = np.array([track.faces[-1][0] == number - 1 for track in alive], bool)
            near |= _unmistakable(distances, seconds[number] - seconds[number - 1]) & last[:, None]
        pairs = [(distances[a, b], a, b) for a, b in np.argwhere(near).tolist()]
        taken_tracks: set[int] = set()
        taken_faces: set[int] = set()
        for _, a, b in sorted(pairs):
            if a not in taken_tracks and b not in taken_faces:
                taken_tracks.add(a)
                taken_faces.add(b)
                alive[a].faces.append((number, faces[b]))
        fresh = (face for b, face in enumerate(faces) if b not in taken_faces)
        tracks += [Track([(number, face)]) for face in fresh]
    least = max(2 if len(frames) >= 8 else 1, int(np.ceil(SHARE * len(frames))))
    kept = [track for track in tracks if len(track.faces) >= least]
    return sorted(kept, key=lambda track: -track.area)


def _unmistakable(distances: np.ndarray, seconds: float) -> np.ndarray:
    """Which faces can be that of one track alone, and it that face alone, [tracks, faces]: no
    further than one moves in the `seconds` between two looks, and no other within twice as far.
    """
    reach = min(FAR, FAST * seconds) if seconds <= SOON else 0.0
    around = distances <= 2 * reach
    alone = (around.sum(0) == 1) & (around.sum(1, keepdims=True) == 1)
    return alone & (distances <= reach)


def _distance(one: Detection, other: Detection) -> float:
    """Between the middles, in sides of the boxes; endless where the sizes are too different."""
    sides = np.sqrt([max(one.area, 1e-9), max(other.area, 1e-9)])
    if sides.max() / sides.min() > ALIKE:
        return float("inf")
    middles = [(face.box[:2] + face.box[2:]) / 2 for face in (one, other)]
    return float(np.linalg.norm(middles[0] - middles[1]) / sides.mean())
