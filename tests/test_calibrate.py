"""Calibrate: limits fitted anew, on rows that nothing learned, and nothing else is changed."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import calibrate
import checkpoint
import export
import judging
import test as testing_command
import thresholds
import train
from faces import roundtrip
from faces.image import UnreadableImage, read_image, write_image
from flags import Calibrate, Films
from settings import parse
from testing.films import Moment
from tests import sources_of_three
from tests.sources_of_three import SMALL
from utils import UserError

RUN = Path("log/run")
BEST = RUN / "checkpoints" / "best.pth"
NEW = RUN / "calibrated" / "best.safetensors"


@pytest.fixture
def trained(tmp_path: Path, networks_with_tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of one epoch on three small sources, with its folder as the present one."""
    monkeypatch.chdir(tmp_path)
    sources_of_three.write(tmp_path)
    assert train.main([*SMALL, "--data.train=all.csv", "--prefix=log/run"]) == 0
    return tmp_path


def run(*more: str) -> int:
    return calibrate.main([*SMALL, "--data.train=all.csv", "--prefix=log/run", *more])


def own(folder: Path, count: int = 24, **columns: str) -> pd.DataFrame:
    """own.csv: pictures of another camera, brighter than all others, half of them forged."""
    random = np.random.default_rng(7)
    (folder / "own").mkdir()
    rows = []
    for number in range(count):
        label, name = number % 2, f"own/{number}.png"
        image = random.integers(100, 200 + 55 * label, (24, 24, 3), dtype=np.uint8)
        write_image(folder / name, image)
        row = {"path": name, "label": label, "source": "mine", "identity": f"me{number}"}
        rows.append(row | columns)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "own.csv", index=False)
    return table


# ---------------------------------------------------------------------------------- faces


def test_the_same_rows_give_the_same_limits_and_nothing_else_changes(trained, capsys):
    assert run() == 0
    old, new = checkpoint.load(BEST), checkpoint.load(NEW)
    assert new["thresholds"] == old["thresholds"] and set(old) <= set(new)
    assert new["thresholds"]["auc"] == pytest.approx(old["history"][-1]["valid_auc"])
    for key in set(old) - {"weights", "config", "training"}:
        assert repr(new[key]) == repr(old[key]), key  # NaN is not itself
    assert (NEW.parent / "rows.csv").read_bytes() == (BEST.parent / "rows.csv").read_bytes()
    for name, values in old["weights"].items():
        torch.testing.assert_close(new["weights"][name], values, rtol=0, atol=0)
    said = capsys.readouterr().out
    assert "faces, before" in said and "faces, now" in said and "none left out" in said
    assert f"AUC now  : of faces {old['history'][-1]['valid_auc']:.3f}" in said


def test_limits_of_another_camera_are_those_of_its_scores(trained, capsys):
    rows = own(trained)
    hard = rows.assign(label=rows["label"].where(rows.index >= 4, 1 - rows["label"]))
    hard.to_csv("own.csv", index=False)
    assert run("--data.valid=own.csv", "--bootstrap=200") == 0
    said = capsys.readouterr().out
    assert re.search(r"AUC now  : of faces 0\.\d{3} \[0\.\d{3}, \d\.\d{3}\]\n", said)
    old, new = checkpoint.load(BEST), checkpoint.load(NEW)
    # Scored by test.py, from the checkpoint as it was: other rows are unknown to it.
    argv = [*SMALL, "--data.test=own.csv", "--prefix=log/run"]
    assert testing_command.main(argv) == 0
    scored = pd.read_csv(RUN / "test" / "scores.csv")
    labels, values = scored["label"].to_numpy(), scored["score"].to_numpy()
    sources = scored["source"].to_numpy(str)
    expected = thresholds.fit(labels, values, "24 validation faces of own.csv", sources=sources)
    assert new["thresholds"] == vars(expected) and new["thresholds"] != old["thresholds"]
    assert new["data"]["valid"] == "all.csv"  # by which its weights were chosen


def test_what_fitted_it_is_refused_as_a_test_and_so_is_what_trained_it(trained):
    own(trained)
    assert run("--data.valid=own.csv") == 0
    argv = [*SMALL, "--prefix=log/run", f"--test_checkpoint={NEW}"]
    with pytest.raises(UserError, match="was trained or validated on some of these rows"):
        testing_command.main([*argv, "--data.test=own.csv"])
    # Those that the run trained and validated on are still known.
    whole = pd.read_csv("all.csv")
    whole[whole["split"] == "train"].drop(columns="split").to_csv("seen.csv", index=False)
    with pytest.raises(UserError, match="was trained or validated on some of these rows"):
        testing_command.main([*argv, "--data.test=seen.csv"])
    assert testing_command.main([*argv, "--data.test=all.csv"]) == 0


def test_rows_that_it_was_trained_on_calibrate_nothing(trained):
    whole = pd.read_csv("all.csv")
    whole[whole["split"] == "train"].drop(columns="split").to_csv("seen.csv", index=False)
    with pytest.raises(UserError, match="was trained on some of these rows"):
        run("--data.valid=seen.csv")
    assert not NEW.exists()


def test_without_the_list_of_its_rows_nobody_knows_and_it_says_so(trained, capsys):
    (BEST.parent / "rows.csv").unlink()
    assert run() == 0
    assert "nobody can tell" in capsys.readouterr().err
    assert not (NEW.parent / "rows.csv").exists()
    assert checkpoint.load(NEW)["data"]["rows"] == ""


@pytest.mark.parametrize(("count", "few"), [(6, True), (48, False)])
def test_limits_of_a_handful_are_said_to_be_luck(trained, capsys, count, few):
    own(trained, count)
    assert run("--data.valid=own.csv") == 0
    assert ("3 reals and 3 fakes" in (said := capsys.readouterr().err)) is few
    assert ("luck" in said) is few


def test_limits_are_as_strict_as_asked(trained, capsys):
    own(trained, 200)
    assert run("--data.valid=own.csv", "--limits.alarms=.25", "--limits.misses=0.5") == 0
    assert "luck" not in capsys.readouterr().err
    new = checkpoint.load(NEW)["thresholds"]
    assert (new["alarms"], new["misses"]) == (0.25, 0.5)
    argv = [*SMALL, "--data.test=own.csv", "--prefix=log/run"]
    assert testing_command.main(argv) == 0
    scored = pd.read_csv(RUN / "test" / "scores.csv")
    reals, fakes = (scored.loc[scored["label"] == label, "score"] for label in (0, 1))
    assert (reals > new["t_high"]).mean() == 0.25 and (fakes < new["t_low"]).mean() == 0.5
    capsys.readouterr()
    # Of 100 reals .001 are nobody.
    assert run("--data.valid=own.csv", "--limits.alarms=.001") == 0
    said = capsys.readouterr().err
    assert "limits.alarms 0.001" in said
    assert "100 reals of mine: limits.alarms 0.001 of them is less than one face" in said


def test_limits_that_are_not_the_checkpoints_are_said_not_to_be_used(trained, capsys):
    argv = [*SMALL, "--data.test=all.csv", "--prefix=log/run"]
    assert testing_command.main(argv) == 0
    assert "WARNING: limits" not in capsys.readouterr().out
    assert testing_command.main([*argv, "--limits.alarms=.01"]) == 0
    words = "WARNING: limits.alarms: 0.01 is not used: the checkpoint's is 0.05; calibrate.py fits"
    assert words in capsys.readouterr().out


def test_by_another_tta_all_is_fitted_by_it(trained):
    assert run("--tta=flip") == 0
    new = checkpoint.load(NEW)
    assert new["tta"] == "flip"
    own(trained)  # scored by the new checkpoint's tta, whose limits then fit
    argv = [*SMALL, "--prefix=log/run", f"--test_checkpoint={NEW}", "--data.test=own.csv"]
    assert testing_command.main(argv) == 0
    flipped = pd.read_csv(RUN / "test" / "scores.csv")["score"]
    assert testing_command.main([*argv[:-2], argv[-1]]) == 0
    once = pd.read_csv(RUN / "test" / "scores.csv")["score"]
    assert (flipped != once).any()
    assert new["thresholds"] != checkpoint.load(BEST)["thresholds"]


def test_from_weights_alone_as_from_the_run(trained):
    state = checkpoint.load(BEST)
    file = Path("released/detector.safetensors")
    file.parent.mkdir()
    export.write(file, checkpoint.network_of(state), state, "0" * 64)
    (file.parent / "rows.csv").write_bytes((BEST.parent / "rows.csv").read_bytes())
    assert run(f"--test_checkpoint={file}", "--out=mine/detector.safetensors") == 0
    assert checkpoint.load("mine/detector.safetensors")["thresholds"] == state["thresholds"]
    assert Path("mine/rows.csv").read_bytes() == Path("released/rows.csv").read_bytes()
    assert sorted(p.name for p in Path("mine").iterdir()) == ["detector.safetensors", "rows.csv"]


def test_a_run_that_validated_on_a_random_part_is_calibrated_on_either(trained):
    whole = pd.read_csv("all.csv").drop(columns="split")
    whole.to_csv("plain.csv", index=False)
    at_random = ["--data.train=plain.csv", "--data.random_split=True", "--prefix=log/random"]
    assert train.main([*SMALL, *at_random]) == 0
    old = checkpoint.load("log/random/checkpoints/best.pth")
    new = Path("log/random/calibrated/best.safetensors")
    assert run(*at_random) == 0 and checkpoint.load(new)["thresholds"] == old["thresholds"]
    own(trained)
    assert run(*at_random, "--data.valid=own.csv") == 0
    assert checkpoint.load(new)["thresholds"]["data"] == "24 validation faces of own.csv"


def test_a_validation_that_shares_persons_on_purpose_can_be_its_calibration(trained):
    whole = pd.read_csv("all.csv").query("split != 'test'")
    whole = whole.assign(identity="somebody", unsafe_split="within_person")
    whole.to_csv("unsafe.csv", index=False)
    unsafe = ["--data.train=unsafe.csv", "--prefix=log/unsafe"]
    assert train.main([*SMALL, *unsafe]) == 0
    assert run(*unsafe) == 0
    # Other pictures of a person that it learned are not its validation.
    own(trained, identity="somebody", source="alpha")
    with pytest.raises(UserError, match="share an identity"):
        run(*unsafe, "--data.valid=own.csv")


def test_what_is_missing_or_has_no_score_is_named_and_counted(trained, capsys):
    validating = pd.read_csv("all.csv").query("split == 'val'")["path"].tolist()
    Path(validating[0]).unlink()
    Path(validating[5]).write_bytes(b"no picture")
    with pytest.raises(UserError, match="2 of 18 pictures cannot be used, more than"):
        run()
    assert not NEW.exists()
    assert run("--data.max_bad=0.2", "--films.frames=2") == 0
    left_out = pd.read_csv(NEW.parent / "left_out.csv")
    assert sorted(left_out["kind"]) == ["missing", "unreadable"]
    assert "2 left out: 1 missing, 1 unreadable" in capsys.readouterr().out
    new = checkpoint.load(NEW)
    assert new["thresholds"]["data"].startswith("16 validation faces")
    assert new["video_thresholds"]["data"].startswith("16 films made")


def test_what_is_usual_stays_where_new_reals_are_too_few(trained):
    own(trained, 50)
    assert run("--data.valid=own.csv", "--out=a/a.safetensors") == 0
    of_25_reals = checkpoint.load("a/a.safetensors")["features"]
    assert of_25_reals["n"] == 25 and of_25_reals["data"] == "own.csv"
    again = ["--test_checkpoint=a/a.safetensors", "--out=b/b.safetensors"]
    assert run(*again) == 0
    assert checkpoint.load("b/b.safetensors")["features"] == of_25_reals


# ---------------------------------------------------------------------------------- films


def test_films_are_made_where_validation_has_none(trained):
    assert "video_thresholds" not in checkpoint.load(BEST)
    assert run() == 0 and "video_thresholds" not in checkpoint.load(NEW)
    assert run("--films.frames=3") == 0
    new = checkpoint.load(NEW)
    films = thresholds.Thresholds.of(new["video_thresholds"])
    assert films.unit == "video" and films.data.startswith("18 films made of")
    assert new["thresholds"] == checkpoint.load(BEST)["thresholds"]
    assert films.threshold != new["thresholds"]["threshold"]
    assert new["video_thresholds"]["made"].startswith("3 frames each, H.264 CRF 18 to 34")
    said = checkpoint.describe(NEW)
    assert "18 films made of validation faces of all.csv, by mean; 3 frames each" in said
    first = new["video_thresholds"]
    assert run("--films.frames=3") == 0 and checkpoint.load(NEW)["video_thresholds"] == first
    assert run("--films.frames=3", "--num_workers=2") == 0
    assert checkpoint.load(NEW)["video_thresholds"] == first
    # A verdict of a film is by them, that of a photo by the others.
    assert judging.limits_of(new, film=True).data == films.data
    assert judging.limits_of(new, film=False).data == new["thresholds"]["data"]


def test_films_hardly_compressed_nor_moved_are_the_photographs(trained):
    gentle = ["--films.h264=0,0", "--films.resize=1,1", "--films.motion=0"]
    assert run("--films.frames=2", *gentle) == 0
    new = checkpoint.load(NEW)
    for key in ("threshold", "t_low", "t_high"):
        assert new["video_thresholds"][key] == pytest.approx(new["thresholds"][key], abs=0.02)


def test_films_of_its_own_are_the_better_ones(trained, capsys):
    own(trained, video="", split="val")
    table = pd.read_csv("own.csv").assign(video=[f"v{i}" for i in range(24)])
    table.to_csv("own.csv", index=False)
    assert run("--data.valid=own.csv", "--films.frames=2") == 0
    assert "own.csv has films of its own" in capsys.readouterr().err
    assert "24 validation videos" in checkpoint.load(NEW)["video_thresholds"]["data"]


def test_one_film_among_photographs_does_not_keep_films_from_being_made(trained):
    table = own(trained, 44)
    table["video"] = ["v" if i in (0, 2, 4) else "" for i in range(44)]
    table.to_csv("own.csv", index=False)
    assert run("--data.valid=own.csv") == 0
    assert "video_thresholds" not in checkpoint.load(NEW)  # one film of one class fits nothing
    assert run("--data.valid=own.csv", "--films.frames=2") == 0
    assert checkpoint.load(NEW)["video_thresholds"]["data"].startswith("41 films made")


def test_limits_of_films_that_fit_no_more_go_and_it_says_so(trained, capsys):
    assert run("--films.frames=2", "--out=a/a.safetensors") == 0
    again = ["--test_checkpoint=a/a.safetensors", "--out=b/b.safetensors", "--tta=flip"]
    assert run(*again) == 0
    assert "video_thresholds" not in checkpoint.load("b/b.safetensors")
    assert "none: films are judged by those of faces" in capsys.readouterr().out


def test_a_rule_that_wants_more_frames_says_so_at_once(trained, monkeypatch):
    trimmed = ["--prefix=log/trimmed", "--rule=trimmed"]
    assert train.main([*SMALL, "--data.train=all.csv", *trimmed]) == 0
    monkeypatch.setattr(calibrate.Judge, "score", None)
    with pytest.raises(UserError, match=r"films\.frames 8: 8 faces, and trimmed needs more"):
        run(*trimmed, "--films.frames=8")


def test_a_face_that_gives_no_film_is_named_and_none_at_all_is_refused(trained, monkeypatch):
    encoded, count = roundtrip._encoded, iter(range(10**6))

    def now_and_then(frames, crf):
        return [] if next(count) % 30 == 5 else encoded(frames, crf)

    monkeypatch.setattr(roundtrip, "_encoded", now_and_then)
    assert run("--films.frames=2", "--data.max_bad=0.3") == 0
    assert set(pd.read_csv(NEW.parent / "left_out.csv")["kind"]) == {"unreadable"}
    monkeypatch.setattr(roundtrip, "_encoded", lambda frames, crf: [])
    with pytest.raises(UserError, match=r"0 films made .* fit no limits"):
        run("--films.frames=2")


def test_a_moment_has_the_size_of_its_picture_and_always_the_same_pixels(tmp_path, portrait):
    file = tmp_path / "a.png"
    write_image(file, np.ascontiguousarray(portrait[:203, 100:301]))
    settings = Films(frames=4)
    shown = [Moment(number, settings)(str(file)) for number in range(3)]
    assert all(one.shape == (203, 201, 3) and one.dtype == np.uint8 for one in shown)
    again = Moment(1, settings)(str(file))
    np.testing.assert_array_equal(shown[1], again)
    assert (shown[0] != shown[1]).any()
    still = Films(frames=4, motion=0)
    one, other = Moment(0, still)(str(file)), Moment(3, still)(str(file))
    np.testing.assert_array_equal(one, other)  # compression and size are the film's


def test_harder_films_are_farther_from_the_photograph(tmp_path, portrait):
    file = tmp_path / "a.png"
    write_image(file, np.ascontiguousarray(portrait[:200, 100:300]))
    original = read_image(str(file)).astype(int)

    def away(**settings) -> float:
        fixed = {"h264": [18, 18], "resize": [1, 1], "motion": 0.0} | settings
        return float(np.abs(Moment(0, Films(frames=1, **fixed))(str(file)) - original).mean())

    assert away() < away(h264=[30, 30]) < away(h264=[40, 40])
    assert away() < away(resize=[0.5, 0.5]) < away(resize=[0.2, 0.2])
    assert away() < away(motion=4.0)


def test_frames_come_back_in_their_order():
    grey = [np.full((33, 40, 3), value, np.uint8) for value in (20, 90, 160, 230)]
    back = roundtrip.film(grey, 18)
    assert [one.shape for one in back] == [(33, 40, 3)] * 4
    assert [round(float(one.mean()), -1) for one in back] == [20, 90, 160, 230]


def test_a_film_that_lost_a_frame_is_no_film(monkeypatch):
    encoded = roundtrip._encoded
    monkeypatch.setattr(roundtrip, "_encoded", lambda frames, crf: encoded(frames[:1], crf))
    with pytest.raises(UnreadableImage, match="1 frames came back"):
        roundtrip.film([np.zeros((32, 32, 3), np.uint8)] * 2, 18)


# -------------------------------------------------------------------------------- refusals


def test_it_writes_beside_no_other_checkpoint(trained):
    before = {file: file.read_bytes() for file in BEST.parent.iterdir()}
    with pytest.raises(UserError, match=r"best\.pth, last\.pth, rows\.csv lies there"):
        run(f"--out={BEST.with_name('new.safetensors')}")
    assert {file: file.read_bytes() for file in BEST.parent.iterdir()} == before
    assert run() == 0
    with pytest.raises(UserError, match="is there already: name another file"):
        run(f"--test_checkpoint={NEW}")
    with pytest.raises(UserError, match="is there already: name another file"):
        Path("dir.safetensors").mkdir()
        run("--out=dir.safetensors")


def test_a_file_that_cannot_be_written_leaves_both_as_they_were(trained, monkeypatch):
    own(trained)
    assert run() == 0
    before = {file: file.read_bytes() for file in NEW.parent.iterdir()}

    def full(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(export, "write_safetensors", full)
    with pytest.raises(UserError, match="the disk is full"):
        run("--data.valid=own.csv")
    assert {file: file.read_bytes() for file in NEW.parent.iterdir()} == before


def test_nothing_named_and_no_row_to_validate(trained):
    with pytest.raises(UserError, match=r"nothing to calibrate on: name a CSV"):
        calibrate.main([*SMALL, "--prefix=log/run"])
    whole = pd.read_csv("all.csv")
    whole[whole["split"] != "val"].to_csv("none.csv", index=False)
    with pytest.raises(UserError, match=r"none\.csv: has splits, but no row of split `val`"):
        run("--data.valid=none.csv")


def test_fakes_without_a_score_fit_nothing(trained):
    table = own(trained, 48)
    fakes = table[table["label"] == 1]
    table.drop(index=fakes.index[1:]).to_csv("own.csv", index=False)
    Path(fakes["path"].iloc[0]).write_bytes(b"no picture")
    with pytest.raises(UserError, match="fit no limits: it takes reals and fakes with a score"):
        run("--data.valid=own.csv", "--data.max_bad=0.1")
    assert not NEW.exists()


def test_a_checkpoint_of_another_network_is_refused(trained):
    with pytest.raises(UserError, match="contradicts the configuration"):
        run("--input_size.height=32")
    with pytest.raises(UserError, match="no such checkpoint"):
        run("--prefix=log/nothing")


def test_one_class_alone_is_refused(trained):
    table = own(trained)
    table[table["label"] == 0].to_csv("own.csv", index=False)
    with pytest.raises(UserError, match="the calibration set has reals only"):
        run("--data.valid=own.csv")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--out=a.pth"], "out a.pth must end in .safetensors"),
        (["--checkpoint=a.pth"], "nothing is trained: empty it"),
        (["--films.h264=30,20"], "films.h264 [30.0, 20.0]: give a rising pair within 0..51"),
        (["--films.resize=0.5"], "films.resize"),
        (["--films.frames=-1"], "films.frames"),
        (["--tmp_data=8,3,16,16"], "random pictures calibrate nothing"),
    ],
)
def test_what_the_command_line_refuses(argv, says, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(Calibrate, argv, "")
    assert ended.value.code == 2 and says in capsys.readouterr().err
