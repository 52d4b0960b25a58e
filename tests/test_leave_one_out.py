"""Leave one out: nothing of a source trains, all of it is tested, and nothing is done twice."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import dataset
import judging
import leave_one_out
import manifest
import splits
import train
from flags import LeaveOneOut
from processes import Processes
from report import left_out, levels, tables
from report.result import Result
from settings import parse
from testing.held_out import held_out, names
from tests import sources_of_three
from tests.sources_of_three import SMALL
from thresholds import NO_THRESHOLDS, Thresholds
from utils import UserError


def rows(*given: tuple, **columns) -> pd.DataFrame:
    """Rows of source, label, split, identity and method, as manifest.read gives them."""
    frame = pd.DataFrame(given, columns=["source", "label", "split", "identity", "method"])
    frame = frame.assign(path=[f"/x/{i}.png" for i in range(len(frame))], **columns)
    return frame.reindex(columns=list(manifest.COLUMNS), fill_value="")


def paths(frame: pd.DataFrame) -> list[int]:
    return sorted(int(Path(path).stem) for path in frame["path"])


NONE = rows()
ALONE = Processes(torch.device("cpu"))
CALM = ["--scheduler.type=cosine", "--EARLY_STOPPING_EPOCH=0"]


# ----------------------------------------------------------------------------------- rows


def test_no_row_of_the_source_trains_and_all_of_them_test():
    frame = rows(
        ("a", 0, "train", "p1", ""), ("a", 1, "val", "p2", "swap"), ("a", 1, "test", "p3", "swap"),
        ("b", 0, "train", "p1", ""), ("b", 1, "val", "p2", "gan"), ("b", 0, "test", "p3", ""),
    )  # fmt: skip
    held = held_out(frame, NONE, "source", "a")
    # The same names of another source are other people; its test rows train nobody.
    assert paths(held.train) == [3, 4] and paths(held.test) == [0, 1, 2] and held.linked == 0
    assert (held.test["split"] == "").all() and held.train["split"].tolist() == ["train", "val"]


def test_rows_that_share_a_picture_with_the_source_do_not_train():
    frame = rows(
        ("a", 0, "train", "p1", ""), ("b", 1, "train", "q1", "swap"), ("b", 0, "train", "q1", ""),
        ("b", 0, "train", "q2", ""), source_path=["", "/x/0.png", "", ""],
    )  # fmt: skip
    held = held_out(frame, NONE, "source", "a")
    # 1 was three_sources from 0, and 2 shows the person of 1: links chain.
    assert paths(held.train) == [3] and paths(held.test) == [0] and held.linked == 2
    with pytest.raises(UserError, match="source b: nothing is left to train on"):
        held_out(frame.iloc[:3], NONE, "source", "b")


def test_another_manifest_that_validates_loses_the_source_too():
    frame = rows(("a", 0, "", "p1", ""), ("b", 1, "", "p2", "swap"))
    valid = rows(("a", 1, "", "p8", "gan"), ("b", 0, "", "p9", "")).assign(path=["/v/8", "/v/9"])
    held = held_out(frame, valid, "source", "a")
    assert paths(held.train) == [1] and paths(held.valid) == [9]
    assert set(held.test["path"]) == {"/x/0.png", "/v/8"}


@pytest.mark.parametrize("whose", ["train", "valid"])
def test_a_column_that_one_manifest_has_links_nobody_of_the_other(whose):
    frame = rows(*((source, 0, "", f"{source}{i}", "") for source in "ab" for i in range(4)))
    valid = rows(*((source, 0, "", f"v{source}{i}", "") for source in "ab" for i in range(2)))
    valid = valid.assign(path=[f"/v/{i}.png" for i in range(4)])
    if whose == "train":
        frame = frame.assign(near_duplicate_group=[f"g{i}" for i in range(8)])
    else:
        valid = valid.assign(near_duplicate_group=[f"g{i}" for i in range(4)])
    held = held_out(frame, valid, "source", "a")
    assert (len(held.train), len(held.valid), held.linked) == (4, 2, 0)


FAKES = {
    "none": {},
    "beside forged photographs": {"type": "blend", "pairs": True},
    "of reals alone": {"type": "blend", "pairs": True, "alone": True},
    "half of the reals": {"type": "warp", "alone": True},
}


@pytest.mark.parametrize("balance", ["none", "source_root", "source"])
@pytest.mark.parametrize("fakes", FAKES.values(), ids=FAKES)
def test_each_run_takes_about_as_many_steps_as_one_with_all_rows(fakes, balance):
    """Sources of reals alone, of both, of forged ones mostly; steps as train.py counts them."""
    kinds = {"reals": (300, 0), "both": (200, 250), "forged": (40, 400), "few": (30, 30)}
    frame = rows(*(
        (name, label, {0: "val", 1: "test"}.get(i % 10, "train"), f"{name}{label}{i}", "")
        for name, counts in kinds.items() for label in (0, 1) for i in range(counts[label])
    ))  # fmt: skip
    schedule = {"type": "cosine"}
    config = LeaveOneOut(
        num_epochs=6, same_steps=True, EARLY_STOPPING_EPOCH=0, batch_size=32, fakes=fakes,
        scheduler=schedule, data={"train": "x.csv", "balance": balance},
    )  # fmt: skip

    def steps(given: pd.DataFrame, epochs: int) -> int:
        kept = given[given["split"] == "train"]
        kept = kept[kept["label"] == 0] if config.fakes.alone else kept
        points = " ".join("1" * 10)
        kept = kept.assign(file=kept["path"], file_box="0 0 9 9", file_landmarks=points)
        order = dataset.training_order(dataset.training_set(kept, config), kept, config, ALONE)
        return epochs * len(order)

    of_all = steps(frame, 6)
    for name in kinds:
        held = held_out(frame, NONE, "source", name)
        run = leave_one_out.config_of(config, frame, held, Path("x"))
        assert steps(held.train, run.num_epochs) == pytest.approx(of_all, rel=0.13)
        plain = config.model_copy(update={"same_steps": False})
        assert leave_one_out.config_of(plain, frame, held, Path("x")).num_epochs == 6


@pytest.mark.parametrize("more", ["--scheduler.type=step", "--EARLY_STOPPING_EPOCH=3"])
def test_what_counts_epochs_is_refused_where_runs_take_more_of_them(more, capsys):
    with pytest.raises(SystemExit):
        parse(LeaveOneOut, ["--data.train=x.csv", "--same_steps=True", *CALM, more], "")
    assert "same_steps" in capsys.readouterr().err
    parse(LeaveOneOut, ["--data.train=x.csv", "--same_steps=True", *CALM], "")


def test_a_method_is_tested_against_reals_of_the_test_split():
    frame = rows(
        ("a", 0, "train", "p1", ""), ("a", 1, "train", "p1", "swap"),
        ("a", 1, "train", "p1", "gan"), ("a", 0, "test", "p2", ""), ("a", 1, "test", "p2", "swap"),
        ("a", 1, "test", "p2", "gan"), ("a", 1, "train", "p4", "gan"),
        ("b", 0, "test", "p3", ""), ("b", 0, "val", "p5", ""),
    )  # fmt: skip
    held = held_out(frame, NONE, "method", "gan")
    assert paths(held.train) == [0, 1, 8]
    # 2 shows a person who trains; 6 nobody else; b has no fake of this method.
    assert paths(held.test) == [3, 5, 6] and held.linked == 1
    with pytest.raises(UserError, match=r"data\.train has no test rows"):
        held_out(frame[frame["split"] != "test"], NONE, "method", "gan")
    with pytest.raises(UserError, match="each of its rows shares a person"):
        held_out(frame.drop(index=[5, 6]), NONE, "method", "gan")


def test_both_sides_share_nothing_whatever_the_rows():
    random = np.random.default_rng(0)
    for _ in range(25):
        given = []
        for _ in range(40):
            label = int(random.integers(2))
            person = int(random.integers(12))
            split = ("train", "val", "test")[person % 3]
            name = random.choice(["swap", "gan"]) if label else ""
            given.append((random.choice(["a", "b"]), label, split, f"p{person}", name))
        frame = rows(*given)
        for by in ("source", "method"):
            for name in names(frame, by, []):
                try:
                    held = held_out(frame, NONE, by, name)
                except UserError:
                    continue
                assert splits.leaks(held.train, held.test) == []
                assert not set(held.train["path"]) & set(held.test["path"])
                assert not (held.train[by] == name).any() and (held.train["split"] != "test").all()


def test_what_can_be_left_out():
    frame = rows(("celeb", 0, "", "", ""), ("dfdc", 1, "", "", "swap"), ("", 1, "", "", "gan"))
    assert names(frame, "source", []) == ["celeb", "dfdc"]
    assert names(frame, "method", ["gan"]) == ["gan"]
    with pytest.raises(UserError, match=r"no source 'celebs' in data\.train; did you mean celeb"):
        names(frame, "source", ["celebs"])
    with pytest.raises(UserError, match="there are celeb, dfdc"):
        names(frame, "source", ["qqq"])
    with pytest.raises(UserError, match="names only gan: to leave one out it takes two"):
        names(frame.iloc[2:], "method", [])


# ---------------------------------------------------------------------------------- table


def result(labels: tuple[int, ...], stored: float = 0.4) -> Result:
    truth = np.resize(labels, 40)
    scores = np.clip(np.random.default_rng(0).normal(0.3 + 0.4 * truth, 0.2), 0, 1)
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(40)], "label": truth, "score": scores})
    limits = Thresholds(stored, 0.2, 0.6, "20 validation faces of v.csv")
    return Result(levels.judged(frame, limits, 50, "faces"), None, (), ())


def test_a_source_of_one_class_has_no_invented_auc(tmp_path):
    results = {"both": result((0, 1)), "london": result((0,)), "gans": result((1,))}
    said = left_out.write(tmp_path, "source", results, {"odd": "no rows"}, "Tiny")
    table = pd.read_csv(tmp_path / "leave_one_out.csv").set_index("left_out")
    assert np.isnan(table.loc[["london", "gans"], ["auc", "eer"]].to_numpy(float)).all()
    assert np.isfinite(table.loc["both", ["auc", "auc_low", "auc_high", "eer"]].astype(float)).all()
    at = {name: one.faces.at_stored for name, one in results.items()}
    assert table.loc["london", "false_positive_rate"] == at["london"]["false_positive_rate"]
    assert np.isnan(table.loc["london", "recall"]) and np.isnan(
        table.loc["gans", "false_positive_rate"]
    )
    assert table.loc["gans", "recall"] == at["gans"]["recall"]
    assert table.loc["mean of all", "auc"] == table.loc["both", "auc"]
    alarms = (at["both"]["false_positive_rate"], at["london"]["false_positive_rate"])
    assert table.loc["mean of all", "false_positive_rate"] == pytest.approx(np.mean(alarms))
    assert "AUC 1, EER 1, False alarms 2, Recall 2, Reals with signs 2, Fakes with signs 2" in said
    assert "odd has no row: no rows" in said
    page = (tmp_path / "leave_one_out.html").read_text()
    assert 'href="both/test/report.html"' in page and "undefined" in page
    assert "\\begin{tabular}" in (tmp_path / "leave_one_out.tex").read_text()


def test_signs_are_counted_as_verdicts_count_them():
    """Above the upper limit; a score that is the limit, or that no limit judges, is none."""
    labels, scores = np.repeat([0, 1], 5), np.array([0.1, 0.6, 0.7, 0.5, 0.2] * 2)
    scores[5:] += [0, 0, 0, 0.2, 0.5]
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(10)], "label": labels})
    frame["score"] = scores
    for high, signs in ((0.6, (0.2, 0.6)), (float("nan"), (np.nan, np.nan))):
        level = levels.judged(frame, Thresholds(0.4, 0.3, high, "v.csv"), 50, "faces")
        table = left_out.across("source", {"one": Result(level, None, (), ())}, {})["faces"]
        row, mean = tables.records(table)
        found = row["signs_false_positive_rate"], row["signs_recall"]
        assert found == pytest.approx(signs, nan_ok=True)
        assert (mean["signs_false_positive_rate"], mean["signs_recall"]) == found or np.isnan(high)
        assert row["false_positive_rate"] == 0.6
    # Films without limits of their own are judged by those of faces.
    none, faces = NO_THRESHOLDS, judging.Limits(0.3, 0.6, "face", "v.csv")
    level = levels.judged(frame, none, 50, "videos", faces)
    row, _ = tables.records(
        left_out.across("source", {"a": Result(level, None, (), ())}, {})["faces"]
    )
    assert (row["signs_false_positive_rate"], row["signs_recall"]) == (0.2, 0.6)
    assert np.isnan(row["recall"])


# -------------------------------------------------------------------------------- command


@pytest.fixture
def three_sources(tmp_path: Path, networks_with_tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sources_of_three.write(tmp_path)
    return tmp_path


def run(*more: str, prefix: str = "log/loso") -> int:
    return leave_one_out.main([*SMALL, "--data.train=all.csv", f"--prefix={prefix}", *more])


def test_finished_runs_of_other_limits_do_not_stand_in_one_table(three_sources, capsys):
    assert run("--only=alpha") == 0
    before = Path("log/loso/leave_one_out.csv").read_bytes()
    capsys.readouterr()
    assert run("--only=alpha", "--limits.alarms=.3") == 2
    said = capsys.readouterr().out
    assert "limits.alarms: 0.3 is not used: the checkpoint's is 0.05" in said
    assert "choose another --prefix, with --members for the same networks" in said
    assert run("--only=alpha") == 0
    assert Path("log/loso/leave_one_out.csv").read_bytes() == before


def test_each_source_in_turn_and_nothing_twice(three_sources, monkeypatch, capsys):
    assert run("--only=alpha") == 0
    assert sorted(p.name for p in Path("log/loso").iterdir() if p.is_dir()) == ["alpha"]
    capsys.readouterr()
    trained: list[str] = []
    real = train.Trainer.fit
    monkeypatch.setattr(
        train.Trainer, "fit", lambda self, *a: (trained.append(self.run.name), real(self, *a))[1]
    )
    assert run() == 0
    said = capsys.readouterr().out
    assert trained == ["beta", "reals"]  # alpha was
    assert "alpha: this run is finished" in said.replace("log/loso/", "")
    table = pd.read_csv("log/loso/leave_one_out.csv").set_index("left_out")
    assert table.index.tolist() == ["alpha", "beta", "reals", "mean of all"]
    assert table.loc[["alpha", "beta", "reals"], "real"].astype(int).tolist() == [12, 12, 24]
    assert table.loc[["alpha", "beta", "reals"], "fake"].astype(int).tolist() == [12, 12, 0]
    assert np.isfinite(table.loc[["alpha", "beta"], "auc"]).all() and np.isnan(
        table.loc["reals", "auc"]
    )
    assert np.isfinite(table.loc["reals", "false_positive_rate"])
    for name in ("alpha", "beta", "reals"):
        own = manifest.read(f"log/loso/{name}/train.csv").rows
        assert name not in set(own["source"]) and set(own["split"]) == {"train", "val"}
        tested = pd.read_csv(f"log/loso/{name}/test/scores.csv")
        assert set(tested["source"]) == {name} and len(tested) == 24
    trained.clear()
    stamp = Path("log/loso/beta/test/scores.csv").stat().st_mtime_ns
    assert run() == 0 and trained == []
    assert Path("log/loso/beta/test/scores.csv").stat().st_mtime_ns == stamp
    assert run("--subgroups=method") == 0 and trained == []  # tested anew for that
    assert "method" in json.loads(Path("log/loso/beta/test/metrics.json").read_text())["subgroups"]
    stamp = Path("log/loso/beta/test/scores.csv").stat().st_mtime_ns
    for fewer in ((), ("--subgroups=method",)):
        assert run("--only=beta", *fewer) == 0
        assert Path("log/loso/beta/test/scores.csv").stat().st_mtime_ns == stamp


def test_other_rows_want_another_folder_and_the_others_go_on(three_sources, capsys):
    assert run("--only=alpha") == 0
    whole = pd.read_csv("all.csv")
    whole[(whole["source"] != "beta") | (whole["label"] == 0)].to_csv("all.csv", index=False)
    assert run("--only", "alpha", "reals") == 2
    said = capsys.readouterr().out
    assert "alpha has no row: log/loso/alpha: data.train or what is left out of it changed" in said
    table = pd.read_csv("log/loso/leave_one_out.csv")
    assert "alpha" not in table["left_out"].tolist()


@pytest.mark.parametrize("group", ["", "g1"])
def test_it_says_where_copies_of_a_picture_are_not_known(three_sources, capsys, group):
    whole = pd.read_csv("all.csv")
    alike = np.where(whole.index == 0, group, "")
    whole.assign(near_duplicate_group=alike).to_csv("all.csv", index=False)
    assert run("--only=alpha") == 0
    assert ("names no pictures that look alike" in capsys.readouterr().out) == (not group)


def test_a_method_is_left_out(three_sources):
    assert run("--by=method", "--only=beta", prefix="log/lomo") == 0
    own = manifest.read("log/lomo/beta/train.csv").rows
    assert set(own["method"]) == {"", "alpha"} and "beta" in set(own["source"])
    tested = pd.read_csv("log/lomo/beta/test/scores.csv", keep_default_na=False)
    assert set(tested["method"]) == {"", "beta"} and set(tested["source"]) == {"beta"}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--checkpoint=a.pth"], "checkpoint a.pth: each of the runs begins anew"),
        (["--test_checkpoint=a.pth"], "test_checkpoint a.pth"),
        (["--tmp_data=8,3,16,16"], "tmp_data"),
        (["--by=person"], "'source' or 'method'"),
    ],
)
def test_what_the_command_line_refuses(argv, says, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(LeaveOneOut, argv, "")
    assert ended.value.code == 2 and says in capsys.readouterr().err


def test_without_sources_there_is_nothing_to_leave_out(three_sources):
    pd.read_csv("all.csv").drop(columns="source").to_csv("all.csv", index=False)
    with pytest.raises(UserError, match="names none: to leave one out it takes two"):
        run()
    with pytest.raises(UserError, match=r"data\.train is empty"):
        leave_one_out.main(["--prefix=log/x"])
