"""The packets of a film -> the decoded frames that are wanted, and no more decoded than they need.

All packets are read once without decoding, to learn when each frame is shown, and once more to
decode the groups in which a wanted frame lies: the frames that decoding everything would give. Any
film can be read so; faces/seeking.py has two ways that leave out what lies between.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

RATE = 25
"""Frames a second where a film says none."""

FORMATS = (
    "mov,avi,matroska,mpeg,mpegts,mpegvideo,h264,hevc,m4v,asf,flv,ogg,gif,apng,mxf,ivf,obu,dv,"
    "mjpeg,nut,wtv,swf,rm,nuv,yuv4mpegpipe"
)
"""FFmpeg's names of the containers that are read: those that hold their own pictures."""

Shown = tuple[Any, int, float]
"""A decoded frame of PyAV, its place in the order of showing, and seconds from the first."""


def open_film(path: Path | str) -> Any:
    """A film's container. A list of other files (a playlist, a stream's description) is refused:
    it would make the decoder open those. Raises av.FFmpegError, OSError or ValueError.
    """
    import av

    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    return av.open(str(path), metadata_errors="ignore", options=options)


# ---------------------------------------------------------------------------- read through


@dataclass(frozen=True)
class Index:
    """The packets of a film in the order of decoding, learnt without decoding.

    pts: when each is shown, in units of `unit` seconds. keys: places of those that begin a group.
    shown: places of the packets in the order of showing. packets: also those not to be shown.
    timed: whether the film says when each is shown; a bare stream and some AVIs do not, and there
    `pts` counts the frames. end: seconds at which the last packet of any stream ends, where it was
    looked for.
    """

    pts: list[int]
    keys: list[int]
    shown: list[int]
    unit: Fraction
    packets: int
    timed: bool = True
    end: float | None = None

    @classmethod
    def of(cls, film: Any, stream: Any) -> "Index":
        import av

        pts: list[int] = []
        keys: list[int] = []
        packets, timed, end = 0, True, None
        # Matroska says nothing of its number of frames, only when the last of all streams ends.
        streams = [*film.streams] if is_matroska(film) else [stream]
        try:
            for packet in film.demux(*streams):
                if is_matroska(film) and packet.pts is not None:
                    ends = (packet.pts + (packet.duration or 0)) * packet.time_base
                    end = max(end or 0.0, float(ends))
                if packet.stream_index != stream.index:
                    continue
                packets += packet.size > 0
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.is_keyframe or not pts:
                    keys.append(len(pts))
                timed = timed and packet.pts is not None
                pts.append(packet.pts if timed else len(pts))
        except (av.FFmpegError, OSError):
            pass  # cut off here: the frames up to it are sound
        unit = stream.time_base or Fraction(1, RATE)
        # AVI keeps one time a packet; for a codec that reorders frames FFmpeg may make them up.
        made_up = film.format.name == "avi" and stream.codec_context.has_b_frames
        timed = timed and not (made_up and pts == sorted(pts))
        if not timed:
            pts, unit = list(range(len(pts))), 1 / (stream.average_rate or Fraction(RATE))
        shown = sorted(range(len(pts)), key=lambda place: pts[place])
        return cls(pts, keys, shown, unit, packets, timed, end)

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


def read_through(path: Path, index: Index, places: list[int]) -> Iterator[Shown]:
    """The frames at `places` of the order of showing, skipping what they do not need."""

    if not index.timed:
        yield from _counted(path, index, places)
        return
    targets = {index.shown[place] for place in places}
    wanted = {index.pts[index.shown[place]]: place for place in places}
    seconds = index.seconds()
    with open_film(path) as film:
        stream = film.streams.video[0]
        decoder = decoder_of(stream)
        ranges = iter(index.needed(targets))
        begin, end = next(ranges, (0, 0))
        for place, packet in enumerate(packets_of(film, stream)):
            if place < begin:
                continue
            decoder.skip_frame = "DEFAULT" if place in targets else "NONREF"
            frames = decode(decoder, packet)
            done = place + 1 == end
            if done:
                frames += decode(decoder, None)
            for frame in frames:
                if (number := wanted.pop(frame.pts, None)) is not None:
                    yield frame, number, seconds[number]
            if done:
                decoder.flush_buffers()
                begin, end = next(ranges, (0, 0))
                if end == 0:
                    return


def _counted(path: Path, index: Index, places: list[int]) -> Iterator[Shown]:
    """The same of a film that does not say when a frame is shown: all are decoded, and counted as
    they come out.
    """
    wanted, seconds = set(places), index.seconds()
    with open_film(path) as film:
        stream = film.streams.video[0]
        decoder = decoder_of(stream)
        number = 0
        for packet in chain(packets_of(film, stream), [None]):
            for frame in decode(decoder, packet):
                if number in wanted:
                    yield frame, number, seconds[number]
                number += 1
            if number > max(wanted):
                return


def decoder_of(stream: Any) -> Any:
    """Its decoder. Opened before anything is skipped: dav1d (AV1) looks only then at what may be,
    and would leave those frames out from then on.
    """
    import av

    decoder = stream.codec_context
    decoder.thread_type = "AUTO"
    with suppress(av.FFmpegError):  # then it decodes nothing either
        decoder.open(strict=False)
    return decoder


def packets_of(film: Any, stream: Any) -> Iterator[Any]:
    import av

    try:
        for packet in film.demux(stream):
            if packet.size and not packet.is_discard:
                yield packet
    except (av.FFmpegError, OSError):
        return


def decode(decoder: Any, packet: Any) -> list[Any]:
    """Frames that come out; a damaged packet gives none, and those after it may be sound."""
    import av

    try:
        return [frame for frame in decoder.decode(packet) if not frame.is_corrupt]
    except av.FFmpegError:
        return []


# ------------------------------------------------------------------------- what it promises


def is_matroska(film: Any) -> bool:
    """Matroska or WebM."""
    return "matroska" in film.format.name


def length(film: Any, stream: Any) -> float:
    """Seconds, as the file says, or 0."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if not film.duration:
        return 0.0
    # Matroska's is when it ends, and one that was cut out of a stream may begin late.
    late = (film.start_time or 0) if is_matroska(film) else 0
    return (film.duration - (late if 1_000_000 < late < film.duration else 0)) / 1_000_000


def cut(film: Any, stream: Any, index: Index) -> int:
    """Frames that a film promises and does not hold; about so many where it tells its length."""
    if stream.frames or index.end is None or not film.duration:
        return max(0, stream.frames - index.packets)
    promised = film.duration / 1_000_000
    begin = promised - length(film, stream)
    left = promised - index.end
    beyond = left > max(1.0, 0.02 * (promised - begin))
    return round(left * (stream.average_rate or RATE)) if beyond else 0
