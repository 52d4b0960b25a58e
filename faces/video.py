"""Clips -> frames: spread over time, upright RGB, and no more decoded than those need.

    clip = video.open_clip("clip.mp4", Frames())
    for frame in clip: ...                      # frame.image, frame.index, frame.timestamp
    clip.missing                                # of the wanted frames, how many were damaged

What is decoded are the groups of pictures in which a wanted frame lies, up to the last of them.
A film is read through (faces/packets.py) or jumped about in (faces/seeking.py), whichever is faster
for it.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from faces import animation, packets, seeking
from faces.image import MAX_PIXELS, UnreadableImage, read_image
from flags import Frames

SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
    ".mts", ".m2ts", ".ts", ".vob", ".ogv",
})  # fmt: skip
"""Names that a folder is searched for; what a file really is, its content decides."""

HDR = (16, 18)
"""Transfer functions SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG), by their numbers in ITU-T H.273."""

FOLDER_RATE = 25
"""Frames a second of a folder of pictures, which says none (VidTIMIT's are 25)."""


class UnreadableVideo(Exception):
    """A file that gives no frame at all; the message says why, in a few words."""


@dataclass(frozen=True)
class Frame:
    """image: uint8 RGB [height, width, 3], upright. index: from 0, in the order of showing.
    timestamp: seconds from the first frame. grown: how many times as wide and high as the film's
    own frame it is, by `frames.resize`.
    """

    image: np.ndarray
    index: int
    timestamp: float
    grown: tuple[float, float] = (1.0, 1.0)


@dataclass
class Clip:
    """The wanted frames of a clip, to be iterated once.

    total: frames that the clip has, 0 where only decoding would tell. duration: seconds.
    wanted: how many frames were asked for. missing: how many of them could not be decoded, known
    at the end.
    cut: frames that the file promises and does not hold, as it was cut off.
    """

    path: Path
    total: int
    duration: float
    wanted: int
    _frames: Iterator[Frame] = field(repr=False)
    missing: int = 0
    cut: int = 0

    def __iter__(self) -> Iterator[Frame]:
        found = 0
        for frame in self._frames:
            found += 1
            yield frame
        self.missing = max(0, self.wanted - found)
        if found == 0:
            raise UnreadableVideo("not one frame of it can be decoded")


@contextmanager
def opened(path: Path | str) -> Iterator[Any]:
    """A film's container, of a format that holds its own pictures; UnreadableVideo otherwise."""
    import av

    try:
        film = packets.open_film(path)
    except (av.ArgumentError, av.InvalidDataError):  # a format that we do not want, or that none is
        raise UnreadableVideo("no film that can be read: damaged, or of another kind") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(_reason(error)) from None
    with film:
        yield film


def open_clip(path: Path | str, settings: Frames) -> Clip:
    """The frames of a film, an animated picture or a folder of pictures, as `settings` asks.

    Raises UnreadableVideo where there is none, here or at the end of the iteration.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, settings)
    if count := animation.frame_count(path):
        return _animation(path, count, settings)
    import av

    try:
        with opened(path) as film:
            if not film.streams.video:
                raise UnreadableVideo("it has no video stream")
            stream = film.streams.video[0]
            if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
                raise UnreadableVideo(f"its frames have more than {MAX_PIXELS:,} pixels")
            size, length = path.stat().st_size, packets.length(film, stream)
            if table := seeking.Table.of(film, stream, size):
                seconds = table.seconds()
                places = wanted_places(seconds, settings)
                if table.unread(places) > seeking.WORTH_SEEKING:
                    frames = _frames(seeking.jumped(path, table, places), settings)
                    return Clip(path, len(seconds), seconds[-1], len(places), frames)
            elif size > seeking.LARGE and length:
                times = wanted_times(length, settings)
                frames = _frames(seeking.sought(path, times), settings)
                return Clip(path, stream.frames, length, len(times), frames)
            index = packets.Index.of(film, stream)
            cut = packets.cut(film, stream, index)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(_reason(error)) from None
    if not index.shown:
        raise UnreadableVideo("it holds no frame")
    seconds = index.seconds()
    places = wanted_places(seconds, settings)
    frames = _frames(packets.read_through(path, index, places), settings)
    return Clip(path, len(seconds), seconds[-1], len(places), frames, cut=cut)


def _frames(shown: Iterator[packets.Shown], settings: Frames) -> Iterator[Frame]:
    for frame, number, seconds in shown:
        image, grown = _picture(frame, settings)
        yield Frame(image, number, seconds, grown)


# --------------------------------------------------------------------------------- choice


def wanted_places(seconds: Sequence[float], settings: Frames) -> list[int]:
    """Which frames are wanted, by their places in the order of showing.

    seconds: [n], when each frame is shown, rising from 0.
    """
    count = len(seconds)
    if settings.every:
        return list(range(0, count, settings.every))
    last = seconds[-1] + (seconds[-1] / (count - 1) if count > 1 else 0.0)  # its end
    if settings.rate or count > settings.count:
        nearest = (_nearest(seconds, time) for time in wanted_times(last, settings))
        return sorted(set(nearest))
    return list(range(count))


def wanted_times(length: float, settings: Frames) -> list[float]:
    """When to look, in seconds from the start: the middles of equal parts of the time."""
    if settings.every:
        raise UnreadableVideo("too large for frames.every: set frames.rate or frames.count")
    count = max(1, int(length * settings.rate)) if settings.rate else settings.count
    step = 1 / settings.rate if settings.rate else length / count
    return [(number + 0.5) * step for number in range(count)]


def _nearest(seconds: Sequence[float], time: float) -> int:
    after = bisect_left(seconds, time)
    if after == 0:
        return 0
    if after == len(seconds):
        return after - 1
    return after if seconds[after] - time < time - seconds[after - 1] else after - 1


# ------------------------------------------------------------------------------- pictures


def _picture(frame: Any, settings: Frames) -> tuple[np.ndarray, tuple[float, float]]:
    """A decoded frame as upright RGB of BT.709, resized where that is wanted, and how much."""
    width, height = frame.width, frame.height
    turns = round((frame.rotation or 0) / 90) % 4
    upright = height if turns % 2 else width
    factor = by_width(upright) if settings.resize == "by_width" else 1.0
    size = {"width": round(width * factor), "height": round(height * factor)}
    size = size if factor != 1 else {}
    image = (
        to_sdr(frame, **size) if frame.color_trc in HDR else frame.reformat(format="rgb24", **size)
    )
    pixels = image.to_ndarray()
    grown = (pixels.shape[1] / width, pixels.shape[0] / height)
    if not turns:
        return pixels, grown
    pixels = np.ascontiguousarray(np.rot90(pixels, turns))
    return pixels, grown[::-1] if turns % 2 else grown


def to_sdr(frame: Any, **size: int) -> Any:
    """A frame of HDR10 (PQ) or HLG as the SDR that other clips are: RGB, BT.709.

    By libswscale: the diffuse white of both (203 cd/m2, ITU-R BT.2408) becomes white, BT.2020's
    colours those of BT.709; what is brighter or outside is clipped, without a shoulder.
    """
    from av.video.reformatter import ColorPrimaries, ColorTrc

    if frame.color_primaries not in set(ColorPrimaries) - {ColorPrimaries.UNSPECIFIED}:
        frame.color_primaries = ColorPrimaries.BT2020  # PQ and HLG are defined with it
    return _reformatter(threading.get_ident()).reformat(
        frame,
        format="rgb24",
        dst_color_trc=ColorTrc.BT709,
        dst_color_primaries=ColorPrimaries.BT709,
        **size,
    )


@lru_cache(maxsize=8)
def _reformatter(thread: int) -> Any:
    """One a thread, kept: it makes a table of colours (seconds) for each new kind of frame."""
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def by_width(width: int) -> float:
    """DeepFake-Detect's rule: narrow frames grow, wide ones shrink."""
    if width < 300:
        return 2.0
    if width <= 1000:
        return 1.0
    return 0.5 if width <= 1900 else 0.33


# --------------------------------------------------------------------------------- folders


def _folder(path: Path, settings: Frames) -> Clip:
    """A folder of pictures in the order of their names, whatever those end in."""
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
    if not files:
        raise UnreadableVideo("the folder holds no pictures")
    seconds = [number / FOLDER_RATE for number in range(len(files))]
    places = wanted_places(seconds, settings)

    def frames() -> Iterator[Frame]:
        for place in places:
            try:
                yield Frame(read_image(files[place]), place, seconds[place])
            except UnreadableImage:
                continue

    return Clip(path, len(files), seconds[-1], len(places), frames())


def _animation(path: Path, count: int, settings: Frames) -> Clip:
    """Spread over the frames' numbers: when each is shown only decoding all would tell."""
    places = wanted_places([float(number) for number in range(count)], settings)
    found = animation.frames(path, places)
    frames = (Frame(image, number, seconds) for number, seconds, image in found)
    return Clip(path, count, 0.0, len(places), frames)


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", "") or " ".join(str(error).split()) or type(error).__name__
    return f"not a film that can be read: {words[:160]}"
