"""A run that is killed at any moment loses nothing; a full disk leaves the last good file."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import checkpoint
import utils

ROOT = Path(__file__).parents[1]


def test_fifty_kills_cost_no_file_and_no_epoch_and_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "networks").mkdir()
    for file in (ROOT / "networks").glob("*.py"):
        (tmp_path / "networks" / file.name).touch()
    (tmp_path / "networks" / "Tiny.py").touch()
    command = [sys.executable, str(Path(__file__).parent / "killed.py"), str(tmp_path), "50", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    places = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(places) == 50
    assert places == sorted(places), "a kill lost an epoch or a batch"
    assert any(batch for _, batch in places), "no kill hit an epoch under way"
    broken, whole = (tmp_path / name for name in ("broken", "whole"))
    one, two = (checkpoint.load(run / "checkpoints" / "last.pth") for run in (broken, whole))
    for group in ("weights", "training"):
        flat_one, flat_two = tensors(one[group]), tensors(two[group])
        assert flat_one.keys() == flat_two.keys()
        for key, value in flat_one.items():
            assert torch.equal(value, flat_two[key]), key
    assert (broken / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert not list(broken.rglob("*.part"))
    names = [sorted(f.name for f in (run / "checkpoints").iterdir()) for run in (broken, whole)]
    assert names[0] == names[1]


def tensors(value, prefix: str = "") -> dict[str, torch.Tensor]:
    """All tensors of nested dicts and lists, numbers as tensors too."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, (list, tuple)):
        pairs = enumerate(value)
    else:
        is_number = isinstance(value, (int, float))
        return {prefix: torch.tensor(value) if is_number else value} if not_text(value) else {}
    found = {}
    for key, inner in pairs:
        found |= tensors(inner, f"{prefix}.{key}")
    return found


def not_text(value) -> bool:
    return isinstance(value, (int, float, torch.Tensor))


COMMAND = [
    "train.py", "--tmp_data=64,3,64,64", "--batch_size=8", "--num_workers=2", "--network=MesoNet",
    "--input_size.height=64", "--input_size.width=64", "--num_epochs=500", "--tracking.wandb=off",
    "--EARLY_STOPPING_EPOCH=0",
]  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals of POSIX here")
def test_sigterm_ends_a_run_with_its_workers_and_saves(tmp_path: Path) -> None:
    prefix = tmp_path / "run"
    run = subprocess.Popen([sys.executable, *COMMAND, f"--prefix={prefix}"], cwd=ROOT)
    end = time.monotonic() + 120
    while not (prefix / "checkpoints" / "0002.pth").exists():
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=30) == 128 + signal.SIGTERM
    state = checkpoint.load(prefix / "checkpoints" / "last.pth")
    assert state["epoch"] >= 2


def test_a_full_disk_during_a_save_leaves_the_last_good_file(tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does; the command is a process of its own."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    prefix = tmp_path / "run"
    first = [*COMMAND, f"--prefix={prefix}", "--saving.keep=1"]
    first[first.index("--num_epochs=500")] = "--num_epochs=1"
    assert subprocess.run([sys.executable, *first], cwd=ROOT).returncode == 0
    before = (prefix / "checkpoints" / "last.pth").read_bytes()
    code = (
        "import contextlib, os, sys, pathlib, checkpoint, train, utils\n"
        "@contextlib.contextmanager\n"
        "def full(path):\n"
        "    with real(path) as beside:\n"
        "        beside.unlink(); beside.symlink_to('/dev/full')\n"
        "        yield beside\n"
        "real, checkpoint.atomic_path = checkpoint.atomic_path, full\n"
        "sys.argv[0] = 'train.py'\n"
        "utils.run_command(train.main)\n"
    )
    second = [word.replace("--num_epochs=1", "--num_epochs=2") for word in first]
    again = subprocess.run(
        [sys.executable, "-c", code, *second[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert again.returncode == 2
    assert "full" in again.stderr and "Traceback" not in again.stderr
    assert (prefix / "checkpoints" / "last.pth").read_bytes() == before
    assert checkpoint.load(prefix / "checkpoints" / "best.pth")["epoch"] == 1
    assert not list(prefix.rglob("*.part"))
    assert subprocess.run([sys.executable, *second], cwd=ROOT).returncode == 0
    assert checkpoint.load(prefix / "checkpoints" / "last.pth")["epoch"] == 2


def test_text_on_a_full_disk_leaves_the_old_text(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "metrics.csv"
    utils.write_atomic(file, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        utils.write_atomic(file, "new")
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["metrics.csv"]  # noqa: PTH208
