"""A split that shares persons on purpose is said wherever its numbers go."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import checkpoint
import test as test_command
import train
from faces.image import write_image
from splits import UNSAFE, UNSAFE_NOTE, WITHIN_PERSON

SMALL = [
    "--network=MesoNet", "--data.crop=False", "--data.num_classes=1", "--num_workers=0",
    "--input_size.height=32", "--input_size.width=32", "--layer_table=False",
    "--tracking.wandb=off", "--bootstrap=0", "--device=cpu",
]  # fmt: skip


def set_of(folder: Path, split: str, people: str, **columns: str) -> Path:
    """A manifest of random pictures, two of each class of each person, all of one split."""
    random = np.random.default_rng(ord(people[0]))
    rows = []
    for name in [f"{person}{number}" for person in people for number in range(4)]:
        write_image(folder / f"{name}.png", random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        row = {"path": f"{name}.png", "label": int(name[1]) % 2, "identity": name[0]}
        rows.append(row | {"split": split or ("val" if name[1] in "23" else "train")} | columns)
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose validation shares its persons, and one that was tested on others."""
    home = tmp_path_factory.mktemp("unsafe")
    unsafe = set_of(home / "unsafe", "", "ab", **{UNSAFE: WITHIN_PERSON})
    safe = home / "safe" / "manifest.csv"
    set_of(home / "safe", "", "cd")
    rows = pd.read_csv(safe)
    rows.assign(split=["train" if name == "c" else "val" for name in rows["identity"]]).to_csv(
        safe, index=False
    )
    set_of(home / "others", "test", "ef")
    for name, data in (("unsafe", unsafe), ("safe", safe)):
        arguments = [f"--data.train={data}", f"--prefix={home / 'log' / name}", "--num_epochs=1"]
        assert train.main([*SMALL, *arguments, "--batch_size=4"]) == 0
    return home


def result_of(home: Path, name: str) -> tuple[dict, str]:
    """metrics.json and report.html of a test on others."""
    run = home / "log" / name
    arguments = [f"--data.test={home / 'others' / 'manifest.csv'}", f"--prefix={run}"]
    assert test_command.main([*SMALL, *arguments]) == 0
    (report,) = run.rglob("report.html")
    (numbers,) = run.rglob("metrics.json")
    return json.loads(numbers.read_text()), report.read_text()


def test_it_travels_from_the_manifest_into_every_report(home):
    file = home / "log" / "unsafe" / "checkpoints" / "best.pth"
    assert checkpoint.load(file)["data"][UNSAFE] == WITHIN_PERSON
    assert UNSAFE_NOTE in checkpoint.describe(file)
    numbers, page = result_of(home, "unsafe")
    assert numbers["notes"] == [UNSAFE_NOTE] and "numbers are inflated" in page


def test_nothing_is_said_of_a_safe_one(home):
    file = home / "log" / "safe" / "checkpoints" / "best.pth"
    assert checkpoint.load(file)["data"][UNSAFE] == ""
    assert "inflated" not in checkpoint.describe(file)
    numbers, page = result_of(home, "safe")
    assert numbers["notes"] == [] and "inflated" not in page


def test_a_checkpoint_of_before_says_nothing_and_is_read(home, tmp_path):
    state = checkpoint.load(home / "log" / "unsafe" / "checkpoints" / "best.pth")
    del state["data"][UNSAFE]
    checkpoint.save(tmp_path / "old.pth", state)
    assert "inflated" not in checkpoint.describe(tmp_path / "old.pth")
