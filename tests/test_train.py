"""train.py: a run that stops and continues is the run that never stopped, bit for bit."""

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import checkpoint
import train
from failures import Failure
from flags import Config
from processes import Processes
from training import step
from training.left_out import LeftOut
from training.rows import Rows
from utils import UserError

TINY = ["--tmp_data=40,3,32,32", "--batch_size=8", "--num_workers=0", "--tracking.wandb=off"]
"""Random pictures; with dropout, everything that draws random numbers takes part."""


pytestmark = pytest.mark.usefixtures("networks_with_tiny")


def arguments(prefix: Path, *more: str) -> list[str]:
    base = [*TINY, "--network=Tiny", "--dropout_rate=0.3", "--num_epochs=3"]
    return [*base, f"--prefix={prefix}", *more]


def last(prefix: Path) -> dict:
    return checkpoint.load(prefix / "checkpoints" / "last.pth")


def assert_same(one, other, where: str = "state") -> None:
    """Equal to the last bit, whatever is nested in what."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other or (one != one and other != other), f"{where}: {one!r}, {other!r}"


def assert_same_run(one: Path, other: Path) -> None:
    first, second = last(one), last(other)
    for state in (first, second):
        state["config"]["prefix"] = state["config"]["checkpoint"] = ""
    assert_same(first, second)
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()


class Interrupt:
    """Sends a signal to this process after so many training steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> None:
        self.steps, real = 0, step.batch_sums

        def counted(*arguments):
            self.steps += 1
            if self.steps == after:
                os.kill(os.getpid(), number)
            return real(*arguments)

        monkeypatch.setattr(step, "batch_sums", counted)


SCHEDULES = (
    ["--scheduler.type=step", "--scheduler.step_size=1", "--optimizer.type=Adam"],
    ["--scheduler.type=cosine", "--scheduler.warmup_epochs=1", "--optimizer.type=SGD"],
    ["--scheduler.type=plateau", "--scheduler.patience=0", "--optimizer.type=RMSprop"],
)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["step", "cosine", "plateau"])
def test_resume_equals_no_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: list[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train.main(arguments(whole, *schedule)) == 0

    with monkeypatch.context() as patch:
        Interrupt(patch, signal.SIGTERM, after=7)  # in the middle of the second epoch
        assert train.main(arguments(broken, *schedule)) == 128 + signal.SIGTERM
    state = last(broken)
    assert (state["epoch"], state["training"]["batch"]) == (1, 2)
    assert train.main(arguments(broken, *schedule)) == 0
    assert_same_run(whole, broken)


def test_checkpoint_of_an_epoch_continues_elsewhere(tmp_path: Path) -> None:
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    assert train.main(arguments(whole)) == 0
    second = whole / "checkpoints" / "0002.pth"
    assert checkpoint.load(second)["epoch"] == 2
    assert train.main(arguments(copy, f"--checkpoint={second}")) == 0
    assert_same_run(whole, copy)
    names = sorted(path.name for path in (copy / "checkpoints").glob("*.pth"))
    assert "0003.pth" in names and "0001.pth" not in names


def test_ctrl_c_saves_and_says_how(tmp_path, monkeypatch, capsys) -> None:
    Interrupt(monkeypatch, signal.SIGINT, after=2)
    assert train.main(arguments(tmp_path / "run")) == 130
    assert "the same command continues" in capsys.readouterr().out
    assert last(tmp_path / "run")["training"]["batch"] == 2


def test_every_optimizer_and_schedule_runs(tmp_path: Path) -> None:
    combinations = [("AdamW", "none"), ("Adadelta", "step")]
    for optimizer, schedule in combinations:
        run = tmp_path / optimizer
        more = [f"--optimizer.type={optimizer}", f"--scheduler.type={schedule}"]
        assert train.main([*arguments(run, *more), "--num_epochs=1"]) == 0
        assert last(run)["epoch"] == 1


def test_learning_rate_decays_each_step_size_epochs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.main(arguments(run, "--scheduler.step_size=1", "--optimizer.lr=0.001"))
    rates = pd.read_csv(run / "metrics.csv")["lr"].tolist()
    assert rates == pytest.approx([1e-3, 1e-4, 1e-5])


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Random labels and a large step: validation loss rises soon.
    more = ["--num_epochs=30", "--EARLY_STOPPING_EPOCH=2", "--optimizer.lr=0.01"]
    assert train.main(arguments(run, *more)) == 0
    table = pd.read_csv(run / "metrics.csv")
    best = int(table["epoch"][table["valid_loss"].idxmin()])
    assert len(table) == best + 2 < 30
    kept = checkpoint.load(run / "checkpoints" / "best.pth")
    assert kept["epoch"] == kept["best"]["epoch"] == best
    assert kept["best"]["valid_loss"] == pytest.approx(table["valid_loss"].min())


def test_a_finished_run_is_left_alone_and_more_epochs_continue_it(tmp_path, capsys) -> None:
    run = tmp_path / "run"
    train.main([*arguments(run), "--num_epochs=1"])
    before = (run / "checkpoints" / "last.pth").read_bytes()
    assert train.main([*arguments(run), "--num_epochs=1"]) == 0
    assert "finished" in capsys.readouterr().out
    assert (run / "checkpoints" / "last.pth").read_bytes() == before
    assert train.main([*arguments(run), "--num_epochs=2"]) == 0
    assert last(run)["epoch"] == 2
    capsys.readouterr()
    assert train.main([*arguments(run, "--rule=median"), "--num_epochs=2"]) == 0
    said = capsys.readouterr().out
    assert "WARNING: rule: median is not used" in said and said.count("WARNING") == 1
    with pytest.raises(UserError, match="has 2 epochs already: choose another --prefix"):
        train.main([*arguments(run), "--num_epochs=1"])


def test_another_configuration_is_refused_and_nothing_is_wiped(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.main([*arguments(run), "--num_epochs=1"])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"optimizer\.lr: 0\.0001 there, 0\.5 here(.|\n)*--prefix"):
        train.main(arguments(run, "--optimizer.lr=0.5"))
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_one_sigmoid_output_trains(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train.main([*arguments(run), "--data.num_classes=1", "--num_epochs=1"]) == 0
    weights = last(run)["weights"]
    assert weights["backbone.6.weight"].shape == (1, 8)


def test_console_has_the_blocks_and_the_epoch_line(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    train.main([*arguments(run), "--network=ResNet", "--num_epochs=1"])
    out = capsys.readouterr().out
    for block in ("[+] System environments", "[+] Data", "[+] Network", "[+] Optimizer"):
        assert block in out
    assert " Model parameters: 11,177,538" in out
    assert "[ 1/1] Epoch 1: Train Accuracy = " in out
    assert re.search(r"lr = 0\.0001 \(time elapsed \d\d:\d\d:\d\d\)", out)
    assert out.strip() in (run / "log.txt").read_text().strip()


def test_printed_epochs_are_every_nth(tmp_path: Path, capsys) -> None:
    train.main(arguments(tmp_path / "run", "--print_epochs=2"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "Epoch " in line]
    assert [line.split(":")[0] for line in lines] == ["[ 2/3] Epoch 2", "[ 3/3] Epoch 3"]


BAD = {
    "network": (["--network=ResNeet"], "did you mean ResNet"),
    "device": (["--device=cuda:77"], "--device cpu|CUDA devices"),
    "no data": (["--tmp_data=null"], "data.train is empty"),
    "missing data": (["--tmp_data=null", "--data.train=nowhere.csv"], "no such CSV"),
    "missing checkpoint": (["--checkpoint=nowhere.pth"], "no such checkpoint"),
    "variant": (["--network=ResNet", "--model.variant=19"], "18, 34, 50, 101, 152"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(tmp_path: Path, name: str) -> None:
    arguments_, message = BAD[name]
    with pytest.raises(UserError, match=message):
        train.main([*arguments(tmp_path / "run"), *arguments_])


def test_a_run_that_goes_back_keeps_its_own_best(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.main([*arguments(run), "--num_epochs=4"])
    first = checkpoint.load(run / "checkpoints" / "0001.pth")
    back = f"--checkpoint={run / 'checkpoints' / '0001.pth'}"
    copy = tmp_path / "copy"
    train.main([*arguments(copy, back), "--num_epochs=2", "--optimizer.lr=0.0001"])
    best = checkpoint.load(copy / "checkpoints" / "best.pth")
    assert best["epoch"] == last(copy)["best"]["epoch"] >= first["epoch"]
    # The same command again goes on from where it is, not from the checkpoint that it named.
    train.main([*arguments(copy, back), "--num_epochs=3", "--optimizer.lr=0.0001"])
    assert last(copy)["epoch"] == 3


def test_a_run_that_went_back_is_not_forgotten_where_it_is_killed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, new = tmp_path / "run", tmp_path / "new"
    train.main([*arguments(run), "--num_epochs=3"])
    back = f"--checkpoint={run / 'checkpoints' / '0001.pth'}"
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(train.Trainer, "fit", lambda *_: sys.exit("killed"))
        train.main([*arguments(run, back), "--num_epochs=3"])
    assert last(run)["epoch"] == 1
    # One that was killed before it had written what it is about holds nothing yet.
    (new / "checkpoints").mkdir(parents=True)
    shutil.copy(run / "checkpoints" / "0001.pth", new / "checkpoints" / "last.pth")
    assert train.main([*arguments(new, back), "--num_epochs=2"]) == 0
    assert last(new)["epoch"] == 2


def test_changed_labels_are_another_run(tmp_path: Path, faces_csv, capsys) -> None:
    csv = faces_csv(folder=tmp_path / "faces")
    base = [
        f"--data.train={csv}", "--data.random_split=True", "--data.crop=False", "--network=Tiny",
        "--num_workers=0", "--tracking.wandb=off", f"--prefix={tmp_path / 'run'}",
        "--input_size.height=32", "--input_size.width=32", "--batch_size=4",
    ]  # fmt: skip
    assert train.main([*base, "--num_epochs=1"]) == 0
    before = pd.read_csv(csv)
    table = before.copy()
    table["label"] = 1 - table["label"].map({"real": 0, "fake": 1}).fillna(table["label"])
    said = "WARNING: what data.train, data.valid or fakes.swap.donors names is not what it was"
    assert train.main([*base, "--num_epochs=1"]) == 0 and said not in capsys.readouterr().out
    table.to_csv(csv, index=False)
    assert train.main([*base, "--num_epochs=1"]) == 0 and said in capsys.readouterr().out
    with pytest.raises(UserError, match=r"changed since this run began"):
        train.main([*base, "--num_epochs=2"])
    # Pictures, labels and split as before, another column: it goes on, and says so.
    before.assign(method="another").to_csv(csv, index=False)
    assert train.main([*base, "--num_epochs=2"]) == 0
    assert said in (printed := capsys.readouterr().out) and "Continuing with epoch 2" in printed


def test_a_diverged_run_is_no_success(tmp_path: Path) -> None:
    more = ["--optimizer.type=SGD", "--optimizer.lr=1e30"]
    with pytest.raises(UserError, match=r"not a number|cannot be used"):
        train.main(arguments(tmp_path / "run", *more))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def backbone(:", "cannot be imported: SyntaxError"),
        ("VARIANTS = ('1',)", "does not define backbone, heatmap_layer"),
        (
            "from torch import nn\nVARIANTS = ('1',)\n"
            "def backbone(o): return nn.Sequential(nn.Flatten(), nn.LazyLinear(5))\n"
            "def heatmap_layer(n): return n[0]",
            r"answers \(2, 5\) for two pictures, expected \(2, 2\)",
        ),
        (
            "VARIANTS = ('1',)\ndef backbone(o): raise ValueError('no such thing')\n"
            "def heatmap_layer(n): return n",
            "does not work: ValueError: no such thing",
        ),
    ],
)
def test_a_users_own_network_that_fails_is_named(tmp_path: Path, content, message) -> None:
    name = f"Mine{abs(hash(content))}"
    (tmp_path / "networks" / f"{name}.py").write_text(content)
    with pytest.raises(UserError, match=message):
        train.main(arguments(tmp_path / "run", f"--network={name}"))


def test_a_run_that_goes_on_knows_which_rows_gave_no_sample(tmp_path):
    rows = pd.DataFrame({"path": [f"{i}.png" for i in range(40)]})
    before = Failure("9.png", "missing", "it is gone")
    given = Rows(rows, rows[:0], "a.csv", left_out=(before,))
    config, cpu = Config(prefix=str(tmp_path / "run")), Processes(torch.device("cpu"))
    first = LeftOut(given, config, cpu)
    first.note([Failure("1.png", "no_fake", "no landmarks")])
    first.note([Failure("2.png", "unreadable", "cut")], training=False)
    state = first.state()
    assert [kept[0] for kept in state] == ["1.png", "2.png"]
    later = LeftOut(given, config, cpu)
    assert later.told == ""
    later.restore(state)
    assert later.told == first.told and list(later.failures) == list(first.failures)
    assert len(pd.read_csv(tmp_path / "run/left_out.csv")) == 3


def test_a_run_goes_on_in_another_precision(tmp_path, monkeypatch):
    base = arguments(tmp_path / "run", "--network=Tiny", "--precision=fp32", "--num_epochs=1")
    assert train.main(base) == 0
    real = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: real(device, enabled=True))
    assert train.main([*base, "--num_epochs=2"]) == 0
    assert last(tmp_path / "run")["training"]["scaler"]["scale"] > 1


@pytest.mark.parametrize("forged", [False, True])
def test_an_epoch_in_which_no_fake_could_be_made_is_no_training(tmp_path, faces_csv, forged):
    table = pd.read_csv(faces_csv(8, ("train", "train", "train", "val")), dtype=str)
    real = table["label"] == "0"
    # A fake that stands in the list is trained on; reals need landmarks, which nobody found here.
    table = table[real | (table["split"] == "val") | forged]
    table.assign(box="20 20 60 60").to_csv(tmp_path / "faces" / "found.csv", index=False)
    base = [
        f"--data.train={tmp_path / 'faces' / 'found.csv'}", "--network=Tiny", "--num_workers=0",
        "--tracking.wandb=off", f"--prefix={tmp_path / 'run'}", "--input_size.height=32",
        "--input_size.width=32", "--batch_size=4", "--num_epochs=1", "--fakes.type=blend",
        "--layer_table=False", f"--fakes.pairs={not forged}",
    ]  # fmt: skip
    missing = "real" if forged else "sample"
    with pytest.raises(UserError, match=rf"no {missing} to learn from: 6 rows.*left_out\.csv"):
        train.main(base)
    assert not (tmp_path / "run" / "checkpoints" / "best.pth").exists()
    listed = pd.read_csv(tmp_path / "run" / "left_out.csv")
    assert listed["kind"].tolist() == ["no_fake"] * 6
