"""How fast a clip becomes faces, against MTCNN called on every frame, and at what cost in faces.

    python -m benchmarks.prepare
    python -m benchmarks.prepare --seconds 30 --reference 90
    python -m benchmarks.prepare --clips 2000          # does memory grow with their number?

A clip of 1280x720 and 30 frames a second, in which a portrait wanders. The reference is
facenet-pytorch's MTCNN with its defaults, one frame a call, in one process that may use all cores;
"DFDC loop" is the DFDC notebooks' (thresholds .9, margin 50). Ours works on one clip a core, as
prepare.py does. Every frame: detection and crops of all of them, with the start of the processes.
Sampled: 32 frames of one clip, in this process (`--workers 0`).
"""

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import psutil
from facenet_pytorch import MTCNN

import sources.portraits
from faces import video
from faces.image import encode_image, read_image
from flags import Frames, Prepare
from preparing.search import search
from utils import cores

WIDTH, HEIGHT, RATE = 1280, 720, 30
SMALLEST = 40
"""Pixels; smaller faces are not counted."""


def write_clip(path: Path, seconds: float, small: bool = False) -> None:
    """A face of 150 to 300 px on its way over a wall of noise-free texture."""
    portrait = read_image(sources.portraits.index("", Prepare())["path"].iloc[3])
    wall = cv2.resize(portrait[:40, :40], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "fast"})
        width, height = (640, 360) if small else (WIDTH, HEIGHT)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        count = int(seconds * RATE)
        for number in range(count):
            part = number / max(1, count - 1)
            side = int(300 + 250 * np.sin(3 * part) ** 2)
            left = int((WIDTH - side) * (0.5 + 0.45 * np.sin(7 * part)))
            top = int((HEIGHT - side) * (0.5 + 0.45 * np.cos(5 * part)))
            image = wall.copy()
            image[top : top + side, left : left + side] = cv2.resize(portrait, (side, side))
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        film.mux(stream.encode())


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def every_frame(path: Path, detector: MTCNN, margin: int, count: int) -> list[np.ndarray]:
    """Boxes [n, 4] of the first `count` frames, their faces cut with `margin` and encoded."""
    boxes = []
    with av.open(str(path)) as film:
        for number, frame in enumerate(film.decode(video=0)):
            if number == count:
                break
            image = frame.to_ndarray(format="rgb24")
            found, _ = detector.detect(image)
            found = np.zeros((0, 4)) if found is None else np.asarray(found, float)
            for left, top, right, bottom in found:
                x, y = max(0, int(left) - margin), max(0, int(top) - margin)
                encode_image(image[y : int(bottom) + margin, x : int(right) + margin], ".jpg")
            boxes.append(found)
    return boxes


def ours(
    clips: list[Path], out: Path, frames: Frames, workers: int | None = None
) -> dict[int, list[list[float]]]:
    """prepare.py's search, on all cores unless told; the boxes of the first clip by frame."""
    media = pd.DataFrame([{"path": str(clip), "kind": "video"} for clip in clips])
    found = search(media, Prepare(frames=frames, workers=workers), out)
    boxes: dict[int, list[list[float]]] = {}
    for face in found[str(clips[0])].faces:
        boxes.setdefault(face["frame"], []).append(face["media_box"])
    return boxes


def agreement(
    reference: list[np.ndarray], found: dict[int, list[list[float]]]
) -> tuple[float, float, float]:
    """Share of the reference's faces found, mean IoU of those, false ones a frame."""
    seen, overlaps, false = 0, [], 0
    for number, boxes in enumerate(reference):
        mine = [np.array(box) for box in found.get(number, [])]
        large = [box for box in boxes if min(box[2:] - box[:2]) >= SMALLEST]
        matched = 0
        for box in large:
            seen += 1
            best = max((overlap(box, other) for other in mine), default=0.0)
            if best > 0.5:
                overlaps.append(best)
                matched += 1
        false += max(0, len(mine) - matched)
    return len(overlaps) / max(1, seen), float(np.mean(overlaps)), false / len(reference)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


class Peak(threading.Thread):
    """The most memory that this process and all below it held at a time, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.over = 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.3):
            own = psutil.Process()
            sizes = []
            for process in (own, *own.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    sizes.append(process.memory_full_info().pss)
            self.most = max(self.most, sum(sizes) / 2**20)


def peak_of(count: int, home: Path) -> float:
    """Peak memory of a search in `count` small clips, each a file of its own."""
    folder = home / f"clips{count}"
    folder.mkdir()
    write_clip(folder / "0.mp4", 0.2, small=True)
    for number in range(1, count):
        (folder / f"{number}.mp4").write_bytes((folder / "0.mp4").read_bytes())
    media = pd.DataFrame([{"path": str(f), "kind": "video"} for f in sorted(folder.iterdir())])
    peak = Peak()
    peak.start()
    found = search(media, Prepare(frames=Frames(count=2)), home / f"out{count}")
    peak.over.set()
    assert all(one.faces for one in found.values())
    return peak.most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--clips", type=int, default=0, help="small clips: memory against 20 of them"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the clip")
    parser.add_argument("--reference", type=int, default=60, help="frames that references search")
    given = parser.parse_args()
    if given.clips:
        with tempfile.TemporaryDirectory() as home:
            few, many = peak_of(20, Path(home)), peak_of(given.clips, Path(home))
        print(
            f"peak memory of {given.clips} clips / of 20 clips: {many / few:.3f} "
            f"({many:.0f} and {few:.0f} MB, all processes)"
        )
        return
    with tempfile.TemporaryDirectory() as home:
        first = Path(home) / "clip.mp4"
        write_clip(first, given.seconds)
        clips = [first]
        for number in range(1, cores()):
            clips.append(Path(home) / f"copy{number}.mp4")
            clips[-1].write_bytes(first.read_bytes())
        total = int(given.seconds * RATE)
        plain, strict = MTCNN(keep_all=True), MTCNN(keep_all=True, thresholds=[0.9, 0.9, 0.9])
        every_frame(first, plain, 0, 3)
        slow, boxes = timed(lambda: every_frame(first, plain, 0, given.reference))
        loop, _ = timed(lambda: every_frame(first, strict, 50, given.reference))
        rates = {"MTCNN on each frame": given.reference / slow, "DFDC loop": given.reference / loop}
        fast, found = timed(lambda: ours(clips, Path(home) / "all", Frames(every=1)))
        rates["ours, every frame"] = len(clips) * total / fast
        sampled, _ = timed(lambda: ours(clips[:1], Path(home) / "32", Frames(count=32), 0))
        decoding, _ = timed(lambda: list(video.open_clip(first, Frames(count=32))))

        recall, iou, false = agreement(boxes, found)
        reference, mine = rates["MTCNN on each frame"], rates["ours, every frame"]
        print(f"{WIDTH}x{HEIGHT}, {total} frames, one face, {cores()} cores")
        for name, rate in rates.items():
            print(f"  {name:<24} {rate:8.1f} frames/s")
        print(f"  every frame / MTCNN on each frame : {mine / reference:.2f} (aim 5)")
        print(f"  every frame / DFDC loop           : {mine / rates['DFDC loop']:.2f}")
        print(
            f"  32 frames / MTCNN on all {total}      : {total / reference / sampled:.2f} (aim 25)"
        )
        print(f"    of its {sampled:.1f} s decoding took {decoding:.1f} s")
        print(f"  faces of {SMALLEST} px and more found   : {recall:.1%} (aim 99 %)")
        print(f"  IoU with the reference's boxes    : {iou:.3f} (aim .9)")
        print(f"  others, a frame                   : {false:.3f}")


if __name__ == "__main__":
    main()
