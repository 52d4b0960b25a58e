"""Faces of successive frames, found by looking where they were: a search now and then only.

    for frame, faces in faces_of(clip, detector, every=8): ...      # list[Detection]

A search goes through the whole frame at all sizes. Between two of them the detector looks around
the faces it knows, each moved on as it moved before. It searches again after `every` frames, when a
face is lost, at a cut, and when the frames are too far apart in time to tell where a face went.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

import cv2
import numpy as np

from faces.detector import Detection, Detector
from faces.mtcnn import apart
from faces.video import Frame

APART = 0.2
"""Seconds between two frames above which faces are not followed."""

CUT = 16.0
"""Grey levels, 0..255, by which two frames of 16 x 16 pixels differ at a cut. Within a scene of
the real clips that this was tried on it was below 9, at their cuts above 100."""

STRAYED = 0.5
"""Sides of a box by which a face that a search finds may lie beside where it was expected."""

TOGETHER = 16
"""Frames that a GPU searches at once."""


def faces_of(
    frames: Iterable[Frame], detector: Detector, every: int, threads: int = 1
) -> Iterator[tuple[Frame, list[Detection]]]:
    """The frames of one clip in the order of time, each with the faces kept, largest first.

    every: frames from one search to the next at the most. A GPU searches every frame, several
    at once; so does a detector every frame that cannot look around a face, one by one. threads:
    with `every` 1, frames that are searched at once, each by one thread.
    """
    if detector.device.type != "cpu":
        yield from _several_at_once(frames, detector)
        return
    if every == 1 and threads > 1:
        yield from _by_threads(frames, detector, threads)
        return
    look = Follower(detector, every if detector.cascade is not None else 1)
    for frame in frames:
        yield frame, look(frame)


def _several_at_once(
    frames: Iterable[Frame], detector: Detector
) -> Iterator[tuple[Frame, list[Detection]]]:
    waiting = iter(frames)
    while some := list(islice(waiting, TOGETHER)):
        if len({frame.image.shape for frame in some}) == 1:
            yield from zip(some, detector.many([frame.image for frame in some]), strict=True)
        else:  # a folder of pictures, or a film whose size changes
            yield from ((frame, detector(frame.image)) for frame in some)


def _by_threads(
    frames: Iterable[Frame], detector: Detector, threads: int
) -> Iterator[tuple[Frame, list[Detection]]]:
    """In order; a few frames are held at a time."""
    waiting: deque[tuple[Frame, Future[list[Detection]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for frame in frames:
            waiting.append((frame, pool.submit(detector, frame.image)))
            if len(waiting) > threads:
                first, found = waiting.popleft()
                yield first, found.result()
        for first, found in waiting:
            yield first, found.result()


@dataclass(frozen=True, eq=False)
class Known:
    """A face that is followed. box: [4], where it was last seen; move: [2] pixels a frame.
    unseen: frames since.
    """

    box: np.ndarray
    move: np.ndarray = field(default_factory=lambda: np.zeros(2))
    unseen: int = 0

    def expected(self) -> np.ndarray:
        """Where it should be in the next frame; one that is out of sight is waited for."""
        return self.box if self.unseen else self.box + np.tile(self.move, 2)

    def seen(self, box: np.ndarray) -> "Known":
        move = (box - self.box).reshape(2, 2).mean(0)
        return Known(box, np.zeros(2) if self.unseen else move)


@dataclass
class Follower:
    """Called with each frame of one clip in the order of time; the faces kept of it.

    every: 1 searches each frame. A known face that is out of sight is looked for during `every`
    frames, since a search may miss what a look finds.
    """

    detector: Detector
    every: int
    _known: list[Known] = field(default_factory=list)
    _since: int = 0
    _time: float = -np.inf
    _scene: np.ndarray = field(default_factory=lambda: np.full((16, 16, 3), np.inf))

    def __call__(self, frame: Frame) -> list[Detection]:
        self._since += 1
        faces = None
        if not self._goes_on(frame):
            self._known = []
        elif self._since < self.every:
            faces = self._followed(frame.image)
        if faces is None:
            self._since = 0
            faces = self._searched(frame.image)
        return self.detector.keep(faces)

    def _goes_on(self, frame: Frame) -> bool:
        """Does the frame follow the last one closely, in the same scene?"""
        scene = tiny(frame.image)
        near = frame.timestamp - self._time <= APART
        same = same_scene(scene, self._scene)
        self._scene, self._time = scene, frame.timestamp
        return near and same

    def _followed(self, image: np.ndarray) -> list[Detection] | None:
        """The known faces of this frame; None where one is gone, or is another's."""
        if not self._known:
            return []
        looks = self.detector.near(image, [known.expected() for known in self._known])
        pairs = list(zip(self._known, looks, strict=True))
        here = [(known, look) for known, look in pairs if look and self.detector.sure(look)]
        gone = [known for known, look in pairs if not self.detector.sure(look)]
        apart = _apart([look for _, look in here])
        if any(not known.unseen for known in gone) or any(
            not known.unseen for n, (known, _) in enumerate(here) if n not in apart
        ):
            return None
        seen = [here[n] for n in apart]
        self._known = [*(known.seen(look.box) for known, look in seen), *self._waited_for(gone)]
        return [look for _, look in seen]

    def _searched(self, image: np.ndarray) -> list[Detection]:
        """The faces of the whole frame; the known ones among them keep their way."""
        faces = self.detector.search([image])[0]
        lost, found = list(self._known), []
        for face in faces:
            unseen = 0 if self.detector.sure(face) else 1
            known = min(lost, key=lambda one: _astray(one, face), default=None)
            if known is None or _astray(known, face) > STRAYED:
                found.append(Known(face.box, unseen=unseen))
            else:
                lost.remove(known)
                found.append(replace(known.seen(face.box), unseen=unseen))
        self._known = [*found, *self._waited_for(lost)]
        return faces

    def _waited_for(self, lost: list[Known]) -> list[Known]:
        """Those out of sight, one frame longer, but for those that have been for too long."""
        still = (replace(known, unseen=known.unseen + 1) for known in lost)
        return [known for known in still if known.unseen <= self.every]


def same_scene(one: np.ndarray, other: np.ndarray) -> bool:
    """Do two frames, as `tiny` gives them, show one scene, with no cut between them?"""
    return bool(np.abs(one - other).mean() <= CUT)


def tiny(image: np.ndarray) -> np.ndarray:
    """The colours of a frame, [16, 16, 3], from a few of its pixels."""
    step = max(1, min(image.shape[:2]) // 128)
    few = np.ascontiguousarray(image[::step, ::step])
    return cv2.resize(few, (16, 16), interpolation=cv2.INTER_AREA).astype(float)


def _apart(faces: list[Detection]) -> list[int]:
    """Places of the faces of which none lies in a surer one."""
    if not faces:
        return []
    scores = np.array([face.confidence for face in faces], float)
    return apart(np.stack([face.box for face in faces]), scores)


def _astray(known: Known, face: Detection) -> float:
    """Sides of the face between its middle and where the known one was expected."""
    aside = (known.expected() - face.box).reshape(2, 2).mean(0)
    return float(np.linalg.norm(aside) / max(1.0, face.box[2] - face.box[0]))
