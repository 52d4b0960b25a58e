"""The temperature: found by its definition, refused where nothing fits it, shown with its data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

import curves
import metrics
import thresholds
from report import levels


def overconfident(n: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores whose logits are `factor` times those of the true probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, n)
    return (random.random(n) < expit(logits)).astype(int), expit(factor * logits)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done_to_the_logits(factor):
    labels, scores = overconfident(40_000, factor)
    temperature, words = curves.fit_temperature(labels, scores)
    assert temperature == pytest.approx(factor, rel=0.05) and words.startswith("fitted: log loss")
    other = overconfident(40_000, factor, seed=1)  # not those that it was fitted on
    as_they_are = metrics.evaluate(*other)
    after = metrics.evaluate(other[0], curves.tempered(other[1], temperature))
    assert after["ece"] < 0.015 and after["log_loss"] <= as_they_are["log_loss"] + 1e-3
    assert after["auc"] == as_they_are["auc"]  # the order stays
    if factor == 3.0:
        assert as_they_are["ece"] > 0.05


def test_no_other_temperature_has_less_loss():
    labels, scores = overconfident(500, 2.5)
    temperature, _ = curves.fit_temperature(labels, scores)

    def loss(of: float) -> float:
        return metrics.evaluate(labels, curves.tempered(scores, of))["log_loss"]

    assert all(loss(temperature) <= loss(temperature * by) for by in (0.5, 0.9, 0.99, 1.01, 1.1, 2))


@pytest.mark.parametrize(
    ("labels", "scores", "why"),
    [
        ([1] * 50, [0.5] * 50, "0 reals, and it takes 20"),
        ([0] * 50 + [1] * 19, [0.5] * 69, "19 fakes, and it takes 20"),
        ([0] * 30 + [1] * 30, [0.1] * 30 + [0.9] * 30, "wrong side of 0.5"),
        ([0] * 30 + [1] * 30, [0.9] * 30 + [0.1] * 30, "no better than guessing"),
        ([0] * 30 + [1] * 30, [0.0] * 30 + [1.0] * 30, "wrong side of 0.5"),
    ],
)
def test_where_none_fits_it_is_one_and_says_why(labels, scores, why):
    temperature, words = curves.fit_temperature(np.array(labels), np.array(scores))
    assert temperature == 1 and words.startswith("not fitted: ") and why in words


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.05, 20))
def test_tempered_scores_are_scores_in_the_same_order(scores, temperature):
    values = np.array(scores)
    changed = curves.tempered(values, temperature)
    assert ((changed >= 0) & (changed <= 1)).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(changed[order]) >= 0).all()
    np.testing.assert_array_equal(curves.tempered(values, 1.0), values)
    sides = np.sign(values - 0.5)[np.abs(values - 0.5) > 1e-9]
    assert (sides == np.sign(changed - 0.5)[np.abs(values - 0.5) > 1e-9]).all()


def test_it_travels_with_the_thresholds_and_an_old_checkpoint_has_none():
    labels, scores = overconfident(2000, 3.0)
    fitted = thresholds.fit(labels, scores, "2000 validation faces of a.csv")
    assert fitted.temperature == pytest.approx(3.0, rel=0.2)
    assert "fitted: log loss" in fitted.calibration
    reals = thresholds.fit(np.zeros(9, int), scores[:9], "x")
    assert reals.temperature == 1 and "takes reals and fakes" in reals.calibration
    old = {"threshold": 0.4, "t_low": 0.2, "t_high": 0.6, "data": "x"}
    stored = thresholds.Thresholds.of(old)
    assert (stored.temperature, stored.calibration) == (1.0, "not fitted")
    assert thresholds.Thresholds.of(vars(fitted)) == fitted


def test_the_table_says_both_and_what_it_was_fitted_on():
    labels, scores = overconfident(400, 3.0)
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(400)], "label": labels})
    limits = thresholds.fit(*overconfident(800, 3.0, 1), "800 validation faces of v.csv")
    level = levels.judged(frame.assign(score=scores), limits, 100, "faces")
    table = levels.calibration(level)
    assert [row[0] for row in table.rows] == [
        "as they are",
        f"at temperature {limits.temperature:.3f}",
    ]
    before, after = (row[1].value for row in table.rows)
    assert after < before and "800 validation faces of v.csv" in table.notes[0]
    assert all(np.isfinite([row[2].low, row[2].high]).all() for row in table.rows)
    assert "Calibration" in levels.stored_block(level)
    none = levels.judged(
        frame.assign(score=scores), thresholds.Thresholds(0.5, 0.4, 0.6, "v"), 0, "faces"
    )
    assert none.tempered is None and len(levels.calibration(none).rows) == 1
    assert "not fitted" in levels.calibration(none).notes[0]


def test_figures_at_the_stored_threshold_have_intervals():
    labels, scores = overconfident(400, 1.0)
    frame = pd.DataFrame(
        {"path": [f"{i}.png" for i in range(400)], "label": labels, "score": scores}
    )
    level = levels.judged(frame, thresholds.Thresholds(0.3, 0.2, 0.4, "v"), 200, "faces")
    assert level.at_stored == metrics.evaluate(labels, scores, 0.3)
    low, high = level.stored.intervals["recall"]
    assert low < level.at_stored["recall"] < high
    assert f"[{low:.4f}, {high:.4f}]" in levels.stored_block(level)
