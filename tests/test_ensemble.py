"""Several networks side by side: the mean of what they say, in one checkpoint."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import calibrate
import checkpoint
import ensemble
import leave_one_out
import networks
import test as testing_command
import train
from flags import InputSize, Model
from tests import sources_of_three
from tests.sources_of_three import SMALL
from utils import UserError

LITE = [
    *SMALL, "--network=EfficientNetLite", "--model.variant=0", "--input_size.height=32",
    "--input_size.width=32",
]  # fmt: skip
FILES = [Path(f"log/{name}/checkpoints/best.pth") for name in ("one", "other")]
JOINED = Path("joined/detector.safetensors")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Two runs of one recipe from two seeds, an epoch each."""
    folder = tmp_path_factory.mktemp("ensemble")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sources_of_three.write(folder)
        for seed, file in enumerate(FILES):
            run = file.parent.parent
            argv = [*LITE, "--data.train=all.csv", f"--prefix={run}", f"--seed={seed}"]
            assert train.main(argv) == 0
    return folder


@pytest.fixture
def runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


def copies(folder: Path, file: Path, count: int) -> list[Path]:
    """Checkpoints that differ in nothing but their number of epochs."""
    files = [folder / f"{file.parent.parent.name}{number}.pth" for number in range(count)]
    for number, copy in enumerate(files):
        checkpoint.save(copy, checkpoint.load(file) | {"epoch": number})
    return files


def join(*more: str) -> int:
    options = ["--data.train=all.csv", "--prefix=log/one", f"--members={FILES[1]}"]
    return calibrate.main([*LITE, *options, f"--out={JOINED}", *more])


def pictures(count: int = 5) -> torch.Tensor:
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))


def test_it_says_the_mean_of_what_its_members_say(runs):
    state = ensemble.join(FILES)
    with torch.no_grad():
        alone = [checkpoint.network_of(checkpoint.load(file))(pictures()) for file in FILES]
        together = checkpoint.network_of(state)(pictures())
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)
    torch.testing.assert_close(together, torch.stack(alone).mean(dim=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_calibrated_it_is_a_checkpoint_like_any_other(runs, capsys, half):
    assert join(f"--half={half}", "--tta=flip") == 0
    assert "faces, before" in capsys.readouterr().out
    state = checkpoint.load(JOINED)
    assert state["network"]["variant"] == "0x2" and state["tta"] == "flip"
    assert state["network"]["parameters"] == checkpoint.network_of(state).parameter_count()
    kinds = {value.dtype for value in state["weights"].values() if value.is_floating_point()}
    assert kinds == {torch.float16 if half else torch.float32}
    assert [one["epoch"] for one in state["members"]] == [1, 1]
    assert state["thresholds"]["data"].endswith("validation faces of all.csv")
    assert checkpoint.main([str(JOINED)]) == 0
    assert "2 networks side by side" in capsys.readouterr().out
    # Its limits are those of its own scores, which test.py sees too, with heatmaps and a report.
    argv = [*LITE, "--prefix=log/one", f"--test_checkpoint={JOINED}", "--data.test=all.csv"]
    assert testing_command.main([*argv, "--cam"]) == 0
    scored = pd.read_csv("log/one/test/scores.csv")
    assert len(scored) and scored["score"].notna().all()
    page = Path("log/one/test/report.html").read_text(encoding="utf-8")
    assert "1 and 1" in page and "each has learning curves of its own" in page
    assert "No epoch has been finished" not in page


def test_what_trained_any_member_is_refused_as_a_test(runs):
    rows = pd.read_csv("all.csv")
    seen = rows[rows["split"] == "train"].index
    # The second was trained on a few rows that the first never saw.
    few, rest = rows.drop(seen[:4]), rows.copy()
    few.to_csv("few.csv", index=False)
    argv = [*LITE, "--data.train=few.csv", "--prefix=log/few"]
    assert train.main(argv) == 0
    options = ["--prefix=log/few", f"--members={FILES[1]}", "--out=both/detector.safetensors"]
    assert calibrate.main([*LITE, "--data.train=few.csv", *options]) == 0
    rest.loc[seen[:4]].drop(columns="split").to_csv("new_to_one.csv", index=False)
    argv = [*LITE, "--prefix=log/few", "--data.test=new_to_one.csv"]
    assert testing_command.main(argv) == 0
    with pytest.raises(UserError, match="was trained or validated on some of these rows"):
        testing_command.main([*argv, "--test_checkpoint=both/detector.safetensors"])


def test_an_ensemble_is_trained_on_from_its_file(runs):
    assert join("--half=True") == 0
    argv = [*LITE, "--data.train=all.csv", "--prefix=log/tuned", "--model.variant=0x2"]
    assert train.main([*argv, f"--model.weights={JOINED}"]) == 0
    state = checkpoint.load("log/tuned/checkpoints/best.pth")
    assert state["network"]["variant"] == "0x2" and "members" not in state
    assert {v.dtype for v in state["weights"].values() if v.is_floating_point()} == {torch.float32}


def test_its_heatmaps_see_all_members():
    network = networks.build("EfficientNetLite", Model(variant="0x3"), 2, 0.0, InputSize())
    seen = []
    network.heatmap_layer.register_forward_hook(lambda _, __, maps: seen.append(maps.shape))
    network(torch.zeros(2, 3, 224, 224))
    assert seen == [(2, 3 * 1280, 7, 7)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--face.margin=10%"], "crop.margin differ"),
        (["--tta=flip"], "tta differ"),
        (["--data.num_classes=1"], "network.num_classes differ"),
        (["--model.variant=1"], "network.variant differ"),
    ],
)
def test_strangers_are_refused(runs, change, words):
    run = f"log/stranger{'_'.join(change).replace('=', '_').replace('%', '')}"
    assert train.main([*LITE, "--data.train=all.csv", f"--prefix={run}", *change]) == 0
    with pytest.raises(UserError, match=words):
        ensemble.join([FILES[0], Path(run) / "checkpoints" / "best.pth"])


def test_what_an_older_member_does_not_say_is_what_it_meant(runs, tmp_path):
    state = checkpoint.load(FILES[1])
    del state["tta"], state["crop"]["align"]
    checkpoint.save(tmp_path / "best.pth", state)
    assert ensemble.join([FILES[0], tmp_path / "best.pth"])["tta"] == "none"


def test_members_that_score_in_different_ways_are_told_how_together(runs, tmp_path):
    checkpoint.save(tmp_path / "best.pth", checkpoint.load(FILES[1]) | {"tta": "flip"})
    assert ensemble.join([FILES[0], tmp_path / "best.pth"], "crops10")["tta"] == "crops10"


def test_one_checkpoint_is_no_second_member_of_itself(runs):
    with pytest.raises(UserError, match="one checkpoint twice"):
        ensemble.join([FILES[0], FILES[0]])


def other(runs: Path) -> pd.DataFrame:
    """Another run, which trains on what the first two validated on, and the rows of all."""
    rows = pd.read_csv("all.csv")
    turned = rows.assign(split=rows["split"].replace({"train": "val", "val": "train"}))
    turned.to_csv("turned.csv", index=False)
    if not Path("log/turned").exists():
        argv = [*LITE, "--data.train=turned.csv", "--prefix=log/turned"]
        assert train.main(argv) == 0
    return rows


def test_what_trained_one_member_and_validated_another_calibrates_neither(runs):
    rows = other(runs)
    own = rows[rows["split"] == "test"].drop(columns="split")
    own.to_csv("own.csv", index=False)
    members = f"--members={Path('log/turned/checkpoints/best.pth')}"
    argv = [*LITE, "--prefix=log/one", "--data.valid=own.csv", members, "--out=two/a.safetensors"]
    assert calibrate.main(argv) == 0
    rows[rows["split"] == "val"].drop(columns="split").to_csv("val.csv", index=False)
    again = ["--test_checkpoint=two/a.safetensors", "--data.valid=val.csv"]
    with pytest.raises(UserError, match="was trained on some of these rows"):
        calibrate.main([*LITE, "--prefix=log/one", *again, "--out=three/a.safetensors"])


def test_a_member_of_which_nobody_knows_hides_no_other(runs, tmp_path):
    other(runs)
    checkpoint.save(tmp_path / "best.pth", checkpoint.load(FILES[1]))  # no rows.csv beside it
    members = f"--members={tmp_path / 'best.pth'},log/turned/checkpoints/best.pth"
    argv = [*LITE, "--prefix=log/one", "--data.train=all.csv", members]
    with pytest.raises(UserError, match=r"log/turned.*was trained on some of these rows"):
        calibrate.main([*argv, "--out=four/a.safetensors"])


def test_so_many_or_such_networks_side_by_side_there_are_not(runs, networks_with_tiny, tmp_path):
    with pytest.raises(UserError, match=r"no variant 0x4, it has .*0x2, 0x3"):
        ensemble.join(copies(tmp_path, FILES[0], 4))
    assert train.main([*SMALL, "--data.train=all.csv", "--prefix=log/tiny"]) == 0
    with pytest.raises(UserError, match="side by side: Tiny has no variant"):
        ensemble.join(copies(tmp_path, Path("log/tiny/checkpoints/best.pth"), 2))


def test_weights_that_half_precision_cannot_hold_are_refused(runs):
    with pytest.raises(UserError, match="float16 cannot hold, as large"):
        ensemble.in_half({"small": torch.ones(2), "large": torch.tensor([1e6])}, "best.pth")
    held = ensemble.in_half({"value": torch.tensor([0.1]), "count": torch.tensor(3)}, "best.pth")
    assert held["value"].dtype == torch.float16 and held["count"].dtype == torch.int64


# ------------------------------------------------------------------------------- left out


LEFT_OUT = [*LITE, "--data.train=all.csv", "--only=alpha,beta"]


@pytest.fixture(scope="module")
def left_out_runs(tmp_path_factory) -> Path:
    """Two calls of leave_one_out.py, whose networks are of the kind that stands side by side."""
    folder = tmp_path_factory.mktemp("left_out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sources_of_three.write(folder)
        for seed in (0, 1):
            argv = [*LEFT_OUT, f"--prefix=log/{seed}", f"--seed={seed}"]
            assert leave_one_out.main(argv) == 0
    return folder


@pytest.fixture
def left_out(left_out_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What to type for both together, in a folder of the test's own that has those runs."""
    shutil.copytree(left_out_runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return [*LEFT_OUT, "--members=log/0,log/1", "--prefix=log/both"]


def test_sources_left_out_are_tested_by_all_networks_that_never_saw_them(left_out, capsys):
    assert leave_one_out.main(left_out) == 0
    assert "networks side by side, those of log/0 and log/1" in capsys.readouterr().out
    table = pd.read_csv("log/both/leave_one_out.csv")
    assert table["left_out"].tolist() == ["alpha", "beta", "mean of all"]
    # Its score of a face is the mean of its members' logits.
    scored = [pd.read_csv(f"log/{name}/alpha/test/scores.csv") for name in ("0", "1", "both")]
    logits = [np.log(one["score"] / (1 - one["score"])) for one in scored]
    np.testing.assert_allclose(logits[2], (logits[0] + logits[1]) / 2, atol=1e-4)
    assert not Path("log/both/alpha/checkpoints").exists()  # nothing was trained
    # The same call does nothing anew; other members do.
    file = Path("log/both/alpha/calibrated/best.safetensors")
    before = file.stat().st_mtime_ns
    assert leave_one_out.main(left_out) == 0 and file.stat().st_mtime_ns == before
    turned = [a.replace("log/0,log/1", "log/1,log/0") for a in left_out]
    assert leave_one_out.main(turned) == 0 and file.stat().st_mtime_ns > before


def test_a_network_that_saw_the_source_is_not_tested_on_it(left_out, capsys):
    argv = [*LITE, "--data.train=all.csv", "--prefix=log/knows/alpha"]
    assert train.main(argv) == 0
    knowing = [a.replace("log/0,log/1", "log/0,log/knows") for a in left_out]
    assert leave_one_out.main(knowing) == 2
    said = capsys.readouterr().out
    assert "alpha: " in said and "was trained or validated on some of these rows" in said
    assert "log/knows/beta/checkpoints/best.pth: no such checkpoint" in said


def test_other_rows_or_another_tta_are_tested_anew(left_out):
    assert leave_one_out.main(left_out) == 0
    file = Path("log/both/alpha/calibrated/best.safetensors")
    first = checkpoint.load(file)
    assert leave_one_out.main([*left_out, "--tta=flip"]) == 0
    assert checkpoint.load(file)["tta"] == "flip" != first["tta"]
    rows = pd.read_csv("all.csv")
    fewer = rows.drop(rows[(rows["source"] == "beta") & (rows["split"] == "val")].index[:2])
    fewer.to_csv("all.csv", index=False)
    assert leave_one_out.main(left_out) == 0
    now, before = (
        state["thresholds"]["data"].split()[0] for state in (checkpoint.load(file), first)
    )
    assert int(now) == int(before) - 2


def test_one_member_alone_is_tested_by_limits_as_strict_as_asked(left_out, capsys):
    alone = [a.replace("log/0,log/1", "log/0") for a in left_out]
    assert leave_one_out.main(alone) == 0
    assert "the network of log/0, by limits that were fitted anew" in capsys.readouterr().out
    file = Path("log/both/alpha/calibrated/best.safetensors")
    first, before = checkpoint.load(file), file.stat().st_mtime_ns
    scored = [pd.read_csv(f"log/{name}/alpha/test/scores.csv")["score"] for name in ("0", "both")]
    np.testing.assert_allclose(scored[0], scored[1], atol=1e-5)
    assert leave_one_out.main(alone) == 0 and file.stat().st_mtime_ns == before
    assert leave_one_out.main([*alone, "--limits.alarms=.5"]) == 0
    strict, loose = first["thresholds"], checkpoint.load(file)["thresholds"]
    assert (strict["alarms"], loose["alarms"]) == (0.05, 0.5)
    assert loose["t_high"] < strict["t_high"] and loose["threshold"] == strict["threshold"]


def test_a_member_of_which_nobody_knows_what_it_saw_is_not_tested(left_out, capsys):
    Path("log/1/alpha/checkpoints/rows.csv").unlink()
    assert leave_one_out.main(left_out) == 2
    assert "nobody can tell whether it saw what is tested" in capsys.readouterr().out


@pytest.mark.parametrize("members", ["log/both", "log/0,log/both", "log/0,./log/both/"])
def test_members_that_are_none_are_refused(left_out, members, capsys):
    with pytest.raises(SystemExit):
        leave_one_out.main([a.replace("log/0,log/1", members) for a in left_out])
    assert "members: " in capsys.readouterr().err
