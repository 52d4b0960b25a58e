"""prepare.py killed at any moment: what is on disk is whole, and the next run finishes the rest."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import manifest
from faces.image import read_image

ROOT = Path(__file__).parents[1]

CLIPS = 6


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    """Small films of one face each."""
    from skimage import data

    root = tmp_path_factory.mktemp("collection")
    face = cv2.resize(data.astronaut()[0:256, 96:352], (150, 150))
    for number in range(CLIPS):
        path = root / ("fake" if number % 2 else "real") / f"p{number}_1.mp4"
        path.parent.mkdir(exist_ok=True)
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=12)
            stream.width, stream.height, stream.pix_fmt = 240, 200, "yuv420p"
            for shift in range(8):
                image = np.full((200, 240, 3), 100 + 9 * number, np.uint8)
                image[20:170, 10 + 4 * shift : 160 + 4 * shift] = face
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode())
    return root


def arguments(collection: Path, out: Path, workers: int) -> list[str]:
    return [
        "folder", f"--root={collection}", f"--out={out}", f"--workers={workers}",
        r"--folder.pattern=(?P<identity>p\d)_", "--frames.count=8", "--face.detector=haar",
        "--near_duplicates.distance=-1",
    ]  # fmt: skip


def started(collection: Path, out: Path, workers: int) -> subprocess.Popen:
    command = [sys.executable, "prepare.py", *arguments(collection, out, workers)]
    # A session of its own, so that its workers can be ended with it and nobody else's.
    return subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()[-2000:]


def kill_when(process: subprocess.Popen, out: Path, files: int, delay: float) -> bool:
    """kill -9 `delay` seconds after so many files are there; False where it ended before."""
    try:
        while sum(1 for f in out.rglob("*") if f.is_file()) < files:
            if process.poll() is not None:
                return False
            time.sleep(0.002)
        time.sleep(delay)
        return process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # ours: a session that this test began
        process.communicate()


def clips_on_record(out: Path) -> int:
    """How many clips are recorded; each record's crops are whole pictures."""
    records = list((out / "faces").rglob("*.json"))
    for record in records:
        for face in json.loads(record.read_text())["faces"]:
            assert read_image(record.parent / face["file"]).ndim == 3
    return len(records)


def content(out: Path) -> tuple[str, dict[str, bytes]]:
    """The manifest and the files of the faces, by their names below `out`."""
    files = {str(f.relative_to(out)): f.read_bytes() for f in (out / "faces").rglob("*.*")}
    return (out / "manifest.csv").read_text(), files


@pytest.fixture(scope="module")
def whole(collection, tmp_path_factory) -> Path:
    """What a run makes that nobody stops."""
    out = tmp_path_factory.mktemp("whole")
    finish(started(collection, out, 0))
    return out


def killed_often(collection: Path, whole: Path, broken: Path, kills: int, workers: int) -> None:
    draw, done, hits = random.Random(workers), 0, 0
    for number in range(kills):
        files = 1 + number * 9 * CLIPS // kills  # a clip is eight crops and a record
        hits += kill_when(started(collection, broken, workers), broken, files, draw.random() / 10)
        now = clips_on_record(broken)
        assert now >= done, "a kill lost a clip that was done"
        done = now
        if (broken / "manifest.csv").exists():
            assert (broken / "manifest.csv").read_text() == content(whole)[0]
    assert hits, "no run was killed"
    finish(started(collection, broken, workers))
    assert content(broken) == content(whole)
    rows = manifest.read(str(broken / "manifest.csv")).rows
    assert len(rows) == 8 * CLIPS and not list(broken.rglob("*.part"))


def test_a_killed_run_is_finished_by_the_next(collection, whole, tmp_path):
    killed_often(collection, whole, tmp_path, kills=2, workers=0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_many_kills_at_random_moments(collection, whole, tmp_path, workers):
    killed_often(collection, whole, tmp_path, kills=8, workers=workers)


def test_a_full_disk_leaves_what_is_whole(collection, whole, tmp_path):
    """The fifteenth file finds no room, wherever it is written."""
    code = (
        "import errno, os, utils, prepare\n"
        "count, sync = [0], os.fsync\n"
        "def full(file):\n"
        "    count[0] += 1\n"
        "    if count[0] == 15: raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    sync(file)\n"
        "os.fsync = full\n"
        "utils.run_command(prepare.main)"
    )
    out = tmp_path / "full"
    words = arguments(collection, out, 0)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr and not (out / "manifest.csv").exists()
    assert clips_on_record(out) == 1
    finish(started(collection, out, 0))
    assert content(out) == content(whole)
