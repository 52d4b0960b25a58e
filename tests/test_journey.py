"""The journey of a user: prepare, train, test, explain; and what the commands refuse."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import checkpoint
import manifest
import metrics
import prepare
import test as test_command
import train
from faces.image import read_image, write_image
from fakes import sheet
from utils import UserError

ROOT = Path(__file__).parent.parent
PORTRAITS = [
    "portraits", "--out", "data/portraits", "--fakes.type", "warp", "--split.shares", ".6,.2,.2",
]  # fmt: skip
SMALL = [
    "--config_file", str(ROOT / "configs" / "quickstart.yaml"),
    "--num_epochs=2", "--data.repeat=1", "--input_size.height=64", "--input_size.width=64",
    "--num_workers=0", "--tracking.wandb=off", "--bootstrap=200", "--heatmaps.count=6",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole journey was made once, as a user would type it."""
    home = tmp_path_factory.mktemp("journey")
    commands = (
        ["prepare.py", *PORTRAITS],
        ["train.py", *SMALL],
        ["test.py", *SMALL, "--cam"],
    )
    for name, *arguments in commands:
        done = subprocess.run(
            [sys.executable, str(ROOT / name), *arguments], cwd=home, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        (home / f"{name}.out").write_text(done.stdout)
    return home


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


def test_manifest_leaks_nobody_and_pairs_fakes_with_reals(home: Path) -> None:
    rows = manifest.read(str(home / "data/portraits/manifest.csv")).rows
    people = {name: set(part["identity"]) for name, part in rows.groupby("split")}
    assert len(people["train"]) >= 40
    assert not people["train"] & people["test"]
    assert not people["train"] & people["val"]
    assert not people["val"] & people["test"]
    fakes = rows[rows["label"] == manifest.FAKE]
    assert set(fakes["split"]) == {"val", "test"} and len(fakes) >= 24
    reals = rows.set_index("path")
    for fake in fakes.itertuples():
        real = reals.loc[fake.source_path]
        assert (real["identity"], real["split"], real["box"]) == (
            fake.identity, fake.split, fake.box,
        )  # fmt: skip
        one, other = read_image(fake.path).astype(int), read_image(fake.source_path).astype(int)
        changed = np.abs(one - other).max(axis=2) > 12  # JPEG changes the others a little
        left, top, right, bottom = (round(v) for v in manifest.numbers(fake.box))
        inside = np.zeros_like(changed)
        inside[top:bottom, left:right] = True
        near = np.abs(one - other)[~inside].mean()
        assert changed[inside].mean() > 5 * changed[~inside].mean() and near < 1.5


def test_prepared_again_is_the_same(at_home: Path, capsys) -> None:
    before = Path("data/portraits/manifest.csv").read_bytes()
    assert prepare.main(PORTRAITS) == 0
    assert Path("data/portraits/manifest.csv").read_bytes() == before
    assert "49 real, 0 fake faces of 49 people" in capsys.readouterr().out


def test_run_folder_is_complete(home: Path) -> None:
    run = home / "log/quickstart"
    for name in ("config.yaml", "log.txt", "metrics.csv", "learning_curves.png"):
        assert (run / name).stat().st_size > 0
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {"0001.pth", "0002.pth", "best.pth", "last.pth", "rows.csv"}


def test_metrics_of_scores_csv_are_those_printed(home: Path, capsys) -> None:
    scores = home / "log/quickstart/test/scores.csv"
    assert metrics.main([str(scores), "--bootstrap=200"]) == 0
    block = capsys.readouterr().out.strip()
    assert block in (home / "test.py.out").read_text()
    written = json.loads((scores.parent / "metrics.json").read_text())
    frame = metrics.read_scores(scores)
    assert written["n"] == len(frame)
    assert written["values"]["auc"] == metrics.summarise(frame, resamples=0).values["auc"]


def test_scores_join_the_manifest(home: Path) -> None:
    whole = pd.read_csv(home / "data/portraits/manifest.csv")
    scores = pd.read_csv(home / "log/quickstart/test/scores.csv")
    joined = scores.merge(whole, on="path", suffixes=("", "_manifest"))
    assert len(joined) == len(scores) == (whole["split"] == "test").sum()
    assert (joined["label"] == joined["label_manifest"]).all()


def test_report_is_one_file_with_heatmaps(home: Path) -> None:
    report = (home / "log/quickstart/test/report.html").read_text()
    assert 'src="http' not in report and 'href="http' not in report
    drawn = list((home / "log/quickstart/test/cam").glob("*.png"))
    assert len(drawn) == 6
    assert all(read_image(path).std() > 10 for path in drawn)


def test_a_test_without_its_training_rows_says_so(at_home: Path) -> None:
    alone = at_home / "alone"
    alone.mkdir(exist_ok=True)
    shutil.copy("log/quickstart/checkpoints/best.pth", alone)
    arguments = [*SMALL, f"--test_checkpoint={alone / 'best.pth'}", "--prefix=log/alone"]
    assert test_command.main(arguments) == 0
    written = json.loads(Path("log/alone/test/metrics.json").read_text())
    assert written["overlap_with_training"] == "unknown"
    assert "Nobody could check" in Path("log/alone/test/report.html").read_text()
    # Another run's list is no list.
    (alone / "rows.csv").write_text("split,content\n")
    assert test_command.main(arguments) == 0
    written = json.loads(Path("log/alone/test/metrics.json").read_text())
    assert written["overlap_with_training"] == "unknown"


def test_missing_test_pictures_are_counted(at_home: Path) -> None:
    rows = manifest.read("data/portraits/manifest.csv").split("test").head(6)
    gone = rows.assign(path=[f"gone{i}.png" for i in range(6)])
    manifest.write(at_home / "gone.csv", pd.concat([rows, gone]))
    with pytest.raises(UserError, match=r"6 of 12 pictures cannot be used"):
        test_command.main([*SMALL, "--data.test=gone.csv", "--prefix=log/quickstart"])
    arguments = [*SMALL, "--data.test=gone.csv", "--data.max_bad=0.5"]
    assert test_command.main(arguments) == 0
    listed = pd.read_csv("log/quickstart/test/left_out.csv")
    assert listed["kind"].tolist() == ["missing"] * 6


def test_one_picture_is_explained(at_home: Path, capsys) -> None:
    sample = ROOT / "samples" / "fake.jpg"
    assert test_command.main([*SMALL, "--cam", f"--heatmaps.path={sample}"]) == 0
    out = capsys.readouterr().out
    assert "fake.jpg: called " in out
    (picture,) = Path("log/quickstart/test/cam_path").glob("*fake.png")
    assert read_image(picture).shape[2] == 3


def test_a_folder_is_explained_and_what_has_no_face_is_named(at_home: Path, capsys) -> None:
    folder = at_home / "mixed"
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "samples" / "real.jpg", folder)
    write_image(folder / "wall.png", np.full((120, 120, 3), 128, np.uint8))
    (folder / "text.jpg").write_text("not a picture")
    more = [*SMALL, "--cam", f"--heatmaps.path={folder}", "--data.max_bad=0.5"]
    assert test_command.main(more) == 0
    out = capsys.readouterr().out
    assert "real.jpg: called" in out
    assert "wall.png: no face found" in out
    assert "text.jpg: not a picture" in out


def test_rows_that_were_learned_are_refused(at_home: Path) -> None:
    rows = manifest.read("data/portraits/manifest.csv")
    for split in ("train", "val"):
        part = rows.split(split).assign(split="")
        manifest.write(at_home / f"{split}.csv", part)
        with pytest.raises(UserError, match=r"was trained or validated on some of these rows"):
            test_command.main([*SMALL, f"--data.test={split}.csv"])


def test_a_contradicting_configuration_is_refused(at_home: Path) -> None:
    with pytest.raises(UserError, match=r"face\.margin: trained with '20%', configured '10%'"):
        test_command.main([*SMALL, "--face.margin=10%"])


def test_a_missing_test_checkpoint_lists_those_that_exist(at_home: Path) -> None:
    missing = "--test_checkpoint=log/quickstart/checkpoints/0009.pth"
    with pytest.raises(UserError, match=r"no such checkpoint; there are .*0001\.pth.*best\.pth"):
        test_command.main([*SMALL, missing])


def test_training_never_reads_the_test_data(at_home: Path) -> None:
    arguments = [*SMALL, "--num_epochs=1", "--prefix=log/other", "--data.test=nowhere.csv"]
    assert train.main(arguments) == 0


def test_a_csv_of_pictures_without_boxes_is_cropped_once(at_home: Path, monkeypatch) -> None:
    rows = manifest.read("data/portraits/manifest.csv").split("val")
    plain = rows[["path", "label", "identity", "source_path"]]
    manifest.write(at_home / "plain.csv", plain.reindex(columns=manifest.COLUMNS, fill_value=""))
    arguments = [
        *SMALL, "--num_epochs=1", "--data.train=plain.csv", "--data.random_split=True",
        "--data.test_proportions=0.3", "--data.cache=cache", "--fakes.type=none",
    ]  # fmt: skip
    assert train.main([*arguments, "--prefix=log/plain"]) == 0
    rows_file = pd.read_csv("log/plain/checkpoints/rows.csv")
    assert set(rows_file["split"]) == {"train", "val"}

    def never(*_):
        raise AssertionError("a face was searched again")

    monkeypatch.setattr("faces.cache.make_detector", never)
    assert train.main([*arguments, "--prefix=log/plain2"]) == 0
    state = checkpoint.load("log/plain2/checkpoints/last.pth")
    assert state["crop"]["faces"] is True and state["crop"]["margin"] == "20%"


def test_copies_of_a_picture_on_both_sides_are_refused(at_home: Path) -> None:
    rows = manifest.read("data/portraits/manifest.csv").split("val")
    folder = at_home / "copies"
    folder.mkdir(exist_ok=True)
    table = []
    for number, (path, label) in enumerate(zip(rows["path"], rows["label"], strict=True)):
        for copy in ("a", "b"):
            file = folder / f"{copy}{number}.jpg"
            shutil.copy(path, file)
            table.append({"path": str(file), "label": label})
    manifest.write(at_home / "copies.csv", pd.DataFrame(table))
    arguments = [
        *SMALL, "--data.train=copies.csv", "--data.random_split=True", "--data.crop=False",
        "--fakes.type=none", "--prefix=log/copies",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"pictures are in training and in validation"):
        train.main(arguments)


def test_one_class_alone_is_refused_with_the_remedy(at_home: Path) -> None:
    rows = manifest.read("data/portraits/manifest.csv").split("train")
    manifest.write(at_home / "reals.csv", rows.assign(split=""))
    base = [*SMALL, "--data.train=reals.csv", "--prefix=log/reals", "--data.random_split=True"]
    with pytest.raises(UserError, match=r"training set has reals only .* --fakes\.type warp"):
        train.main([*base, "--fakes.type=none"])
    with pytest.raises(UserError, match=r"validation set has reals only"):
        train.main(base)


def test_broken_pictures_are_named_and_too_many_stop_the_run(at_home: Path) -> None:
    rows = manifest.read("data/portraits/manifest.csv").split("val")
    broken = at_home / "broken"
    broken.mkdir(exist_ok=True)
    paths = []
    for number, path in enumerate(rows["path"]):
        copy = broken / f"{number}.png"
        content = Path(path).read_bytes()
        copy.write_bytes(content[: len(content) // 2] if number == 0 else content)
        paths.append(str(copy))
    rows = rows.assign(path=paths, split="", source_path="")
    manifest.write(at_home / "broken.csv", rows)
    base = [
        *SMALL, "--data.train=broken.csv", "--data.random_split=True", "--fakes.type=none",
        "--num_epochs=1",
    ]  # fmt: skip
    assert train.main([*base, "--prefix=log/broken"]) == 0
    listed = pd.read_csv("log/broken/left_out.csv")
    assert listed["path"].str.endswith("broken/0.png").tolist() == [True]
    assert listed["kind"].tolist() == ["unreadable"]
    assert listed["reason"].str.contains("damaged").all()
    with pytest.raises(UserError, match=r"1 of \d+ pictures cannot be used, more than"):
        train.main([*base, "--prefix=log/broken2", "--data.max_bad=0.0"])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("prepare.py", ["portrait"], "did you mean portraits"),
        ("prepare.py", ["portraits", "--root", "nowhere"], "looked for"),
        ("train.py", ["--config_file", "nowhere.yaml"], "no such file"),
        ("test.py", ["--prefix", "nowhere"], "no such checkpoint"),
        ("train.py", ["--tmp_data=8,3,32,32", "--prefix=train.py.out"], "File exists"),
        ("train.py", ["--tmp_data=8,3,32,32", "--prefix=/proc/run"], "No such file"),
        ("prepare.py", ["portraits", "--out=train.py.out"], "Not a directory"),
        ("test.py", [*SMALL, "--heatmaps.path=x.jpg"], "needs --cam"),
        ("checkpoint.py", ["nowhere.pth"], "no such checkpoint"),
        ("metrics.py", ["nowhere.csv"], "cannot be read"),
    ],
)
def test_bad_input_ends_with_one_sentence_and_status_2(home, name, arguments, message) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / name), *arguments], cwd=home, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_sheet_shows_reals_beside_their_fakes(at_home: Path, capsys) -> None:
    more = ["--out=sheet.png", "--count=2", "--fakes.type=warp", "--fakes.warp.scale_max=0.75"]
    assert sheet.main([str(ROOT / "samples"), *more]) == 0
    assert "2 pairs" in capsys.readouterr().out
    picture = read_image("sheet.png").astype(int)
    real, fake = picture[:, : sheet.TILE], picture[:, sheet.TILE : 2 * sheet.TILE]
    assert np.abs(real - fake).max() > 30
