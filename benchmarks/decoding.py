"""Reading a film through against jumping about in it, for the same frames: seconds, and the choice.

    python -m benchmarks.decoding
    python -m benchmarks.decoding --frames 8 --minutes 0.5 3

Films of 1280x720 and 30 frames a second with a key frame every 250 frames (x264's default) or 30,
out of the page cache before each run. The reference decodes every frame. "unread" is what jumping
need not read, by the film's own table; the choice is the one that `faces/video.py` makes by it.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import av

from benchmarks.prepare import HEIGHT, RATE, WIDTH, write_clip
from faces import seeking, video
from flags import Frames

PART = 30
"""Seconds that are encoded; longer films repeat them."""


def with_groups(source: Path, path: Path, group: int) -> None:
    """The same film with a key frame every `group` frames."""
    with av.open(str(source)) as film, av.open(str(path), "w") as out:
        options = {"preset": "veryfast", "g": str(group), "sc_threshold": "0"}
        stream = out.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, frame in enumerate(film.decode(video=0)):
            image = frame.reformat(format="yuv420p")
            image.pts = number
            image.time_base = 1 / stream.codec_context.framerate
            out.mux(stream.encode(image))
        out.mux(stream.encode())


def repeated(source: Path, path: Path, times: int) -> None:
    """A film's packets over and over: long, without encoding it."""
    with av.open(str(path), "w") as out:
        stream = None
        for number in range(times):
            with av.open(str(source)) as film:
                own = film.streams.video[0]
                stream = stream or out.add_stream_from_template(own)
                for packet in film.demux(own):
                    if packet.dts is None:
                        continue
                    packet.pts += number * own.duration
                    packet.dts += number * own.duration
                    packet.stream = stream
                    out.mux(packet)


def seconds(path: Path, frames: Frames, worth_seeking: float) -> float:
    """Of opening and decoding, with the file's content out of the page cache."""
    seeking.WORTH_SEEKING = worth_seeking  # type: ignore[assignment]
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)
    start = time.perf_counter()
    assert len(list(video.open_clip(path, frames))) == frames.count
    return time.perf_counter() - start


def everything(path: Path) -> float:
    start = time.perf_counter()
    with av.open(str(path)) as film:
        film.streams.video[0].thread_type = "AUTO"
        assert sum(1 for _ in film.decode(video=0))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=32, help="frames that are wanted")
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 3, 10])
    given = parser.parse_args()
    frames, limit = Frames(count=given.frames), seeking.WORTH_SEEKING
    print(f"{WIDTH}x{HEIGHT}, {given.frames} frames; seconds")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_clip(home / "clip.mp4", PART)
        for group in (250, 30):
            with_groups(home / "clip.mp4", home / "part.mp4", group)
            for minutes in given.minutes:
                path = home / "film.mp4"
                repeated(home / "part.mp4", path, max(1, round(60 * minutes / PART)))
                with av.open(str(path)) as film:
                    table = seeking.Table.of(film, film.streams.video[0], path.stat().st_size)
                assert table is not None
                unread = table.unread(video.wanted_places(table.seconds(), frames))
                through = min(seconds(path, frames, float("inf")) for _ in range(2))
                jumping = min(seconds(path, frames, -1) for _ in range(2))
                whole = everything(path)
                print(
                    f"  {minutes:4g} min, key frame every {group:3}: all {whole:6.2f}, read "
                    f"through {through:5.2f} ({whole / through:5.1f}x), jumped {jumping:5.2f} "
                    f"({whole / jumping:5.1f}x), unread {unread / 2**20:5.1f} of "
                    f"{path.stat().st_size / 2**20:5.1f} MB: "
                    f"{'jump' if unread > limit else 'read through'}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
