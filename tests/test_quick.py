"""What makes predict.py short: what is not imported, and what is not taken apart at the end."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data

import utils
from faces.image import write_image

ROOT = Path(__file__).parent.parent


def ended(main: str) -> subprocess.CompletedProcess:
    """A command whose `main` is this, ended quickly."""
    text = (
        "import atexit, gc, sys, utils\n"
        "atexit.register(print, 'taken apart')\n"
        f"def main(argv):\n    {main}\n"
        "utils.run_quickly(main)"
    )
    return subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("main", "status", "out", "err"),
    [
        ("print('said', end='')", 0, "said", ""),
        ("print('said'); return 3", 3, "said\n", ""),
        ("raise utils.UserError('mend this')", 2, "", "error: mend this\n"),
        ("raise KeyboardInterrupt", 130, "", "\nstopped by Ctrl-C\n"),
        ("utils.console().info('logged')", 0, "logged\n", ""),
        ("before = gc.isenabled(); utils.started(); print(before, gc.isenabled())", 0,
         "False True\n", ""),
    ],
)  # fmt: skip
def test_a_quick_end_says_all_and_keeps_the_status(main, status, out, err):
    done = ended(main)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


def test_a_quick_end_hides_no_bug():
    done = ended("1 / 0")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_started_alone_leaves_the_collector_as_it_is():
    before = gc.get_freeze_count()
    utils.started()
    assert gc.isenabled() and gc.get_freeze_count() == before


def test_faces_are_found_without_what_a_network_needs(tmp_path):
    photo = tmp_path / "photo.png"
    write_image(photo, skimage.data.astronaut())
    code = (
        "import sys, verdict\n"
        "from faces.detector import make_detector\nfrom faces.image import read_image\n"
        "from flags import Face\n"
        "print(len(make_detector(Face())(read_image(sys.argv[1]))))\n"
        "print(sorted({'timm', 'torchvision', 'facenet_pytorch', 'scipy', 'sklearn', 'wandb',"
        " 'matplotlib', 'onnxruntime', 'torch._dynamo'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, str(photo)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:2] == ["1", "[]"], done.stdout + done.stderr


def test_a_reader_who_has_read_enough_ends_nothing(tmp_path):
    """As `| head -1` does: no traceback, and what is written into files is written."""
    code = (
        "import sys; from pathlib import Path; from utils import console, run_command\n"
        "def main(argv):\n"
        "    log = console(Path(argv[0]))\n"
        "    for number in range(20_000): log.info(f'line {number}')\n"
        "    return 3\n"
        "run_command(main)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "log.txt")]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout.readline() == "line 0\n"
        command.stdout.close()
        assert command.stderr.read() == ""
        assert command.wait() == 3
    assert (tmp_path / "log.txt").read_text().endswith("line 19999\n")
