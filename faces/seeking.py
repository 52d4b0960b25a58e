"""The wanted frames of a film, without reading what lies between them.

- `jumped`: the container's own table (MP4, MOV) says where each frame is, so that only the groups
  that are needed are read, by a seek to each. The frames that packets.read_through gives; worth it
  where much lies between.
- `sought`: by time, for films without such a table that are too large to be read through. Where the
  rate of such a film varies, a frame's number is about right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from faces.packets import (
    RATE,
    Index,
    Shown,
    decode,
    decoder_of,
    open_film,
    packets_of,
    read_through,
)

LARGE = 512 * 2**20
"""Bytes; a larger film without a table is not read through for its frames' times, but sought."""

WORTH_SEEKING = 2**20
"""Bytes that need not be read, from which a film with a table is jumped about in."""

STEP_BACK = 2
"""Seconds; the first step back in search of a key frame, the next is twice as long."""


# ---------------------------------------------------------------------------- by the table


@dataclass(frozen=True)
class Table:
    """What a container says of its frames before any is read, in the order of decoding.

    sizes: bytes, int [n]. keys: places of the key frames, int [groups], the first is 0. times: when
    each is decoded, int [n], in units of `unit` seconds; they are `step` apart, as the frames are
    shown. first: when the first is shown.
    """

    sizes: np.ndarray
    keys: np.ndarray
    times: np.ndarray
    step: int
    first: int
    unit: Fraction

    @classmethod
    def of(cls, film: Any, stream: Any, size: int) -> "Table | None":
        """None where the table is not whole, the rate varies, or the file (`size` bytes) is cut."""
        entries = list(stream.index_entries) if "mov" in film.format.name else []
        if len(entries) < 2 or len(entries) != stream.frames or stream.start_time is None:
            return None
        times = np.array([entry.timestamp for entry in entries])
        keys = np.flatnonzero([entry.is_keyframe for entry in entries])
        even = len(set(np.diff(times).tolist())) == 1 and times[1] > times[0]
        if not even or len(keys) == 0 or keys[0] != 0 or any(e.is_discard for e in entries):
            return None
        if max(entry.pos + entry.size for entry in entries) > size:
            return None
        sizes, step = np.array([entry.size for entry in entries]), int(times[1] - times[0])
        return cls(sizes, keys, times, step, stream.start_time, stream.time_base)

    def seconds(self) -> list[float]:
        """When each frame is shown, in that order, from 0."""
        return [float(number * self.step * self.unit) for number in range(len(self.times))]

    def groups(self, places: list[int]) -> dict[int, list[int]]:
        """The group of each wanted frame -> its wanted frames, in order."""
        found: dict[int, list[int]] = {}
        group = np.searchsorted(self.keys, places, side="right") - 1
        for number, place in zip(group.tolist(), places, strict=True):
            found.setdefault(number, []).append(place)
        return found

    def unread(self, places: list[int]) -> int:
        """Bytes of the groups in which no wanted frame lies."""
        of_group = np.add.reduceat(self.sizes, self.keys)
        return int(of_group.sum() - of_group[list(self.groups(places))].sum())


def jumped(path: Path, table: Table, places: list[int]) -> Iterator[Shown]:
    """The same frames as `read_through`, of the groups alone in which they lie.

    A file whose frames are not where its table says is read through after all.
    """

    seconds = table.seconds()
    left = list(places)
    with open_film(path) as film:
        stream = film.streams.video[0]
        decoder_of(stream)
        for group, own in table.groups(places).items():
            wanted = {table.first + place * table.step: place for place in own}
            found = _of_group(film, stream, table, group, set(wanted))
            if found is None:
                break
            for frame in found:
                if (place := wanted.pop(frame.pts, None)) is not None:
                    yield frame, place, seconds[place]
            left = left[len(own) :]
        else:
            return
    with open_film(path) as film:
        index = Index.of(film, film.streams.video[0])
    if index.shown:
        yield from read_through(path, index, [p for p in left if p < len(index.shown)])


def _of_group(
    film: Any, stream: Any, table: Table, group: int, wanted: set[int]
) -> Iterator[Any] | None:
    """Decoded frames from the key frame of a group on, until the wanted times are out.

    None where the packets there are not shown at these times. Frames that are shown before the
    first key frame of their group need the group before.
    """
    packets: list[Any] = []
    for begin in (group, group - 1):
        if begin < 0:
            return None
        # A seek is by the time of showing; by that of decoding it would lead to the group before.
        time = table.first + int(table.keys[begin]) * table.step
        packets = _read_from(film, stream, time, wanted)
        if packets and packets[0].pts is not None and packets[0].pts <= min(wanted):
            break
    if not wanted <= {packet.pts for packet in packets}:
        return None
    return _decoded(stream.codec_context, packets, wanted)


def _read_from(film: Any, stream: Any, time: int, wanted: set[int]) -> list[Any]:
    """Packets from the key frame that is shown at `time` to the last of the wanted."""
    import av

    packets: list[Any] = []
    missing = set(wanted)
    last = max(wanted)
    try:
        film.seek(time, stream=stream)
        for packet in packets_of(film, stream):
            if not packets and not packet.is_keyframe:
                return []
            packets.append(packet)
            missing.discard(packet.pts)
            if not missing or (packet.dts is not None and packet.dts > last):
                break
    except av.FFmpegError:
        pass
    return packets


def _decoded(decoder: Any, packets: list[Any], wanted: set[int]) -> Iterator[Any]:
    decoder.flush_buffers()
    for packet in packets:
        decoder.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        yield from decode(decoder, packet)
    yield from decode(decoder, None)
    decoder.flush_buffers()


# --------------------------------------------------------------------------------- by time


def sought(path: Path, times: list[float]) -> Iterator[Shown]:
    """The frames that are shown at `times` (seconds, rising), from the key frame before each.

    Where the film's table of key frames says that none lies between, decoding just goes on.
    """
    import av

    with open_film(path) as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_type = "AUTO"
        unit, rate = stream.time_base or Fraction(1, RATE), stream.average_rate or Fraction(RATE)
        frames: Iterator[Any] = film.decode(stream)
        frame: Any = next(frames, None)
        if frame is None or frame.pts is None:
            return
        first = frame.pts
        for time in times:
            target = first + int(time / unit)
            try:
                if frame is None or _key_before(stream, target) > frame.pts:
                    frames = _from_key_frame(film, stream, target, first)
                    frame = next(frames, None)
                while frame is not None and _end(frame, rate) <= target:
                    frame = next(frames, None)
            except av.FFmpegError:
                frame = None
            if frame is not None:
                shown = float((frame.pts - first) * unit)
                yield frame, round(shown * rate), shown


def _from_key_frame(film: Any, stream: Any, target: int, first: int) -> Iterator[Any]:
    """Frames from a key frame before `target` on. Not every container knows where those are: an
    MPEG stream is entered anywhere, so that one goes back until a key frame comes first.
    """
    back = 0
    while True:
        start = max(first, target - back)
        film.seek(start, stream=stream)
        frames = film.decode(stream)
        frame = next(frames, None)
        if start == first or (frame is not None and frame.key_frame and frame.pts <= target):
            return chain([] if frame is None else [frame], frames)
        back = 2 * back or int(STEP_BACK / stream.time_base)


def _end(frame: Any, rate: Fraction) -> int:
    """When the next frame is shown, in units of the frame's time base."""
    return frame.pts + (frame.duration or int(1 / rate / frame.time_base))


def _key_before(stream: Any, target: int) -> float:
    """When the last key frame before `target` is, as far as the container's table knows it."""
    place = stream.index_entries.search_timestamp(target, backward=True)
    return stream.index_entries[place].timestamp if place >= 0 else float("inf")
