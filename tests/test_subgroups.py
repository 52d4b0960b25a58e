"""Parts of a test set: a column that says one thing is the whole; small ones and bad names."""

import numpy as np
import pandas as pd
import pytest

import metrics
from report import subgroups, tables
from utils import UserError


def faces(n: int = 80, seed: int = 0, **columns) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    scores = np.clip(random.normal(0.3 + 0.4 * labels, 0.2), 0, 1)
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(n)], "label": labels, "score": scores})
    return table.assign(**columns)


def record(frame: pd.DataFrame, column: str, value: str) -> dict:
    (table,) = subgroups.broken_down(frame, [column], 50)
    (row,) = [r for r in tables.records(table) if r["value"] == value]
    return row


def test_a_column_that_says_one_thing_is_the_whole():
    frame = faces(source="one", method=["", "swap"] * 40)
    whole = metrics.summarise(frame, resamples=50)
    for column, value in (("source", "one"), ("method", "swap")):
        row = record(frame, column, value)
        assert (row["n"], row["real"], row["fake"]) == (80, 40, 40)
        for key in subgroups.SHOWN:
            assert row[key] == pytest.approx(whole.values[key])
            ends = (row[f"{key}_low"], row[f"{key}_high"])
            assert ends == pytest.approx(whole.intervals[key], abs=0.05)


def test_a_method_is_measured_against_the_reals_of_its_source():
    frame = faces(
        40,
        source=["a"] * 20 + ["b"] * 20,
        method=["", "swap"] * 10 + ["", "swap", "", "talk"] * 5,
    )
    swap, talk = (record(frame, "method", name) for name in ("swap", "talk"))
    assert (swap["real"], swap["fake"]) == (20, 15)  # fakes in both sources
    assert (talk["real"], talk["fake"]) == (10, 5)
    fakes, reals = frame["method"] == "talk", (frame["label"] == 0) & (frame["source"] == "b")
    alone = metrics.evaluate(*(frame[fakes | reals][c].to_numpy() for c in ("label", "score")))
    assert talk["auc"] == alone["auc"] and talk["mark"] == "small"


def test_without_sources_a_method_meets_all_reals():
    frame = faces(40, method=["", "swap", "", "talk"] * 10)
    assert record(frame, "method", "talk")["real"] == 20
    unknown = frame.assign(source=["a", "a", "a", ""] * 10)
    assert record(unknown, "method", "talk")["real"] == 20
    assert record(frame.assign(method=["", ""] * 20, camera="x"), "camera", "x")["n"] == 40


def test_a_group_of_one_class_is_undefined_and_an_empty_cell_has_a_name():
    frame = faces(40, source=["reals", ""] * 20)
    reals, rest = record(frame, "source", "reals"), record(frame, "source", subgroups.UNKNOWN)
    assert np.isnan([reals["auc"], reals["recall"], rest["false_positive_rate"]]).all()
    assert np.isfinite([reals["accuracy"], rest["recall"]]).all()
    (table,) = subgroups.broken_down(frame, ["source"], 50)
    assert "undefined" in tables.console(table) and "small" not in tables.console(table)


def test_small_groups_are_marked_and_the_mark_explained():
    frame = faces(39, source=["a"] * 19 + ["b"] * 20)
    assert record(frame, "source", "a")["mark"] == "small"
    assert record(frame, "source", "b")["mark"] == ""
    (table,) = subgroups.broken_down(frame, ["source"], 0)
    assert "fewer than 20 faces" in table.notes[-1]


def test_a_column_may_be_called_as_one_of_ours():
    row = record(faces(n=40, auc=["x", "y"] * 20), "auc", "x")
    assert row["n"] == 20 and np.isnan(row["auc"])


def test_unknown_columns_name_those_that_there_are():
    one, other = faces(source="a", empty=""), faces(camera="c")
    subgroups.refuse_unknown([], [one])
    subgroups.refuse_unknown(["source", "camera"], [one, other])  # each somewhere
    with pytest.raises(UserError, match=r"no column sauce, empty; the rows say label, source$"):
        subgroups.refuse_unknown(["sauce", "source", "empty"], [one])
    with pytest.raises(UserError, match="no column path"):
        subgroups.refuse_unknown(["path"], [one])
    with pytest.raises(UserError, match="frame has 300 values, more than 200"):
        subgroups.refuse_unknown(["frame"], [faces(300, frame=[*map(str, range(300))])])
    assert subgroups.broken_down(other, ["source", "camera"], 0)[0].title == "By camera"


def test_groups_by_the_size_of_the_face_have_no_more_to_say_than_size_itself():
    """Scores that are the face's size: told apart over all, by chance within faces of one size."""
    random = np.random.default_rng(0)
    frame = faces(4000)
    sides = 100 + 40 * frame["label"] + random.uniform(-40, 40, 4000)
    frame["score"] = sides / 200
    frame["box"] = [f"10 10 {10 + side * 0.8:.2f} {10 + side / 0.8:.2f}" for side in sides]
    frame.loc[0, "box"] = ""
    (table,) = subgroups.broken_down(frame, ["face_side"], 20)
    rows = tables.records(table)
    assert sum(row["n"] for row in rows) == 4000
    assert rows[-1]["value"] == "(none)" and rows[-1]["n"] == 1
    assert rows[0]["value"].startswith("under ") and rows[3]["value"].endswith(" px and more")
    assert all(900 < row["n"] < 1100 for row in rows[:4])
    assert rows[0]["fake"] == 0 and rows[3]["real"] == 0
    whole = metrics.evaluate(frame["label"].to_numpy(), frame["score"].to_numpy())["auc"]
    assert whole > 0.8 and all(row["auc"] < 0.75 for row in rows[1:3])
    assert all(row["auc"] == pytest.approx(row["size_auc"], abs=0.002) for row in rows[1:3])
    assert f"AUC of {whole:.3f}" in table.notes[0]
    subgroups.refuse_unknown(["face_side"], [frame.drop(columns="box")])


def test_faces_of_one_size_and_boxes_that_nobody_knows():
    (table,) = subgroups.broken_down(faces(30, box="0 0 50 50"), ["face_side"], 20)
    assert [row["value"] for row in tables.records(table)] == ["50 px and more"]
    for frame in (faces(30), faces(30, box=""), faces(30, box="5 5 1 1", face_side="")):
        (table,) = subgroups.broken_down(frame, ["face_side"], 20)
        (row,) = tables.records(table)
        assert row["n"] == 30 and row["value"] in ("(none)", "0 px and more")
    own = faces(30, box="0 0 50 50", face_side=["small", "large"] * 15)
    (table,) = subgroups.broken_down(own, ["face_side"], 20)
    assert [row["value"] for row in tables.records(table)] == ["large", "small"]
