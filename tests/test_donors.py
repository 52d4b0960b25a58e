"""Faces that are pasted and train as nothing else: fakes.swap.donors."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dataset
import leave_one_out
import metrics
import prepare
import seen
import train
from faces.image import read_image, write_image
from fakes import sheet
from fakes.donors import Either
from fakes.outline import MEAN_FACE
from fakes.swap import detailed, make
from flags import Face, Fakes, InputSize, Swap
from tests import sources_of_three
from tests.sources_of_three import SMALL
from tests.test_swap import BOX, NOISE, POINTS, generator, other, table
from utils import UserError

CELL = " ".join(str(v) for v in (np.array(MEAN_FACE) * 60 + [70, 80]).ravel())


def rows(count: int, letter: str, label: int = 0) -> pd.DataFrame:
    """Located rows of as many people, whose files are named by a letter."""
    names = [f"{letter}{number}.png" for number in range(count)]
    return pd.DataFrame({
        "path": names, "file": names, "label": label, "identity": names, "source": letter,
        "file_box": "", "file_landmarks": CELL,
    })  # fmt: skip


def drawn(share: float, pasted: pd.DataFrame | None, seeds: int = 200) -> list[str]:
    """The files of the faces that are pasted into the first of five reals."""
    read: list[str] = []
    fakes = Fakes(type="swap", swap={"donated": share})
    samples = dataset.FaceDataset(
        rows(5, "a"), Face(), InputSize(), fakes=fakes, pasted=pasted,
        read=lambda file: read.append(file) or NOISE,
    )  # fmt: skip
    for seed in range(seeds):
        samples.donors.of(0)(generator(seed))
    return read


def test_faces_come_of_the_donors_as_often_as_asked():
    assert set(drawn(1.0, None)) == {f"a{i}.png" for i in range(1, 5)}  # of others, as ever
    assert {file[0] for file in drawn(1.0, rows(3, "b", 1))} == {"b"}
    assert {file[0] for file in drawn(0.0, rows(3, "b", 1))} == {"a"}
    of_donors = [file[0] for file in drawn(0.5, rows(3, "b", 1))].count("b")
    assert 70 < of_donors < 130


def test_without_donors_fakes_are_what_they_were():
    fakes = Fakes(type="swap", pairs=True)
    samples = dataset.FaceDataset(
        rows(5, "a").assign(file_box="60 60 140 170"), Face(), InputSize(), fakes=fakes,
        read=lambda file: NOISE,
    )  # fmt: skip
    draw = table(5).of(0)
    assert samples.donors.of(0)(generator(4)).row == draw(generator(4)).row
    assert not isinstance(samples.donors, Either)


@given(st.integers(0, 99), st.floats(0.3, 4), st.floats(0, 1))
@settings(deadline=None, max_examples=30)
def test_detail_comes_nearer_to_the_target(seed, blur, strength):
    dice = generator(seed)
    sharp = dice.normal(128, 15, (80, 80, 3)).clip(0, 255).astype(np.uint8)
    soft = cv2.GaussianBlur(dice.normal(128, 25, (80, 80, 3)).clip(0, 255).astype(np.uint8),
                            (0, 0), blur)  # fmt: skip
    mask = np.ones((80, 80), np.float32)

    def fine(image: np.ndarray) -> float:
        return float((image - cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)).std())

    for source, target in ((sharp, soft), (soft, sharp)):
        own, wanted = fine(source), fine(target)
        result, all_of_it = (detailed(source, target, mask, much) for much in (strength, 1.0))
        assert result.dtype == np.uint8 and result.shape == source.shape
        assert 0.75 * min(own, wanted) - 0.6 < fine(result) < 1.25 * max(own, wanted) + 0.6
        # Four times at most; and what a blur leaves has fine detail of its own, which stays.
        wanted = np.clip(wanted, own / 4, own * 4)
        assert abs(fine(all_of_it) - wanted) < 0.6 * abs(own - wanted) + 0.6
    np.testing.assert_array_equal(detailed(sharp, soft, mask, 0.0), sharp)
    np.testing.assert_array_equal(detailed(sharp, soft, mask * 0, 1.0), sharp)


def test_detail_is_off_unless_it_is_asked_for():
    plain = make(NOISE, BOX, POINTS, generator(3), Swap(), other)[1]
    same = make(NOISE, BOX, POINTS, generator(3), Swap(detail=[0, 0]), other)[1]
    np.testing.assert_array_equal(plain, same)
    flat = cv2.GaussianBlur(NOISE, (0, 0), 3)
    for cloned in (0, 1):
        fakes = [
            make(flat, BOX, POINTS, generator(3), Swap(cloned=cloned, detail=how), other)[1]
            for how in ([0, 0], [1, 1])
        ]
        strong, weak = (cv2.Laplacian(f[100:140, 80:120], cv2.CV_32F).std() for f in fakes)
        assert weak < 0.6 * strong


# ------------------------------------------------------------------------------- commands


@pytest.fixture
def home(tmp_path: Path, faces_csv, networks_with_tiny, monkeypatch) -> Path:
    """all.csv of six people, and pasted.csv of four others, all of them fake there."""
    monkeypatch.chdir(tmp_path)
    whole = pd.read_csv(faces_csv(10, ("train", "train", "val")), dtype=str)
    whole["path"] = [str(tmp_path / "faces" / path) for path in whole["path"]]
    whole["source_path"] = ""
    people = whole["identity"].unique()
    whole[whole["identity"].isin(people[:6])].to_csv("all.csv", index=False)
    others = whole[whole["identity"].isin(people[6:]) & (whole["label"] == "0")]
    others.assign(label="1", split="train", source="nobody").to_csv("pasted.csv", index=False)
    return tmp_path


def training(*more: str) -> list[str]:
    return [
        "--data.train=all.csv", "--network=Tiny", "--num_workers=0", "--tracking.wandb=off",
        "--input_size.height=32", "--input_size.width=32", "--batch_size=4", "--num_epochs=1",
        "--layer_table=False", "--device=cpu", "--prefix=log/run", "--fakes.type=swap",
        "--fakes.pairs=True", "--fakes.swap.donors=pasted.csv", *more,
    ]  # fmt: skip


def test_a_training_pastes_them_and_knows_what_it_saw(home, monkeypatch, capsys):
    read: set[str] = set()
    of = dataset.reader

    def watched(given, data):
        read.update(given["path"])
        return of(given, data)

    monkeypatch.setattr(dataset, "reader", watched)
    assert train.main(training()) == 0
    pasted = set(pd.read_csv("pasted.csv")["path"])
    assert f"Pasted : of pasted.csv, {len(pasted)} faces" in capsys.readouterr().out
    assert pasted < read
    known = seen.as_rows(Path("log/run/checkpoints/rows.csv").read_text())
    trained = known[known["split"] == "train"]
    assert len(trained) == len(pasted) + 8 and not (set(pasted) & set(known.columns))
    # A run goes on with the same ones only.
    assert train.main(training("--num_epochs=2")) == 0
    table = pd.read_csv("pasted.csv")
    table.iloc[1:].to_csv("pasted.csv", index=False)
    with pytest.raises(UserError, match="changed since this run began"):
        train.main(training("--num_epochs=3"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda pasted, whole: pasted.assign(split="test"), "no row of it may train"),
        (lambda pasted, whole: whole.assign(split=""), "and the validation overlap"),
    ],
)
def test_donors_that_cannot_serve_are_refused(home, change, says):
    change(pd.read_csv("pasted.csv"), pd.read_csv("all.csv")).to_csv("pasted.csv", index=False)
    with pytest.raises(UserError, match=says):
        train.main(training())
    assert not Path("log/run/checkpoints").exists()


def test_donors_that_are_not_there_are_refused_with_what_to_do(home):
    Path("pasted.csv").unlink()
    with pytest.raises(UserError, match=r"pasted\.csv: no such CSV.*python -m fakes\.generated"):
        train.main(training())
    argv = ["faces/real", "--fakes.type=swap", "--fakes.swap.donors=pasted.csv"]
    with pytest.raises(UserError, match=r"pasted\.csv: no such CSV.*python -m fakes\.generated"):
        sheet.main(argv)


def test_donors_without_a_face_are_refused(home):
    pasted = pd.read_csv("pasted.csv").iloc[:2]
    for path in pasted["path"]:
        write_image(path, np.full((200, 200, 3), 90, np.uint8))
    pasted.to_csv("pasted.csv", index=False)
    with pytest.raises(UserError, match=r"pasted\.csv: no face in its pictures"):
        train.main(training())


def test_faces_that_cannot_be_pasted_are_counted_and_alone_refused(home, capsys):
    pasted = pd.read_csv("pasted.csv").assign(box="40 40 160 160")  # somebody's, without landmarks
    found = pasted.assign(box="").iloc[2:]
    pd.concat([pasted.iloc[:2], found]).to_csv("pasted.csv", index=False)
    assert train.main(training()) == 0
    said = capsys.readouterr().out
    assert f"Pasted : of pasted.csv, {len(found)} faces" in said
    assert "pasted.csv: 2 faces have no five landmarks of a face, and are not pasted" in said
    pasted.to_csv("pasted.csv", index=False)
    with pytest.raises(UserError, match=rf"none of its {len(pasted)} faces has the five landmarks"):
        train.main(training("--prefix=log/other"))


def test_a_sheet_shows_the_donors_that_were_named_or_nothing(home):
    argv = ["faces", "--fakes.type=swap", "--fakes.swap.donors=pasted.csv", "--count=4"]
    assert sheet.main([*argv, "--out=given.png"]) == 0
    assert sheet.main([*argv, "--fakes.swap.donated=0", "--out=own.png"]) == 0
    assert sheet.main([*argv, "--fakes.swap.donors=", "--out=plain.png"]) == 0
    given, own, plain = (read_image(f"{name}.png") for name in ("given", "own", "plain"))
    assert not np.array_equal(given, plain) and own.shape == plain.shape
    for path in pd.read_csv("pasted.csv")["path"]:
        write_image(path, np.full((200, 200, 3), 90, np.uint8))
    with pytest.raises(UserError, match=r"pasted\.csv: no face in its pictures"):
        sheet.main([*argv, "--out=none.png"])
    assert not Path("none.png").exists()


def test_a_sheet_wants_a_folder(tmp_path, portrait):
    write_image(tmp_path / "one.png", portrait)
    wrongs = {"gone": "no such folder", "one.png": "is a file: name its folder"}
    for wrong, says in wrongs.items():
        with pytest.raises(UserError, match=says):
            sheet.main([str(tmp_path / wrong), "--fakes.type=warp", f"--out={tmp_path / 'a.png'}"])


def test_labels_of_donors_are_read_by_their_own_header(home):
    whole = pd.read_csv("all.csv")
    whole = whole.assign(real=1 - whole["label"]).drop(columns="label")
    whole.to_csv("all.csv", index=False)  # the XAI606 project's: 1 = real
    assert train.main(training("--data.fake_label=0")) == 0
    pasted = pd.read_csv("pasted.csv")
    pasted.assign(path=[f"gone{n}.png" for n in range(len(pasted))]).to_csv("pasted.csv")
    with pytest.raises(UserError, match="gone0"):
        train.main(training("--data.fake_label=0", "--prefix=log/other"))


def test_donors_of_whom_nothing_is_known_are_nobody_of_the_table():
    """A table with a further column, joined to one without it: what is missing is no name."""
    mine = rows(3, "a").assign(near_duplicate_group="")
    both = pd.concat([mine, rows(3, "b").assign(identity="")], ignore_index=True)
    groups = metrics.grouping(both)[0]
    assert len(set(groups)) == 6


def test_donors_of_a_recipe_that_pastes_nothing_are_not_read(home):
    Path("pasted.csv").unlink()
    assert train.main(training("--fakes.type=blend")) == 0
    with pytest.raises(UserError, match=r"pasted\.csv: no such"):
        train.main(training("--prefix=log/other"))


def test_a_source_that_is_left_out_is_not_pasted_either(tmp_path, networks_with_tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources_of_three.write(tmp_path)
    whole = pd.read_csv("all.csv")
    whole[whole["source"] == "beta"].assign(split="").to_csv("pasted.csv", index=False)
    argv = [
        *SMALL, "--data.train=all.csv", "--prefix=log/x", "--data.crop=True",
        "--fakes.type=swap", "--fakes.swap.donors=pasted.csv",
    ]  # fmt: skip
    with pytest.raises(UserError, match="faces of what is left out: beta"):
        leave_one_out.main(argv)
    assert not Path("log/x").exists()


def test_fakes_for_validation_are_made_of_their_own_split(home):
    argv = ["folder", "--root=faces", "--out=data", "--fakes.swap.donors=pasted.csv"]
    with pytest.raises(UserError, match="donors is for training"):
        prepare.main([*argv, "--fakes.type=swap"])
    assert not Path("data").exists()
    assert prepare.main([*argv, "--fakes.type=none"]) == 0  # of no use there


def test_a_sheet_shows_them(home, capsys):
    argv = ["faces/real", "--out=sheet.png", "--count=2", "--fakes.type=swap"]
    for name, more in {"own": [], "pasted": ["--fakes.swap.donors=pasted.csv"]}.items():
        assert sheet.main([*argv, f"--out={name}.png", *more]) == 0
    assert "2 pairs" in capsys.readouterr().out
    own, pasted = (read_image(f"{name}.png").astype(int) for name in ("own", "pasted"))
    assert own.shape == pasted.shape and np.abs(own - pasted).max() > 30
