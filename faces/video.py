"""Clips -> frames: spread over time, upright RGB, and no more decoded than those need.

    clip = video.open_clip("clip.mp4", Frames())
    for frame in clip: ...                      # frame.image, frame.index, frame.timestamp
    clip.missing                                # of the wanted frames, how many were damaged

A film is read twice: once without decoding, to learn when each frame is shown, and once to decode
the groups of pictures in which a wanted frame lies, up to the last of them. Films so large that
reading them takes longer than jumping about in them are sought instead.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from faces.image import MAX_PIXELS, UnreadableImage, read_image
from flags import Frames

SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
    ".mts", ".m2ts", ".ogv",
})  # fmt: skip
"""Names that a folder is searched for; what a file really is, its content decides."""

LARGE = 512 * 2**20
"""Bytes; a larger film is not read through for its frames' times, but sought."""

FOLDER_RATE = 25
"""Frames a second of a folder of pictures, which says none (VidTIMIT's are 25)."""


class UnreadableVideo(Exception):
    """A file that gives no frame at all; the message says why, in a few words."""


@dataclass(frozen=True)
class Frame:
    """image: uint8 RGB [height, width, 3], upright. index: from 0, in the order of showing.
    timestamp: seconds from the first frame.
    """

    image: np.ndarray
    index: int
    timestamp: float


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


def open_clip(path: Path | str, settings: Frames) -> Clip:
    """The frames of a film, an animated picture or a folder of pictures, as `settings` asks.

    Raises UnreadableVideo where there is none, here or at the end of the iteration.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, settings)
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as film:
            if not film.streams.video:
                raise UnreadableVideo("it has no video stream")
            stream = film.streams.video[0]
            if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
                raise UnreadableVideo(f"its frames have more than {MAX_PIXELS:,} pixels")
            length = _length(film, stream)
            if path.stat().st_size > LARGE and length:
                times = wanted_times(length, settings)
                frames = _sought(path, times, settings)
                return Clip(path, stream.frames, length, len(times), frames)
            promised, index = stream.frames, _Index.of(film, stream)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(_reason(error)) from None
    if not index.shown:
        raise UnreadableVideo("it holds no frame")
    places = wanted_places(index.seconds(), settings)
    frames = _decoded(path, index, places, settings)
    cut = max(0, promised - index.packets)
    return Clip(path, len(index.shown), index.seconds()[-1], len(places), frames, cut=cut)


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


# ------------------------------------------------------------------------------- decoding


@dataclass(frozen=True)
class _Index:
    """The packets of a film in the order of decoding, learnt without decoding.

    pts: when each is shown, in units of `unit` seconds. keys: places of those that begin a group.
    shown: places of the packets in the order of showing. packets: also those not to be shown.
    """

    pts: list[int]
    keys: list[int]
    shown: list[int]
    unit: Fraction
    packets: int

    @classmethod
    def of(cls, film: Any, stream: Any) -> "_Index":
        import av

        pts: list[int] = []
        keys: list[int] = []
        packets = 0
        try:
            for packet in film.demux(stream):
                time = packet.pts if packet.pts is not None else packet.dts
                packets += packet.size > 0
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.is_keyframe or not pts:
                    keys.append(len(pts))
                pts.append(time if time is not None else (pts[-1] + 1 if pts else 0))
        except (av.FFmpegError, OSError):
            pass  # cut off here: the frames up to it are sound
        shown = sorted(range(len(pts)), key=lambda place: pts[place])
        return cls(pts, keys, shown, stream.time_base or Fraction(1, FOLDER_RATE), packets)

    def seconds(self) -> list[float]:
        """When each frame is shown, in that order, from 0."""
        first = self.pts[self.shown[0]]
        return [float((self.pts[place] - first) * self.unit) for place in self.shown]

    def needed(self, targets: set[int]) -> list[tuple[int, int]]:
        """Ranges of packets (first, after the last) that must be decoded for the target packets."""
        ranges: list[tuple[int, int]] = []
        ends = [*self.keys[1:], len(self.pts)]
        for group, (start, end) in enumerate(zip(self.keys, ends, strict=True)):
            own = [place for place in range(start, end) if place in targets]
            if not own:
                continue
            # A frame that is shown before the key frame of its group may need the group before.
            leads = any(self.pts[place] < self.pts[start] for place in own)
            begin = self.keys[group - 1] if leads and group else start
            if ranges and ranges[-1][1] >= begin:
                ranges[-1] = (ranges[-1][0], own[-1] + 1)
            else:
                ranges.append((begin, own[-1] + 1))
        return ranges


def _decoded(path: Path, index: _Index, places: list[int], settings: Frames) -> Iterator[Frame]:
    """The frames at `places` of the order of showing, skipping what they do not need."""
    import av

    targets = {index.shown[place] for place in places}
    wanted = {index.pts[index.shown[place]]: place for place in places}
    seconds = index.seconds()
    with av.open(str(path), metadata_errors="ignore") as film:
        stream = film.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_type = "AUTO"
        ranges = iter(index.needed(targets))
        begin, end = next(ranges, (0, 0))
        for place, packet in enumerate(_packets(film, stream)):
            if place < begin:
                continue
            decoder.skip_frame = "DEFAULT" if place in targets else "NONREF"
            frames = _decode(decoder, packet)
            done = place + 1 == end
            if done:
                frames += _decode(decoder, None)
            for frame in frames:
                if (number := wanted.pop(frame.pts, None)) is not None:
                    yield Frame(_picture(frame, settings), number, seconds[number])
            if done:
                decoder.flush_buffers()
                begin, end = next(ranges, (0, 0))
                if end == 0:
                    return


def _packets(film: Any, stream: Any) -> Iterator[Any]:
    import av

    try:
        for packet in film.demux(stream):
            if packet.size and not packet.is_discard:
                yield packet
    except (av.FFmpegError, OSError):
        return


def _decode(decoder: Any, packet: Any) -> list[Any]:
    """Frames that come out; a damaged packet gives none, and those after it may be sound."""
    import av

    try:
        return [frame for frame in decoder.decode(packet) if not frame.is_corrupt]
    except av.FFmpegError:
        return []


def _sought(path: Path, times: list[float], settings: Frames) -> Iterator[Frame]:
    """The frames that are shown at `times`, from the key frame before each."""
    import av

    with av.open(str(path), metadata_errors="ignore") as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_type = "AUTO"
        unit, first = stream.time_base or Fraction(1, FOLDER_RATE), stream.start_time or 0
        rate = stream.average_rate or Fraction(FOLDER_RATE)
        for time in times:
            target = first + int(time / unit)
            try:
                film.seek(target, stream=stream)
                for frame in film.decode(stream):
                    lasts = frame.duration or int(1 / rate / unit)
                    if frame.pts is not None and frame.pts + lasts > target:
                        shown = float((frame.pts - first) * unit)
                        yield Frame(_picture(frame, settings), round(shown * rate), shown)
                        break
            except av.FFmpegError:
                continue


def _picture(frame: Any, settings: Frames) -> np.ndarray:
    """A decoded frame as upright RGB, resized where that is wanted."""
    width, height = frame.width, frame.height
    factor = by_width(width) if settings.resize == "by_width" else 1.0
    size = {"width": round(width * factor), "height": round(height * factor)}
    image = frame.reformat(format="rgb24", **(size if factor != 1 else {})).to_ndarray()
    turns = round((frame.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def by_width(width: int) -> float:
    """DeepFake-Detect's rule: narrow frames grow, wide ones shrink."""
    if width < 300:
        return 2.0
    if width <= 1000:
        return 1.0
    return 0.5 if width <= 1900 else 0.33


def _length(film: Any, stream: Any) -> float:
    """Seconds, as the file says, or 0."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return film.duration / 1_000_000 if film.duration else 0.0


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


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return f"not a film that can be read: {words[:160]}"
