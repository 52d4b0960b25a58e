"""Runs side by side: what differs, by more than chance or not, and what cannot be compared."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metrics
import test as test_command
from report import compare
from report.tables import Value
from utils import UserError


def faces(n: int = 120, noise: float = 0.25, seed: int = 0, **columns) -> pd.DataFrame:
    labels = np.arange(n) % 2
    scores = np.clip(np.random.default_rng(seed).normal(0.3 + 0.4 * labels, noise), 0, 1)
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(n)], "label": labels, "score": scores})
    return table.assign(identity=[f"p{i // 4}" for i in range(n)], **columns)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that writes a tested run and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(
        name: str, frame: pd.DataFrame, settings: str = "", test: str = "test", **about
    ) -> str:
        folder = Path("log", name, test)
        folder.mkdir(parents=True)
        frame.to_csv(folder / "scores.csv", index=False)
        if about:
            (folder / "metrics.json").write_text(json.dumps(about))
        if settings:
            Path("log", name, "config.yaml").write_text(settings)
        return f"log/{name}"

    return write


def compared(capsys, *runs: str, resamples: int = 200) -> str:
    assert test_command.main(["--compare", *runs, "--bootstrap", str(resamples)]) == 0
    return capsys.readouterr().out


# ----------------------------------------------------------------------- paired bootstrap


def test_a_run_and_itself_differ_by_nothing():
    frame = faces()
    for low, high in compare.paired(frame, frame["score"].to_numpy(), 50).values():
        assert low == high == 0


def test_pairing_sees_what_two_intervals_do_not():
    """A slightly better detector: the intervals of both overlap, the difference's is above 0."""
    frame = faces(400, noise=0.3)
    better = np.clip(frame["score"] + 0.04 * (2 * frame["label"] - 1), 0, 1).to_numpy()
    one = metrics.summarise(frame, resamples=200)
    two = metrics.summarise(frame.assign(score=better), resamples=200)
    assert one.intervals["auc"][1] > two.intervals["auc"][0]
    low, high = compare.paired(frame, better, 200)["auc"]
    assert low > 0 and low < two.values["auc"] - one.values["auc"] < high


def test_draws_that_are_all_equal_are_blind_and_no_proof():
    frame = pd.DataFrame({
        "path": [f"{i}.png" for i in range(8)], "label": [0, 0, 1, 1] * 2,
        "score": [0.1, 0.2, 0.3, 0.9] * 2, "identity": ["anna"] * 4 + ["ben"] * 4,
    })  # fmt: skip
    better = np.where(frame["label"] == 1, 0.9, 0.1)
    found = compare.paired(frame, better, 200)
    for key in ("accuracy", "recall"):  # two persons, of whom each says the same
        assert np.isnan(found[key]).all()
        words = compare.beyond_chance(key, Value(0.25, *found[key]))
        assert words == "unknown: no interval"
    assert found["precision"] == (0, 0)


def test_the_difference_turned_round_has_its_signs_turned():
    frame, other = faces(), faces(seed=1)["score"].to_numpy()
    there = compare.paired(frame, other, 100)
    back = compare.paired(frame.assign(score=other), frame["score"].to_numpy(), 100)
    for key, (low, high) in there.items():
        assert back[key] == pytest.approx((-high, -low), nan_ok=True)


def test_equally_good_detectors_differ_by_chance():
    """Of 40 pairs about 2 differ by more than chance; 8 and more would be one in a thousand."""
    found = 0
    for seed in range(40):
        frame = faces(seed=2 * seed)
        low, high = compare.paired(frame, faces(seed=2 * seed + 1)["score"].to_numpy(), 100)["auc"]
        found += not low <= 0 <= high
    assert found < 8


@pytest.mark.parametrize(
    ("key", "ends", "words"),
    [
        ("auc", (0.1, 0.2), "yes: better"),
        ("auc", (-0.2, -0.1), "yes: worse"),
        ("eer", (0.1, 0.2), "yes: worse"),
        ("log_loss", (-0.2, -0.1), "yes: better"),
        ("auc", (-0.1, 0.2), "no"),
        ("auc", (0.0, 0.2), "no"),
        ("auc", (0.0, 0.0), "no: equal in every draw"),
        ("auc", (np.nan, np.nan), "unknown: no interval"),
    ],
)
def test_what_chance_is_called(key, ends, words):
    assert compare.beyond_chance(key, compare.Value(0.1, *ends)) == words


# ----------------------------------------------------------------------------- the command


def test_two_runs_are_compared_in_words_numbers_and_files(run, capsys):
    one = run(
        "one", faces(noise=0.2), "optimizer:\n  lr: 0.1\nseed: 1\nprefix: log/one\n", data="a.csv"
    )
    two = run(
        "two", faces(noise=0.6), "optimizer:\n  lr: 0.2\nseed: 1\nprefix: log/two\n", data="a.csv"
    )
    out = compared(capsys, one, two)
    assert re.search(r"^ optimizer.lr +0.1 +0.2$", out, re.M)
    assert "seed" not in out and " prefix" not in out
    assert re.search(r"^ AUC .* -0\.\d+ \[-.*yes: worse$", out, re.M)
    assert "120 faces in common" in out and "bootstrap by identity" in out
    assert "log/one: 120 faces of a.csv" in out
    table = pd.read_csv("log/compare/compare.csv")
    rows = table[table["metric"] == "auc"].set_index("run")
    frames = [metrics.read_scores(f"{name}/test/scores.csv") for name in (one, two)]
    values = [metrics.summarise(frame, resamples=0).values["auc"] for frame in frames]
    assert rows.loc[[one, two], "value"].tolist() == values
    assert rows.loc[two, "difference"] == pytest.approx(values[1] - values[0])
    assert rows.loc[two, "difference_low"] < rows.loc[two, "difference_high"] < 0
    assert (set(table["metric"]), len(table)) == (set(compare.COMPARED), 2 * len(compare.COMPARED))
    page = Path("log/compare/compare.html").read_text()
    assert "more than chance." in page and "optimizer.lr" in page and "<script" not in page
    assert page.count("data:image/svg+xml") == 1


def test_more_than_two_runs_are_told_of_luck(run, capsys):
    names = [run(name, faces(seed=i)) for i, name in enumerate(("a", "b", "c"))]
    out = compared(capsys, *names)
    assert "nothing is corrected" in out and "2 runs being compared with one" in out
    assert out.count("against log/a") == 2
    assert "being compared" not in compared(capsys, *names[:2])
    assert "no config.yaml was found" in out


def test_only_rows_in_common_count_whatever_their_order(run, capsys):
    whole = faces()
    one = run("one", whole)
    two = run("two", faces(seed=1).iloc[::-1].head(100))
    out = compared(capsys, one, two)
    assert "100 faces in common" in out and "log/two: 100 faces" in out
    shared, _ = compare.in_common([compare.read_run(name) for name in (one, two)])
    assert shared[0].frame["path"].tolist() == shared[1].frame["path"].tolist()
    assert shared[0].frame["score"].tolist() == whole["score"].tail(100).tolist()


def test_faces_of_one_picture_are_told_apart_by_their_boxes(run):
    frame = faces(4).assign(path="a.png", box=["0 0 1 1", "0 0 2 2", "0 0 3 3", "0 0 4 4"])
    runs = [compare.read_run(run(name, frame)) for name in ("one", "two")]
    shared, _ = compare.in_common(runs)
    assert len(shared[0].frame) == 4
    twice = compare.read_run(run("twice", frame.assign(box="")))
    with pytest.raises(UserError, match=r"names faces twice: a\.png"):
        compare.in_common([twice, runs[0]])


def test_rows_that_are_labelled_differently_are_left_out_and_counted(run, capsys):
    frame = faces()
    turned = frame.assign(label=[1 - v if i < 3 else v for i, v in enumerate(frame["label"])])
    out = compared(capsys, run("one", frame), run("two", turned))
    assert "117 faces in common" in out and "3 faces are left out: their labels differ" in out


def test_one_collection_of_several_is_compared_by_its_folder(run, capsys):
    for name in ("one", "two"):
        run(name, faces(), "seed: 1\n", test="test/celeb")
    with pytest.raises(UserError, match=r"several collections.*log/one/test/celeb"):
        test_command.main(["--compare", "log/one", "log/two"])
    out = compared(capsys, "log/one/test/celeb", "log/two/test/celeb")
    assert "All settings are the same." in out and "no: equal in every draw" in out


def test_names_of_data_that_differ_are_said(run, capsys):
    out = compared(capsys, run("one", faces(), data="a.csv"), run("two", faces(), data="b.csv"))
    assert "equal paths were taken as one face" in out


def test_without_draws_nothing_is_claimed(run, capsys):
    out = compared(capsys, run("one", faces()), run("two", faces(seed=1)), resamples=0)
    assert "unknown: no interval" in out and "yes:" not in out
    page = Path("log/compare/compare.html").read_text()
    assert "nobody can tell" in page


def test_what_cannot_be_compared_says_why(run):
    one = run("one", faces(), data="a.csv")
    other = faces().assign(path=[f"other/{i}.png" for i in range(120)])
    for name, says in (
        (run("two", other, data="b.csv"), r"no row in common.*log/two: 120 rows of b\.csv"),
        (run("three", faces().assign(label=1 - faces()["label"])), "no row with the same label"),
        ("log", r"log: no test/scores\.csv"),
        ("nowhere", r"nowhere: no test/scores\.csv"),
    ):
        with pytest.raises(UserError, match=says):
            test_command.main(["--compare", one, name])
    run("four", pd.DataFrame({"path": ["a"], "label": [2], "score": [0.5]}))
    with pytest.raises(UserError, match="row 2: label '2'"):
        test_command.main(["--compare", one, "log/four"])
    run("five", faces(), settings="a: b: c\n")
    with pytest.raises(UserError, match="not a YAML"):
        test_command.main(["--compare", one, "log/five"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--compare", "log/one"], "give two runs or more"),
        (["--compare", "log/one", "log/one"], "each once"),
        (["--compare", "log/one", "log/two", "--cam"], "--cam: unknown key"),
        (["--compare"], "expected at least one argument"),
    ],
)
def test_a_wrong_command_line_ends_with_status_2(words, says, capsys):
    with pytest.raises(SystemExit) as ended:
        test_command.main(words)
    assert ended.value.code == 2 and says in capsys.readouterr().err


def test_hostile_names_stay_text(run, capsys):
    name = "<script>alert(1)<x>&$a_b$"
    compared(capsys, run("one", faces()), run(name, faces(seed=1)))
    assert "<script" not in Path("log/compare/compare.html").read_text()
