"""train.py's options: what is best, what is kept, what happens when the numbers run away."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from filelock import FileLock
from pydantic import ValidationError

import checkpoint
import train
from flags import Config
from training import step
from training.optimizer import Schedule
from training.resume import badness
from utils import UserError

TINY = [
    "--tmp_data=40,3,32,32", "--batch_size=8", "--num_workers=0", "--tracking.wandb=off",
    "--network=Tiny", "--num_epochs=3", "--precision=fp32",
]  # fmt: skip


pytestmark = pytest.mark.usefixtures("networks_with_tiny")


def run(prefix: Path, *more: str) -> int:
    return train.main([*TINY, f"--prefix={prefix}", *more])


def load(prefix: Path, name: str = "last.pth") -> dict:
    return checkpoint.load(prefix / "checkpoints" / name)


def table(prefix: Path) -> str:
    return (prefix / "metrics.csv").read_text()


def names(prefix: Path) -> list[str]:
    return sorted(file.name for file in (prefix / "checkpoints").glob("*.pth"))


@pytest.mark.parametrize("metric", ["valid_auc", "valid_eer", "valid_f1", "valid_loss"])
def test_the_best_epoch_is_that_of_the_named_metric(tmp_path, metric):
    more = [f"--saving.best={metric}", "--num_epochs=6", "--optimizer.lr=0.02"]
    assert run(tmp_path / "run", *more, "--EARLY_STOPPING_EPOCH=0") == 0
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    values = table[metric].fillna(-1.0)  # an undefined metric is the worst
    signs = 1 if metric in ("valid_eer", "valid_loss") else -1
    ranks = pd.DataFrame({"value": signs * values, "loss": table["valid_loss"]})
    row = ranks.sort_values(["value", "loss"], kind="stable").index[0]  # the loss decides a tie
    best = load(tmp_path / "run", "best.pth")
    assert best["epoch"] == best["best"]["epoch"] == table["epoch"][row]
    assert best["best"]["metric"] == metric
    assert best["best"]["value"] == pytest.approx(table[metric][row])
    assert best["best"]["valid_loss"] == pytest.approx(table["valid_loss"][row])


def test_the_newest_epoch_is_the_best_where_validation_does_not_choose(tmp_path):
    more = ["--saving.best=epoch", "--num_epochs=4", "--optimizer.lr=0.5"]
    assert run(tmp_path / "run", *more, "--EARLY_STOPPING_EPOCH=1") == 0
    assert load(tmp_path / "run", "best.pth")["epoch"] == 4
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert int(table["valid_loss"].idxmin()) != 3  # else the default would have done the same
    with pytest.raises(ValidationError, match="plateau"):
        Config(saving={"best": "epoch"}, scheduler={"type": "plateau"})


def test_patience_counts_epochs_without_a_better_one_of_that_metric(tmp_path):
    more = ["--saving.best=valid_accuracy", "--num_epochs=30", "--EARLY_STOPPING_EPOCH=2"]
    assert run(tmp_path / "run", *more) == 0
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    equal = table[table["valid_accuracy"] == table["valid_accuracy"].max()]
    best = int(table["epoch"][equal["valid_loss"].idxmin()])
    assert len(table) == best + 2 < 30 or len(table) == 30


@pytest.mark.parametrize(("keep", "kept"), [(1, ["0005.pth"]), (2, ["0004.pth", "0005.pth"])])
def test_so_many_numbered_checkpoints_are_kept_and_best_and_last_always(tmp_path, keep, kept):
    run(tmp_path / "run", f"--saving.keep={keep}", "--num_epochs=5", "--EARLY_STOPPING_EPOCH=0")
    assert names(tmp_path / "run") == [*kept, "best.pth", "last.pth"]
    assert load(tmp_path / "run", "best.pth")["epoch"] == load(tmp_path / "run")["best"]["epoch"]


def test_an_epoch_under_way_is_saved_as_often_as_is_set(tmp_path, monkeypatch):
    saved = []
    real = checkpoint.save

    def watched(path, state):
        saved.append((path.name, state["epoch"], state["training"]["batch"]))
        real(path, state)

    monkeypatch.setattr(checkpoint, "save", watched)
    run(tmp_path / "run", "--saving.minutes=1e-9", "--num_epochs=1")
    assert [batch for name, _, batch in saved if name == "last.pth"] == [1, 2, 3, 4, 5]
    saved.clear()
    run(tmp_path / "other", "--saving.minutes=0", "--num_epochs=1")
    assert [name for name, *_ in saved] == ["0001.pth"]


class Poison:
    """The loss is not a number in the given steps, counted over the whole program."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
        self.count, real = 0, step.training_loss

        def poisoned(*arguments, **named):
            self.count += 1
            loss = real(*arguments, **named)
            return loss * float("nan") if self.count in steps else loss

        monkeypatch.setattr(step, "training_loss", poisoned)


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_change(tmp_path, monkeypatch):
    Poison(monkeypatch, {8})
    with pytest.raises(
        UserError, match=r"epoch 2: the training loss is not a number: (.|\n)*lower optimizer\.lr"
    ):
        run(tmp_path / "run")
    assert load(tmp_path / "run", "best.pth")["epoch"] == load(tmp_path / "run")["epoch"] == 1
    for value in load(tmp_path / "run", "best.pth")["weights"].values():
        assert torch.isfinite(value.float()).all()


@pytest.mark.parametrize("watched", ["valid_loss", "valid_auc"])
def test_a_plateau_is_one_of_a_loss_and_of_what_should_rise(watched):
    weight = torch.nn.Parameter(torch.zeros(1))
    settings = Config(
        saving={"best": watched}, scheduler={"type": "plateau", "patience": 2},
        optimizer={"lr": 0.1},
    )  # fmt: skip
    optimizer = torch.optim.SGD([weight], lr=0.1)
    schedule = Schedule(optimizer, settings, steps=1)
    for value in [0.9] * 4 + [0.89995] * 3:
        schedule.after_epoch(badness(watched, value))
    assert optimizer.param_groups[0]["lr"] < 0.1


@pytest.mark.parametrize("schedule", ["step", "cosine", "linear", "plateau", "none"])
@pytest.mark.parametrize("at", [3, 8])
def test_or_goes_back_an_epoch_with_a_tenth_of_the_rate(
    tmp_path, monkeypatch, capsys, schedule, at
):
    Poison(monkeypatch, {at})
    more = ["--saving.on_nan=roll_back", f"--scheduler.type={schedule}"]
    assert run(tmp_path / "run", *more) == 0
    back = (at - 1) // 5
    assert f"back to the end of epoch {back} with learning rate" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert table["epoch"].tolist() == [1, 2, 3]
    assert torch.isfinite(torch.tensor(table["valid_loss"])).all()
    expected = [1e-4] * back + [1e-5] * (3 - back)
    if schedule == "none":
        assert table["lr"].tolist() == pytest.approx(expected)
    assert table["lr"].max() <= 1e-4 and table["lr"].iloc[back] <= 1.01e-5
    assert load(tmp_path / "run")["training"]["rollbacks"] == 1


def test_a_run_that_never_finished_an_epoch_has_no_best(tmp_path, monkeypatch):
    Poison(monkeypatch, set(range(1000)))
    for _ in range(2):
        with pytest.raises(UserError, match="after 3 times back"):
            run(tmp_path / "run", "--saving.on_nan=roll_back")
    assert names(tmp_path / "run") == ["0000.pth", "last.pth"]


def test_a_run_that_never_recovers_ends(tmp_path, monkeypatch):
    Poison(monkeypatch, set(range(1000)))
    with pytest.raises(UserError, match="after 3 times back"):
        run(tmp_path / "run", "--saving.on_nan=roll_back")


def test_a_run_continues_with_all_options_as_if_it_had_not_stopped(tmp_path, monkeypatch):
    more = [
        "--model.ema=0.9", "--model.freeze_epochs=1", "--optimizer.accumulate=2",
        "--optimizer.clip_norm=1", "--loss.mixup=0.4", "--loss.label_smoothing=0.1",
        "--loss.weights=balanced", "--dropout_rate=0.3", "--saving.best=valid_auc",
    ]  # fmt: skip
    run(tmp_path / "whole", *more)
    real = train.Trainer.stop_or_save
    stops = [4, 9, 2, 11]

    def stopping(self, sums, signals):
        stops[0] -= 1
        if stops[0] == 0:
            stops.pop(0)
            signals.received = 15
        real(self, sums, signals)

    monkeypatch.setattr(train.Trainer, "stop_or_save", stopping)
    while run(tmp_path / "broken", *more):
        assert stops
    one, two = load(tmp_path / "whole"), load(tmp_path / "broken")
    for key, value in one["weights"].items():
        assert torch.equal(value, two["weights"][key]), key
    for key, value in one["training"]["weights"].items():
        assert torch.equal(value, two["training"]["weights"][key]), key
    assert table(tmp_path / "whole") == table(tmp_path / "broken") and len(stops) < 4
    assert one["training"]["steps"] == two["training"]["steps"] == 3 * 3  # five batches, by twos


def test_an_earlier_version_s_checkpoint_loads_describes_and_continues(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "first", "--num_epochs=1")
    file = tmp_path / "first" / "checkpoints" / "last.pth"
    state = checkpoint.load(file)
    # What the first version wrote of format 1: without the keys and settings that came later.
    for key in ("steps", "parts", "rollbacks", "weights", "random_of_others"):
        del state["training"][key]
    for key in ("metric", "value"):
        del state["best"][key]
    for group, keys in {
        "model": ("freeze_epochs", "ema", "compile"), "optimizer": ("clip_norm", "accumulate"),
        "data": ("balance", "memory"), "augment": ("vertical_flip", "shift", "turned"),
    }.items():  # fmt: skip
        for key in keys:
            del state["config"][group][key]
    for group in ("loss", "saving"):
        del state["config"][group]
    torch.save(state, tmp_path / "old.pth")
    assert "best so far 1" in checkpoint.describe(tmp_path / "old.pth")
    assert run(tmp_path / "again", f"--checkpoint={tmp_path / 'old.pth'}") == 0
    one, two = load(tmp_path / "whole"), load(tmp_path / "again")
    for key, value in one["weights"].items():
        assert torch.equal(value, two["weights"][key]), key


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(UserError, match="another training"):
        run(tmp_path / "run")
    assert run(tmp_path / "run", "--num_epochs=1") == 0


def test_remains_of_a_killed_process_are_swept_away(tmp_path):
    run(tmp_path / "run", "--num_epochs=1")
    left = tmp_path / "run" / "checkpoints" / ".0002.pth.abc.part"
    left.write_bytes(b"half a file")
    run(tmp_path / "run", "--num_epochs=2")
    assert not left.exists() and "0002.pth" in names(tmp_path / "run")


@pytest.mark.parametrize("memory", ["ram", "file"])
def test_pictures_kept_decoded_give_the_same_run(tmp_path, faces_csv, memory):
    csv = faces_csv(folder=tmp_path / "faces")
    base = [
        "--tmp_data=null", f"--data.train={csv}", "--data.random_split=True", "--num_epochs=2",
        f"--data.cache={tmp_path / 'cache'}", "--input_size.height=32", "--input_size.width=32",
        "--batch_size=4", "--data.balance=class", "--num_workers=2",
    ]  # fmt: skip
    run(tmp_path / "plain", *base)
    run(tmp_path / "kept", *base, f"--data.memory={memory}")
    assert table(tmp_path / "plain") == table(tmp_path / "kept")
    found = list((tmp_path / "cache").glob("decoded-*.json"))
    assert len(found) == (2 if memory == "file" else 0)
    assert all(json.loads(file.read_text()) for file in found)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data.balance=source"], r"data\.balance source: all training rows are of one class"),
        (["--fakes.probability=1"], "lets the network see fakes only"),
        (["--fakes.probability=0"], "lets the network see reals only"),
    ],
)
def test_reals_alone_and_what_cannot_help_them(tmp_path, faces_csv, more, message):
    csv = faces_csv(splits=("train", "train", "val"), folder=tmp_path / "faces")
    table_ = pd.read_csv(csv)
    table_[(table_["split"] == "val") | (table_["label"] == 0)].to_csv(csv, index=False)
    base = [
        "--tmp_data=null", f"--data.train={csv}", f"--data.cache={tmp_path / 'cache'}",
        "--fakes.type=warp", "--input_size.height=32", "--input_size.width=32", "--batch_size=4",
    ]  # fmt: skip
    with pytest.raises(UserError, match=message):
        run(tmp_path / "run", *base, *more)


def test_bad_values_name_their_key(tmp_path, capsys):
    for bad in ("saving.best=loss", "optimizer.accumulate=0", "model.ema=1", "data.memory=disk"):
        with pytest.raises(SystemExit):
            run(tmp_path / "run", f"--{bad}")
        assert bad.split("=")[0] in capsys.readouterr().err
