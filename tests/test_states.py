"""How often each verdict: the shares that predict.py's own limits give."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from judging import INCONCLUSIVE, NO_SIGNS, SIGNS, Limits
from report import levels, states
from thresholds import NO_THRESHOLDS, Thresholds

LIMITS = Limits(0.2, 0.8, "face", "80 faces of v.csv")


def frame(reals: list[float], fakes: list[float], **columns) -> pd.DataFrame:
    count = len(reals) + len(fakes)
    labels = [0] * len(reals) + [1] * len(fakes)
    paths = [f"{i}.png" for i in range(count)]
    table = pd.DataFrame({"path": paths, "label": labels, "score": [*reals, *fakes]})
    return table.assign(**columns)


def test_shares_are_counted_by_the_limits_of_a_verdict():
    # At a limit itself nobody can tell: judging.Limits.
    found = states.table(frame([0.1, 0.2, 0.5, 0.9], [0.8, 0.81, 0.19, 0.99]), LIMITS, 0, "faces")
    assert list(found.columns) == ["part", "n", SIGNS, INCONCLUSIVE, NO_SIGNS]
    rows = {row[0]: [cell.value for cell in row[2:]] for row in found.rows}
    assert rows == {"Real": [0.25, 0.5, 0.25], "Fake": [0.5, 0.25, 0.25]}
    words = "limits from 80 faces of v.csv, where at most 5 % of the reals lie above and 5 % of"
    assert words in found.notes[0]
    strict = states.table(frame([0.1], [0.9]), replace(LIMITS, alarms=0.005), 0, "faces")
    assert "at most 0.5 % of the reals" in strict.notes[0]


def test_shares_have_intervals_over_persons_and_sum_to_one():
    random = np.random.default_rng(0)
    table = frame(random.random(200).tolist(), random.random(200).tolist())
    table["identity"] = [f"p{i // 8}" for i in range(400)]
    alone = table.drop(columns="identity")
    one, other = (states.table(each, LIMITS, 400, "faces") for each in (table, alone))
    for row, single in zip(one.rows, other.rows, strict=True):
        assert sum(cell.value for cell in row[2:]) == pytest.approx(1)
        for cell, narrow in zip(row[2:], single[2:], strict=True):
            assert cell.low < cell.value < cell.high and cell.value == narrow.value
    # Never seen is not impossible: the exact interval of so many groups.
    none = states.table(frame([0.5] * 30, [0.5] * 30), LIMITS, 100, "faces").rows[0][2]
    assert none.value == 0 == none.low and none.high == pytest.approx(1 - 0.025 ** (1 / 30))


def test_sources_stand_apart_where_there_are_several_and_enough():
    scores = [0.1] * 25 + [0.9] * 25 + [0.1] * 5
    table = frame(scores, [0.9] * 5, source=["a"] * 25 + ["b"] * 25 + ["c"] * 10)
    found = states.table(table, LIMITS, 50, "faces")
    assert [(row[0], row[1]) for row in found.rows] == [
        ("Real", 55), ("Fake", 5), ("Real, a", 25), ("Real, b", 25),
    ]  # fmt: skip
    assert [row[2].value for row in found.rows[2:]] == [0, 1]


def test_without_limits_nobody_can_say():
    table = frame([0.1], [0.9])
    level = levels.judged(table, NO_THRESHOLDS, 50, "faces")
    assert level.states is None and "How often" not in levels.stored_block(level)
    level = levels.judged(table, Thresholds(0.5, 0.4, 0.6, "v"), 50, "faces")
    assert "How often each verdict: faces" in levels.stored_block(level)
    crossed = levels.judged(table, Thresholds(0.5, 0.6, 0.4, "v"), 50, "faces").states
    assert "Above 0.6000, between, below 0.4000" in crossed.notes[0]
