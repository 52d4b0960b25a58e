"""Several processes, one run: what torchrun starts is one training, and one test, on CPUs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import checkpoint
import networks
import processes
from batches import EpochBatches
from processes import Processes
from tests import sources_of_three
from utils import UserError

ROOT = Path(__file__).parents[1]

PLAIN = '''
"""A network without batch norm, as small as one can be."""
from torch import nn
VARIANTS = ("1",)
def backbone(options):
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, options.num_outputs))
def heatmap_layer(network):
    return network[1]
'''

FAILING = """
import os
from networks.Plain import *
from networks.Plain import backbone as plain
def backbone(options):
    network = plain(options)
    count = [0]
    def fail(module, inputs):
        count[0] += module.training
        if count[0] == 3 and os.environ.get("RANK") == "1":
            raise RuntimeError("the second process has had enough")
    network.register_forward_pre_hook(fail)
    return network
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """The project as its user has it, with two networks of their own dropped in."""
    home = tmp_path_factory.mktemp("home")
    for path in ROOT.iterdir():
        if (path / "__init__.py").is_file():
            shutil.copytree(path, home / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.suffix == ".py":
            shutil.copy(path, home)
    (home / "networks" / "Plain.py").write_text(PLAIN)
    (home / "networks" / "Failing.py").write_text(FAILING)
    return home


def torchrun(home: Path, count: int, *arguments: str) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}",
        "--master-addr=127.0.0.1", f"--master-port={port}", *arguments,
    ]  # fmt: skip


def run(command: list[str], home: Path, limit: int = 240) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=limit
    )


def train(prefix: Path, *more: str) -> list[str]:
    return [
        "train.py", "--network=Plain", "--tmp_data=48,3,24,24", "--batch_size=16",
        "--input_size.height=24", "--input_size.width=24", "--num_epochs=2", "--num_workers=0",
        "--precision=fp32", "--device=cpu", "--tracking.wandb=off", "--optimizer.lr=0.01",
        f"--prefix={prefix}", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def both(home, tmp_path_factory) -> tuple[Path, Path, str]:
    """A run by one process and the same by two; the console of the second."""
    folder = tmp_path_factory.mktemp("runs")
    one, two = folder / "one", folder / "two"
    alone = run([sys.executable, *train(one)], home)
    assert alone.returncode == 0, alone.stderr
    # It saves after each step, which must not change what it adds up.
    together = run(torchrun(home, 2, *train(two, "--saving.minutes=0.00001")), home)
    assert together.returncode == 0, together.stderr
    return one, two, together.stdout


def test_two_processes_learn_what_one_does(both):
    states = [checkpoint.load(run / "checkpoints" / "last.pth") for run in both[:2]]
    for key, value in states[0]["weights"].items():
        torch.testing.assert_close(states[1]["weights"][key], value, rtol=1e-4, atol=1e-5)
    tables = [pd.read_csv(run / "metrics.csv") for run in both[:2]]
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-4, atol=1e-4)


def test_two_processes_have_one_console_one_log_and_one_set_of_files(both):
    _, two, out = both
    assert out.count("[+] Network") == out.count("[ 1/2] Epoch 1") == 1
    assert " Processes : 2" in out
    assert (two / "log.txt").read_text().strip() in out
    names = sorted(file.name for file in (two / "checkpoints").iterdir())
    assert names == ["0001.pth", "0002.pth", "best.pth", "last.pth", "rows.csv"]


def test_a_test_by_two_processes_counts_each_sample_once(both, home):
    one, two, _ = both
    results = []
    for folder, start in ((one, [sys.executable]), (two, torchrun(home, 2))):
        more = ["test.py", "--config_file", str(folder / "config.yaml"), "--bootstrap=50"]
        done = run([*start, *more, "--tmp_data=27,3,24,24"], home)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("[+] Test result") == 1
        results.append(pd.read_csv(folder / "test" / "scores.csv"))
    assert len(results[0]) == len(results[1]) == 27
    assert results[1]["path"].is_unique
    np.testing.assert_allclose(results[0]["score"], results[1]["score"], atol=1e-4)


def test_a_process_that_dies_ends_the_run_with_its_error(home, tmp_path):
    start = torchrun(home, 2, *train(tmp_path / "run", "--network=Failing"))
    done = run(start, home, limit=60)
    assert done.returncode != 0
    assert "the second process has had enough" in done.stderr
    assert not list((tmp_path / "run").rglob("*.part"))


def test_sigterm_saves_once_and_the_same_command_continues(home, tmp_path, both):
    prefix = tmp_path / "run"
    more = ["--num_epochs=400", "--EARLY_STOPPING_EPOCH=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "out").open("w") as out:
        started = subprocess.Popen(
            torchrun(home, 2, *train(prefix, *more)),
            cwd=home, env=environment, stdout=out, stderr=out,
        )  # fmt: skip
        wait_for(prefix / "checkpoints" / "0003.pth", started)
        started.send_signal(signal.SIGTERM)
        started.wait(timeout=30)
    text = (tmp_path / "out").read_text()
    assert text.count("Stopped by SIGTERM; the same command continues.") == 1, text
    state = checkpoint.load(prefix / "checkpoints" / "last.pth")
    assert len(state["training"]["random_of_others"]) == 1
    more[0] = f"--num_epochs={state['epoch'] + 2}"
    again = run(torchrun(home, 2, *train(prefix, *more)), home)
    assert again.returncode == 0, again.stderr
    assert f"Continuing with epoch {state['epoch'] + 1}" in again.stdout


def wait_for(file: Path, started: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not file.exists():
        assert started.poll() is None and time.monotonic() < end, f"no {file}"
        time.sleep(0.05)


def test_leaving_out_by_two_processes_tests_what_was_trained_last(home, tmp_path):
    """The first writes best.pth when the other is done: of one epoch there is none before."""
    sources_of_three.write(tmp_path)
    small = [word for word in sources_of_three.SMALL if not word.startswith("--network")]
    done = run(
        torchrun(
            home, 2, "leave_one_out.py", *small, "--network=Plain", "--only=alpha",
            f"--data.train={tmp_path / 'all.csv'}", f"--prefix={tmp_path / 'loso'}",
        ),
        home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alpha = tmp_path / "loso/alpha"
    found = pd.read_csv(alpha / "test/scores.csv")
    again = run([sys.executable, "test.py", "--config_file", str(alpha / "config.yaml")], home)
    assert again.returncode == 0, again.stderr
    np.testing.assert_allclose(found["score"], pd.read_csv(alpha / "test/scores.csv")["score"])


# --------------------------------------------------------------------- without torchrun


@pytest.mark.parametrize(("count", "size", "world"), [(48, 16, 2), (50, 16, 3), (33, 8, 2)])
def test_shares_are_the_batches_of_one_process(count, size, world):
    def batches(place: Processes | None) -> list[list]:
        order = EpochBatches(count, size, 3, shuffle=True, processes=place)
        order.epoch = 2
        return list(order)

    cpu = torch.device("cpu")
    shares = [batches(Processes(cpu, rank, world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    for together in zip(*shares, strict=True):
        assert min(len(share) for share in together) >= 2
    indices = sorted(index for share in shares for some in share for _, index in some)
    assert indices == list(range(count))
    if count % size == 0:
        for number, whole in enumerate(batches(None)):
            assert sorted(whole) == sorted(key for share in shares for key in share[number])


def test_alone_everything_is_as_it_was():
    alone = processes.join("cpu")
    assert alone.first and alone.world == 1
    assert alone.gather("a") == ["a"] and alone.gather_numbers(3, 4) == [(3, 4)]
    network = torch.nn.Linear(2, 2)
    assert alone.wrap(network) is network
    assert alone.first_then_others(lambda: 7) == 7
    alone.close()


def test_several_devices_are_answered_by_the_torchrun_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config_file", "a b.yaml", "--device", "0,1"])
    with pytest.raises(UserError) as error:
        processes.join("0,1")
    line = "CUDA_VISIBLE_DEVICES=0,1 torchrun --nproc-per-node 2 train.py --config_file 'a b.yaml'"
    assert line in str(error.value)
    assert not re.search(r"train\.py.*--device", str(error.value).split("\n")[1])


def test_one_named_gpu_cannot_serve_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES"):
        processes.join("0")


def test_a_batch_must_suffice_for_all_processes(home, tmp_path):
    done = run(torchrun(home, 2, *train(tmp_path / "run", "--batch_size=3")), home)
    assert done.returncode != 0
    assert "batch_size 3" in done.stderr and "4" in done.stderr
    assert networks.known_networks()
