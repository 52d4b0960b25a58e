"""How fast a clip becomes faces, against MTCNN called on every frame, and at what cost in faces.

    python -m benchmarks.prepare
    python -m benchmarks.prepare --seconds 30 --reference 90
    python -m benchmarks.prepare --clips 2000          # does memory grow with their number?
    python -m benchmarks.prepare --manifest videos.csv # faces found in clips of one's own, no speed

A clip of 1280x720 and 30 frames a second, in which a portrait wanders. The reference is
facenet-pytorch's MTCNN with its defaults, one frame a call, in one process that may use all cores;
"DFDC loop" is the DFDC notebooks' (thresholds .9, margin 50). Ours works on one clip a core, as
prepare.py does. Every frame: detection and crops of all of them, with the start of the processes.
Sampled: 32 frames of one clip, in this process (`--workers 0`).

With a manifest (`path`, relative to it, one row a clip): the first `--reference` frames of each,
by the reference, by our search of every frame, and followed as prepare.py does it. A face is an
"other" where the reference has none in that frame; of those, "nowhere" counts the ones where it has
none within 8 frames either: what is there for one frame in two is a face that the reference is
unsure of.
"""

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import psutil
from facenet_pytorch import MTCNN

import sources.portraits
from faces import video
from faces.detector import make_detector
from faces.follow import faces_of
from faces.image import encode_image, read_image
from flags import Frames, Prepare
from preparing.search import search
from utils import cores

WIDTH, HEIGHT, RATE = 1280, 720, 30
SMALLEST = 40
"""Pixels; smaller faces are not counted."""

SURE = 0.95
"""Confidence of the faces that the recipe keeps."""

AROUND = 8
"""Frames before and after one in which the reference may see what it misses there."""

Boxes = np.ndarray
"""[n, 5]: left, top, right, bottom in pixels, confidence."""


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


def every_frame(path: Path, detector: MTCNN, margin: int, count: int) -> list[Boxes]:
    """Boxes of the first `count` frames, their faces cut with `margin` and encoded."""
    boxes = []
    with av.open(str(path)) as film:
        for number, frame in enumerate(film.decode(video=0)):
            if number == count:
                break
            image = frame.to_ndarray(format="rgb24")
            faces = found(detector, image)
            for left, top, right, bottom, _ in faces:
                x, y = max(0, int(left) - margin), max(0, int(top) - margin)
                encode_image(image[y : int(bottom) + margin, x : int(right) + margin], ".jpg")
            boxes.append(faces)
    return boxes


def found(detector: MTCNN, image: np.ndarray) -> Boxes:
    boxes, sure = detector.detect(image)
    if boxes is None:
        return np.zeros((0, 5))
    return np.column_stack([np.asarray(boxes, float), np.asarray(sure, float)])


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


@dataclass
class Agreement:
    """Of the reference's faces of SMALLEST px and more: how many there are, how many were found and
    with which overlap (IoU); `sure` and `sure_found` count those of confidence .95 and more.
    others: faces that it does not have in that frame; nowhere: nor in those around it.
    """

    faces: int = 0
    sure: int = 0
    sure_found: int = 0
    overlaps: list[float] = field(default_factory=list)
    others: int = 0
    nowhere: int = 0
    frames: int = 0

    def add(self, reference: Sequence[Boxes], found: Sequence[Sequence[np.ndarray]]) -> None:
        """Count the frames of one clip. reference: boxes [n, 5], the last their confidence."""
        self.frames += len(reference)
        for number, (theirs, mine) in enumerate(zip(reference, found, strict=True)):
            for box in theirs:
                if min(box[2:4] - box[:2]) < SMALLEST:
                    continue
                best = max((overlap(box, other) for other in mine), default=0.0)
                self.faces += 1
                self.sure += box[4] >= SURE
                if best > 0.5:
                    self.overlaps.append(best)
                    self.sure_found += box[4] >= SURE
            around = np.concatenate(reference[max(0, number - AROUND) : number + AROUND + 1])
            for box in mine:
                if max((overlap(box, other) for other in theirs), default=0.0) <= 0.5:
                    self.others += 1
                    self.nowhere += (
                        max((overlap(box, other) for other in around), default=0.0) <= 0.3
                    )

    @property
    def recall(self) -> float:
        return len(self.overlaps) / max(1, self.faces)

    @property
    def iou(self) -> float:
        return float(np.mean(self.overlaps)) if self.overlaps else float("nan")

    def __str__(self) -> str:
        sure = self.sure_found / max(1, self.sure)
        return (
            f"{self.recall:.1%} of {self.faces} faces, {sure:.1%} of the {self.sure} sure ones, "
            f"IoU {self.iou:.3f}, {self.others} others ({self.nowhere} nowhere)"
        )


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:4], other[2:4])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / float(np.prod(one[2:4] - one[:2]) + np.prod(other[2:4] - other[:2]) - shared)


def real_clips(table: Path, count: int) -> None:
    """The faces of a manifest's clips: all searched, and followed, against the reference's."""
    reference = MTCNN(keep_all=True)
    config = Prepare()
    face = config.face.model_copy(
        update={"select": "all", "detect_size": config.frames.detect_size}
    )
    detector = make_detector(face)
    ways = {"searched": 1, "followed": config.frames.search_every}
    totals = {name: Agreement() for name in ways}
    for row in pd.read_csv(table).itertuples():
        clip = video.open_clip(table.parent / row.path, Frames(every=1))
        frames = list(islice(clip, count))
        theirs = [found(reference, frame.image) for frame in frames]
        print(row.path)
        for name, every in ways.items():
            mine = [[one.box for one in faces] for _, faces in faces_of(frames, detector, every)]
            own = Agreement()
            own.add(theirs, mine)
            totals[name].add(theirs, mine)
            print(f"  {name:<9}: {own}")
    for name, total in totals.items():
        print(f"all {total.frames} frames, {name} (search_every {ways[name]}): {total}")


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
    parser.add_argument("--manifest", type=Path, help="CSV of clips: how many faces are found")
    given = parser.parse_args()
    if given.manifest:
        real_clips(given.manifest, given.reference)
        return
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
        took, mine = timed(lambda: ours(clips, Path(home) / "all", Frames(every=1)))
        rates["ours, every frame"] = fast = len(clips) * total / took
        faces = len(clips) * sum(map(len, mine.values())) / took
        sampled, few = timed(lambda: ours(clips[:1], Path(home) / "32", Frames(count=32), 0))
        decoding, _ = timed(lambda: list(video.open_clip(first, Frames(count=32))))

        seen = Agreement()
        seen.add(boxes, [[np.array(b) for b in mine.get(n, [])] for n in range(len(boxes))])
        reference = rates["MTCNN on each frame"]
        print(f"{WIDTH}x{HEIGHT}, {total} frames, one face, {cores()} cores")
        for name, rate in rates.items():
            print(f"  {name:<24} {rate:8.1f} frames/s")
        print(f"  {'ours, every frame':<24} {faces:8.1f} faces/s")
        print(f"  every frame / MTCNN on each frame : {fast / reference:.2f} (aim 5)")
        print(f"  every frame / DFDC loop           : {fast / rates['DFDC loop']:.2f}")
        print(
            f"  32 frames / MTCNN on all {total}      : {total / reference / sampled:.2f} (aim 25)"
        )
        kept = sum(map(len, few.values()))
        print(f"    {kept} faces kept of one person in 32 frames: {kept / sampled:.1f} faces/s")
        print(f"    of its {sampled:.1f} s decoding took {decoding:.1f} s")
        print(f"  faces of {SMALLEST} px and more found   : {seen.recall:.1%} (aim 99 %)")
        print(f"  IoU with the reference's boxes    : {seen.iou:.3f} (aim .9)")
        print(f"  others, a frame                   : {seen.others / seen.frames:.3f}")


if __name__ == "__main__":
    main()
