"""A copy of a film with boxes, scores and a timeline drawn into it, for a browser: H.264."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from faces.video import FOLDER_RATE, UnreadableVideo, opened
from utils import atomic_path

LONGEST = 1280
"""Pixels of the copy's longer side at most."""

STRIP = 0.12
"""Height of the timeline, in heights of the picture."""

INK, PAPER, FAINT = (235, 235, 235), (24, 24, 24), (90, 90, 90)


@dataclass(frozen=True)
class Drawn:
    """One person: seconds [n], rising; boxes [n, 4] in pixels of the upright picture; scores [n],
    0..1. colour: RGB.
    """

    name: str
    colour: tuple[int, int, int]
    seconds: Sequence[float]
    boxes: Sequence[Sequence[float]]
    scores: Sequence[float]

    def at(self, time: float, gap: float) -> tuple[np.ndarray, float] | None:
        """Box and score at a time, between the two looks around it; None where there is none."""
        after = bisect_left(self.seconds, time)
        near = [i for i in (after - 1, after) if 0 <= i < len(self.seconds)]
        near = [i for i in near if abs(self.seconds[i] - time) <= gap]
        if not near:
            return None
        first, last = near[0], near[-1]
        span = self.seconds[last] - self.seconds[first]
        part = (time - self.seconds[first]) / span if span > 0 else 0.0
        one, other = np.asarray(self.boxes[first], float), np.asarray(self.boxes[last], float)
        closest = min(near, key=lambda i: abs(self.seconds[i] - time))
        return one + part * (other - one), self.scores[closest]


def write_annotated(
    source: Path | str,
    target: Path,
    persons: Sequence[Drawn],
    limits: tuple[float, float],
    between: Callable[[float], object] = lambda share: None,
) -> None:
    """Copy all frames of a film to `target` (.mp4), without its sound.

    persons: boxes are drawn between two looks, and nowhere else. limits: the band in which nobody
    can tell. between: told after each frame how far it is, 0..1; what it raises ends the copy, and
    then there is no file. Raises UnreadableVideo.
    """
    import av

    looks = sorted({time for person in persons for time in person.seconds})
    gap = 1.5 * max(np.diff(looks), default=1.0) if len(looks) > 1 else 1.0
    with opened(source) as film, atomic_path(target) as beside:
        stream = film.streams.video[0]
        stream.codec_context.thread_type = "AUTO"
        length = float(film.duration or 0) / 1_000_000 or max(looks, default=1.0)
        unit = stream.time_base or Fraction(1, FOLDER_RATE)
        rate = stream.average_rate or Fraction(FOLDER_RATE)
        options = {"movflags": "+faststart"}
        with av.open(str(beside), "w", format="mp4", options=options) as copy:
            out: Any = None
            first, written = 0, -1
            for frame in _frames(film, stream):
                image = _upright(frame)
                if out is None:
                    size = _size(image)
                    out = _stream(copy, size, rate)
                    first = frame.pts or 0
                scale = size[0] / image.shape[1]
                image = cv2.resize(image, size[:2], interpolation=cv2.INTER_AREA)
                time = float(((frame.pts or first) - first) * unit)
                _draw(image, persons, time, gap, scale)
                whole = np.concatenate([image, _timeline(size, persons, limits, time, length)])
                picture = av.VideoFrame.from_ndarray(whole, format="rgb24")
                # Two frames at one moment would stop the encoder.
                written = max(written + 1, round(time * 90_000))
                picture.pts, picture.time_base = written, Fraction(1, 90_000)
                copy.mux(out.encode(picture))
                between(min(1.0, time / length if length else 1.0))
            if out is None:
                raise UnreadableVideo("not one frame of it can be decoded")
            copy.mux(out.encode())


def _frames(film: Any, stream: Any) -> Any:
    import av

    for packet in film.demux(stream):
        try:
            yield from (frame for frame in packet.decode() if not frame.is_corrupt)
        except av.FFmpegError:
            continue  # damaged: what follows may be sound


def _upright(frame: Any) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, round((frame.rotation or 0) / 90) % 4))


def _size(image: np.ndarray) -> tuple[int, int, int]:
    """Width, height and the timeline's height; even, as yuv420p wants them."""
    scale = min(1.0, LONGEST / max(image.shape[:2]))
    width, height = (max(2, round(side * scale / 2) * 2) for side in image.shape[1::-1])
    return width, height, max(24, round(height * STRIP / 2) * 2)


def _stream(copy: Any, size: tuple[int, int, int], rate: Fraction) -> Any:
    stream = copy.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "22"})
    stream.width, stream.height, stream.pix_fmt = size[0], size[1] + size[2], "yuv420p"
    stream.codec_context.time_base = Fraction(1, 90_000)
    return stream


def _draw(
    image: np.ndarray, persons: Sequence[Drawn], time: float, gap: float, scale: float
) -> None:
    thick = max(1, image.shape[0] // 240)
    for person in persons:
        found = person.at(time, gap)
        if found is None:
            continue
        box, score = found
        left, top, right, bottom = (round(float(v) * scale) for v in box)
        cv2.rectangle(image, (left, top), (right, bottom), person.colour, thick)
        text = f"{person.name} {score:.2f}"
        size = max(0.4, image.shape[0] / 900)
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
        base = max(height + 6, top - 4)
        cv2.rectangle(image, (left, base - height - 5), (left + width + 6, base + 3), PAPER, -1)
        place = (left + 3, base - 2)
        cv2.putText(
            image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, INK, max(1, thick // 2), cv2.LINE_AA
        )


def _timeline(
    size: tuple[int, int, int],
    persons: Sequence[Drawn],
    limits: tuple[float, float],
    time: float,
    length: float,
) -> np.ndarray:
    """Scores over time, the band of the limits, and where the film is now."""
    width, _, height = size
    strip = np.full((height, width, 3), PAPER, np.uint8)

    def place(when: float, score: float) -> tuple[int, int]:
        across = min(1.0, when / length) if length else 0.0
        return round(across * (width - 1)), round((1 - score) * (height - 5)) + 2

    low, high = (place(0, limit)[1] for limit in limits)
    strip[min(low, high) : max(low, high) + 1] = (48, 48, 48)
    for person in persons:
        points = [place(*pair) for pair in zip(person.seconds, person.scores, strict=True)]
        line = np.array(points, np.int32).reshape(-1, 1, 2)
        cv2.polylines(strip, [line], False, person.colour, 1, cv2.LINE_AA)
        for point in points:
            cv2.circle(strip, point, 2, person.colour, -1, cv2.LINE_AA)
    now = place(time, 0)[0]
    cv2.line(strip, (now, 0), (now, height), INK, 1)
    cv2.line(strip, (0, 0), (width, 0), FAINT, 1)
    return strip
