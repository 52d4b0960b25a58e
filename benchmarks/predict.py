"""How long from the start of predict.py to its verdict, against judging every frame one by one.

    python -m benchmarks.predict
    python -m benchmarks.predict --seconds 30 --reference 60 --rounds 3
    python -m benchmarks.predict --checkpoint log/mine/checkpoints/best.pth

The released detector, unless another is named. A clip of 1280x720 and 30 frames a second, in which
one portrait wanders. The reference is the DFDC notebooks' loop over every frame: facenet-pytorch's
MTCNN (thresholds .9, margin 50) and the same network on one view of one face at a time, in a
process that is already warm and may use all cores; it is measured on the first frames and
extrapolated to all. Ours is the command as it is typed, with Python's start, its imports, SHA-256
and JSON; faces a second are those of a second clip of the same command.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN

import checkpoint
from benchmarks.prepare import HEIGHT, RATE, WIDTH, write_clip
from networks import Detector
from scores import fake_score
from utils import cores
from verdict import RELEASED

ROOT = Path(__file__).parents[1]
AIM, BUDGET = 20, 6.0
"""How often faster than the loop, and seconds on two cores."""


@torch.no_grad()
def every_frame(
    clip: Path, network: Detector, size: tuple[int, int], count: int
) -> tuple[float, int]:
    """Seconds for the first `count` frames, and how many faces were scored.

    size: (width, height) in pixels that the network takes.
    """
    detector = MTCNN(keep_all=False, thresholds=[0.9, 0.9, 0.9])
    values, begun = [], 0.0
    with av.open(str(clip)) as film:
        for number, frame in enumerate(film.decode(video=0)):
            if number == 3:  # the first calls are slower
                begun = time.perf_counter()
            if number == count + 3:
                break
            image = frame.to_ndarray(format="rgb24")
            boxes, _ = detector.detect(image)
            if boxes is None:
                continue
            left, top, right, bottom = (int(v) for v in boxes[0])
            face = image[max(0, top - 50) : bottom + 50, max(0, left - 50) : right + 50]
            face = cv2.resize(face, size)
            logits = network(torch.from_numpy(face).permute(2, 0, 1)[None])
            values.append(float(fake_score(logits)[0]))
    return time.perf_counter() - begun, min(count, len(values))


def command(clips: list[Path], weights: Path, home: Path) -> tuple[float, float, dict]:
    """Seconds of predict.py from start to end, of its CPU, and what it wrote of the last clip."""
    out = home / "out.json"
    before = os.times()
    begun = time.perf_counter()
    words = [*clips, "--checkpoint", weights, "--device", "cpu", "--json", out]
    whole = [sys.executable, str(ROOT / "predict.py"), *map(str, words)]
    subprocess.run(whole, check=True, cwd=home, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - begun, os.times()
    busy = after.children_user + after.children_system
    busy -= before.children_user + before.children_system
    return took, busy, json.loads(out.read_text(encoding="utf-8"))["files"][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the clip")
    parser.add_argument("--reference", type=int, default=60, help="frames that the loop judges")
    parser.add_argument("--rounds", type=int, default=3, help="of which the fastest of ours counts")
    parser.add_argument("--checkpoint", type=Path, default=RELEASED, help="the detector")
    given = parser.parse_args()
    weights = given.checkpoint.resolve()  # predict.py runs in a folder of its own
    state = checkpoint.load(weights)
    network = checkpoint.network_of(state)
    size = state["input"]["width"], state["input"]["height"]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        clip = home / "clip.mp4"
        write_clip(clip, given.seconds)
        slow, rounds = [], []
        for _ in range(given.rounds):  # in turns, so that a busy moment hits both
            slow.append(every_frame(clip, network, size, given.reference))
            rounds.append(command([clip], weights, home))
        # The first clip is searched while the networks' libraries are imported; a second one shows
        # what search and scores take by themselves.
        again = Path(shutil.copy(clip, home / "again.mp4"))
        warm = command([clip, again], weights, home)[2]["took"]
        total = int(given.seconds * RATE)
        loop, faces = min(slow)
        whole = loop / given.reference * total
        took, busy, found = min(rounds, key=lambda one: one[0])
        mine = sum(len(person["faces"]) for person in found["persons"])
        print(f"{WIDTH}x{HEIGHT}, {total} frames, one face, {cores()} cores")
        print(f"  every frame, one by one  : {whole:7.1f} s (from {given.reference} frames)")
        print(f"    faces a second         : {faces / loop:7.1f}")
        print(f"  predict.py, start to end : {took:7.1f} s (budget {BUDGET:g} s); CPU {busy:.1f} s")
        print(f"    of a second clip       : {warm:7.1f} s, {mine} faces")
        print(f"    faces a second         : {mine / warm:7.1f}")
        print(f"  every frame / predict.py : {whole / took:7.1f} (aim {AIM})")
        times = np.array([one[0] for one in rounds])
        print(f"    all rounds of ours     : {', '.join(f'{t:.1f}' for t in times)} s")


if __name__ == "__main__":
    main()
