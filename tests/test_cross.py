"""Several collections: a folder each, a table across them, a mean that counts each once."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from report import cross, levels, tables
from report.result import Result
from thresholds import NO_THRESHOLDS


def result(n: int, labels=(0, 1), video: bool = False, seed: int = 0) -> Result:
    truth = np.resize(labels, n)
    scores = np.clip(np.random.default_rng(seed).normal(0.3 + 0.4 * truth, 0.2), 0, 1)
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(n)], "label": truth, "score": scores})
    frame["video"] = [f"v{i // 2}" for i in range(n)] if video else ""
    faces = replace(levels.judged(frame, NO_THRESHOLDS, 20, "faces"), home=Path(f"/set{seed}"))
    return Result(faces, levels.of_videos(frame, "mean", NO_THRESHOLDS, 20), (), ())


def test_names_that_are_no_files_stay_themselves():
    names = ["no h264/jpeg", "manifest", "a.csv", "A.csv", "../up", "cam"]
    expected = ["no_h264_jpeg", "manifest", "a.csv", "A.csv-2", "_up", "cam-2"]
    assert cross.plain_names(names) == expected


@pytest.mark.parametrize(
    ("manifests", "names"),
    [
        (["data/celeb/manifest.csv", "data/dfdc/manifest.csv"], ["celeb", "dfdc"]),
        (["a/one.csv", "a/two.csv", "a/pictures.v2"], ["one", "two", "pictures.v2"]),
        (["a/test.csv", "b/test.csv"], ["a-test", "b-test"]),
        (["a/x/manifest.csv", "b/x/manifest.csv"], ["a-x", "b-x"]),
        (["a/t.csv", "b/../a/T.csv"], ["a-t", "a-T-2"]),
        (["a/cam.csv", "a/mistakes.csv"], ["cam-2", "mistakes-2"]),
        (["a/my set (1).csv", "a/..csv"], ["my_set_1_", "collection"]),
    ],
)
def test_folders_have_short_names_of_their_own(manifests, names):
    assert cross.folder_names(manifests) == names


@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda t: "\0" not in t), max_size=6))
def test_no_two_folders_have_one_name_and_none_leaves_the_test(manifests):
    names = cross.folder_names(manifests)
    assert len({name.lower() for name in names}) == len(manifests)
    for name in names:
        assert name not in ("", ".", "..", *cross.TAKEN) and "/" not in name and "\\" not in name


def test_the_mean_counts_each_collection_once(tmp_path):
    results = {"large": result(200), "small": result(20, seed=1)}
    said = cross.write(tmp_path, results, {"large": "l.csv", "small": "s.csv"}, "A on 2 sets")
    table = pd.read_csv(tmp_path / "cross.csv").set_index("collection")
    each = [results[name].faces.summary.values["auc"] for name in ("large", "small")]
    assert table["auc"].tolist() == pytest.approx([*each, np.mean(each)])
    assert table["n"].tolist()[:2] == [200, 20] and set(table["unit"]) == {"faces"}
    mean = table.loc["mean of 2"]
    assert mean["auc_low"] < mean["auc"] < mean["auc_high"]
    assert "mean of 2" in said and "large" in said
    page = (tmp_path / "cross.html").read_text()
    assert 'href="small/report.html"' in page and "s.csv" in page and "mean of 2" in page
    assert page.count("data:image/svg+xml") == 1
    tex = (tmp_path / "cross.tex").read_text()
    assert tex.count("\\begin{tabular}") == tex.count("\\end{tabular}") == 1


def test_videos_have_a_table_of_their_own(tmp_path):
    results = {"clips": result(40, video=True), "photos": result(20)}
    cross.write(tmp_path, results, dict.fromkeys(results, "x"), "A")
    table = pd.read_csv(tmp_path / "cross.csv")
    assert table["unit"].tolist() == ["faces"] * 3 + ["videos"] * 2
    assert table["collection"].tolist()[3:] == ["clips", "mean of 1"]
    assert (tmp_path / "cross.tex").read_text().count("tabular}{") == 2


def test_a_collection_of_one_class_leaves_the_mean_undefined(tmp_path):
    results = {"both": result(40), "reals": result(20, labels=(0,))}
    said = cross.write(tmp_path, results, dict.fromkeys(results, "x"), "A")
    table = pd.read_csv(io.StringIO((tmp_path / "cross.csv").read_text())).set_index("collection")
    assert np.isnan(table.loc[["reals", "mean of 2"], "auc"]).all()
    assert np.isfinite(table.loc["mean of 2", "accuracy"])
    assert "undefined" in said and "undefined where one" in said


def test_the_mean_of_two_sets_is_surer_than_either():
    one, other = (again(result(60, seed=seed).faces, 1000) for seed in (2, 3))
    (alone,), (both,) = levels.means([one], ["auc"]), levels.means([one, other], ["auc"])
    low, high = one.summary.intervals["auc"]
    assert (alone.low, alone.high) == pytest.approx((low, high))
    widths = [r.summary.intervals["auc"][1] - r.summary.intervals["auc"][0] for r in (one, other)]
    expected = np.hypot(*widths) / 2  # of two that are drawn apart
    assert both.high - both.low == pytest.approx(expected, rel=0.15)


def again(level: levels.Level, resamples: int, **columns) -> levels.Level:
    frame = level.frame.assign(**columns)
    return replace(levels.judged(frame, NO_THRESHOLDS, resamples, "faces"), home=level.home)


def test_the_mean_of_sets_that_share_persons_is_no_surer_than_one():
    """The reals of four methods of one collection are the same pictures."""
    one = again(result(60, seed=4).faces, 1000)
    (alone,), (both,) = levels.means([one], ["auc"]), levels.means([one, one], ["auc"])
    assert both.value == pytest.approx(one.summary.values["auc"])
    assert (both.low, both.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    # The same names of another folder are other pictures.
    elsewhere = replace(one, home=Path("/elsewhere"))
    (apart,) = levels.means([one, elsewhere], ["auc"])
    assert apart.high - apart.low < 0.85 * (both.high - both.low)


def test_person_1_of_two_lists_without_a_source_is_two_persons():
    sets = {}
    for seed in (2, 3):
        one = result(60, seed=seed).faces
        sets[f"set{seed}"] = again(one, 500, identity=[f"{i}" for i in range(60)])
    row = tables.records(cross._table(sets, "faces"))[-1]
    (alone,) = levels.means([cross._with_source(*one) for one in sets.items()], ["auc"])
    named = [again(level, 500, source=name) for name, level in sets.items()]
    (expected,) = levels.means(named, ["auc"])
    assert (
        (row["auc_low"], row["auc_high"])
        == (alone.low, alone.high)
        == (expected.low, expected.high)
    )


def test_a_mean_over_a_set_that_never_varies_has_no_interval():
    one = again(result(60, seed=4).faces, 200)
    sure = again(one, 200, score=0.9 * one.frame["label"])  # no false alarm in any draw
    for other in (sure, replace(sure, home=Path("/elsewhere"))):
        found = levels.means([one, other], ["auc"])
        assert np.isnan(found[0].low) and np.isfinite(found[0].value)
