"""The numbers: scikit-learn agrees, what is undefined stays so, intervals promise no more."""

import math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

import curves
import intervals
import metrics
import thresholds
from metrics import FAKE, REAL

GRID = [0.0, 0.1, 0.25, 0.5, 0.5, 0.75, 0.9, 1.0, 1e-9, 1 - 1e-9]
"""Few values, so that ties are common; the ends, where a logarithm is infinite."""


@st.composite
def scored(draw):
    """Labels of both classes and scores, some tied, some at the very ends."""
    some = st.tuples(st.sampled_from([REAL, FAKE]), st.sampled_from(GRID) | st.floats(0, 1))
    rows = draw(st.lists(some, min_size=0, max_size=30))
    rows += [(REAL, draw(st.floats(0, 1))), (FAKE, draw(st.floats(0, 1)))]
    order = draw(st.permutations(rows))
    return np.array([r[0] for r in order]), np.array([r[1] for r in order])


def sample(n: int = 200, seed: int = 0, apart: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A detector that is right more often than not."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    return labels, 1 / (1 + np.exp(-random.normal(apart * (2 * labels - 1), 1.5)))


def frame(labels, scores, **columns) -> pd.DataFrame:
    paths = [f"{i}.png" for i in range(len(labels))]
    return pd.DataFrame({"path": paths, "label": labels, "score": scores, **columns})


@pytest.fixture
def scores_csv(tmp_path):
    def write(content: str | bytes | pd.DataFrame) -> str:
        file = tmp_path / "scores.csv"
        if isinstance(content, pd.DataFrame):
            content = content.to_csv(index=False)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(file)

    return write


# ----------------------------------------------------------------- against scikit-learn


def tpr_at(rate: float, labels: np.ndarray, scores: np.ndarray) -> float:
    """The highest hit rate among scikit-learn's thresholds with no more false alarms."""
    alarms, hits, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    return float(hits[alarms <= rate].max())


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Guo et al.'s sum over scikit-learn's bins, which are closed above too."""
    share, mean = calibration_curve(labels, scores, n_bins=15, strategy="uniform")
    places = np.searchsorted(np.linspace(0, 1, 16)[1:-1], scores)
    _, counts = np.unique(places, return_counts=True)
    return float((np.abs(share - mean) * counts).sum() / len(labels))


@settings(max_examples=80, deadline=None)
@given(scored(), st.sampled_from([0.0, 0.1, 0.5, 0.75, 1.0]))
def test_scikit_learn_agrees(given, threshold):
    labels, scores = given
    called = scores >= threshold
    ours = metrics.evaluate(labels, scores, threshold)
    assert set(ours) == set(metrics.NAMES)
    expected = {
        "accuracy": sk.accuracy_score(labels, called),
        "recall": sk.recall_score(labels, called),
        "f1": sk.f1_score(labels, called),
        "false_positive_rate": 1 - sk.recall_score(labels, called, pos_label=REAL),
        "auc": sk.roc_auc_score(labels, scores),
        "average_precision": sk.average_precision_score(labels, scores),
        "log_loss": sk.log_loss(labels, scores),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "brier": sk.brier_score_loss(labels, scores),
        "tpr_at_fpr_1": tpr_at(0.01, labels, scores),
        "tpr_at_fpr_5": tpr_at(0.05, labels, scores),
        "ece": calibration_error(labels, scores),
        "loss": sk.log_loss(labels, scores),
    }
    if called.any():
        expected["precision"] = sk.precision_score(labels, called)
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    (tn, fp), (fn, tp) = sk.confusion_matrix(labels, called, labels=[REAL, FAKE])
    counts = metrics.confusion(labels, scores, threshold)
    assert counts == {"tn": tn, "fp": fp, "fn": fn, "tp": tp}


@settings(max_examples=50, deadline=None)
@given(scored())
def test_curves_agree_with_scikit_learn(given):
    labels, scores = given
    alarms, hits, steps = curves.roc(labels, scores)
    theirs = sk.roc_curve(labels, scores, drop_intermediate=False)
    for ours, their in zip((alarms, hits, steps), theirs, strict=True):
        np.testing.assert_allclose(ours, their, atol=1e-12)
    precision, recall, steps = curves.precision_recall(labels, scores)
    their_precision, their_recall, their_steps = sk.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(precision, their_precision[-2::-1], atol=1e-12)
    np.testing.assert_allclose(recall, their_recall[-2::-1], atol=1e-12)
    np.testing.assert_allclose(steps, their_steps[::-1])


@settings(max_examples=30, deadline=None)
@given(scored(), st.integers(0, 99))
def test_many_weights_at_once_give_what_each_gives(given, seed):
    labels, scores = given
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(labels))).astype(float)
    together = metrics.measured(labels, scores)(weights)
    for number, own in enumerate(weights):
        alone = metrics.evaluate(labels, scores, 0.5, own)
        here = {name: float(values[number]) for name, values in together.items()}
        assert here == pytest.approx(alone, nan_ok=True, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(scored(), st.integers(0, 99))
def test_a_weight_counts_a_row_so_often(given, seed):
    labels, scores = given
    weights = np.random.default_rng(seed).integers(0, 4, len(labels))
    weighted = metrics.evaluate(labels, scores, 0.5, weights)
    repeated = metrics.evaluate(np.repeat(labels, weights), np.repeat(scores, weights), 0.5)
    assert weighted == pytest.approx(repeated, nan_ok=True, abs=1e-12)


def brute_force_eer(labels: np.ndarray, scores: np.ndarray) -> float:
    """Walk the ROC from one threshold to the next in small steps; stop where the errors meet."""
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    alarms = np.array([(scores[labels == REAL] >= t).mean() for t in thresholds])
    misses = np.array([(scores[labels == FAKE] < t).mean() for t in thresholds])
    places = np.linspace(0, len(thresholds) - 1, 500 * len(thresholds) + 1)
    corners = np.arange(len(thresholds))
    alarm, miss = np.interp(places, corners, alarms), np.interp(places, corners, misses)
    nearest = int(np.argmin(np.abs(alarm - miss)))
    return float((alarm[nearest] + miss[nearest]) / 2)


def test_the_hit_rate_at_few_false_alarms_is_a_step_of_the_curve():
    """100 reals: one false alarm is 1 %, and between 1 % and 2 % there is no threshold."""
    labels = np.repeat([REAL, FAKE], [100, 4])
    reals = np.linspace(0, 0.5, 100)
    fakes = [0.6, 0.4975, 0.4925, 0.1]  # above all reals, above all but one, but two, but 80
    values = metrics.evaluate(labels, np.concatenate([reals, fakes]))
    assert values["tpr_at_fpr_1"] == 0.5 and values["tpr_at_fpr_5"] == 0.75
    few = metrics.evaluate(np.array([0, 0, 1, 1]), np.array([0.1, 0.8, 0.7, 0.9]))
    assert few["tpr_at_fpr_1"] == few["tpr_at_fpr_5"] == 0.5  # no false alarm at all


@settings(max_examples=60, deadline=None)
@given(scored())
def test_calibration_errors_are_bounded_and_perfect_scores_have_none(given):
    labels, scores = given
    values = metrics.evaluate(labels, scores)
    assert 0 <= values["ece"] <= 1 and 0 <= values["brier"] <= 1
    # A bin's error is at most the mean error of its rows.
    assert values["ece"] <= np.abs(scores - labels).mean() + 1e-12
    perfect = metrics.evaluate(labels, labels.astype(float))
    assert perfect["ece"] == perfect["brier"] == 0


@settings(max_examples=60, deadline=None)
@given(scored())
def test_eer_is_where_false_alarms_and_misses_meet(given):
    assert metrics.evaluate(*given)["eer"] == pytest.approx(brute_force_eer(*given), abs=2e-3)


@pytest.mark.parametrize(
    ("labels", "scores", "eer"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 0.0),
        ([0, 0, 1, 1], [0.8, 0.9, 0.1, 0.2], 1.0),
        ([0, 1], [0.5, 0.5], 0.5),
        ([0, 0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.2, 0.7, 0.8, 0.9], 0.25),
    ],
)
def test_eer_of_known_cases(labels, scores, eer):
    assert metrics.evaluate(np.array(labels), np.array(scores))["eer"] == pytest.approx(eer)


def test_the_whole_set_is_not_the_average_of_its_batches():
    """The XAI606 project averaged batches and printed 90.33 % where 91.05 % was true."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 100)
    scores = np.where(random.random(100) < 0.9, labels, 1 - labels) * 0.8 + 0.1
    scores[96:] = np.where(labels[96:] == FAKE, 0.1, 0.9)  # the last batch of four is all wrong
    ours = metrics.evaluate(labels, scores)
    batches = [metrics.evaluate(labels[i : i + 32], scores[i : i + 32]) for i in range(0, 100, 32)]
    for name in ("accuracy", "precision", "recall", "loss"):
        averaged = float(np.mean([batch[name] for batch in batches]))
        assert abs(averaged - ours[name]) > 0.05
    assert ours["accuracy"] == np.mean((scores >= 0.5) == labels)


# --------------------------------------------------------------------- what is undefined


def undefined(values: dict[str, float]) -> set[str]:
    assert all(isinstance(value, float) for value in values.values())
    return {name for name, value in values.items() if math.isnan(value)}


def test_what_is_undefined_is_nan_and_never_a_number():
    reals, fakes = np.zeros(3, int), np.ones(3, int)
    low, high = np.array([0.1, 0.2, 0.3]), np.array([0.7, 0.8, 0.9])
    curves = {"auc", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "balanced_accuracy"}
    assert undefined(metrics.evaluate(reals, low)) == {
        *curves,
        "precision",
        "recall",
        "f1",
        "average_precision",
    }
    assert undefined(metrics.evaluate(reals, high)) == {*curves, "recall", "average_precision"}
    assert undefined(metrics.evaluate(fakes, low)) == {
        *curves,
        "precision",
        "false_positive_rate",
    }
    assert undefined(metrics.evaluate(fakes, high)) == {*curves, "false_positive_rate"}
    assert undefined(metrics.evaluate(np.array([0, 1]), np.array([0.1, 0.2]))) == {"precision"}
    nothing = metrics.evaluate(np.array([], int), np.array([]))
    assert undefined(nothing) == set(metrics.NAMES)
    assert metrics.show(float("nan")) == "undefined"


def test_curves_of_one_class_are_refused():
    with pytest.raises(ValueError, match="reals and fakes"):
        curves.roc(np.zeros(3, int), np.ones(3))
    with pytest.raises(ValueError, match="fakes"):
        curves.precision_recall(np.zeros(3, int), np.ones(3))
    limits = thresholds.fit(np.zeros(3, int), np.ones(3), "x", unit="video")
    assert limits.unit == "video"
    assert np.isnan([limits.threshold, limits.t_low, limits.t_high]).all() and limits.data == "x"


# ---------------------------------------------------------------------------- thresholds


def test_thresholds_leave_five_per_cent_outside():
    labels, scores = sample(4000)
    limits = thresholds.fit(labels, scores, "val of data.csv")
    assert (scores[labels == FAKE] < limits.t_low).mean() == pytest.approx(0.05, abs=1e-3)
    assert (scores[labels == REAL] > limits.t_high).mean() == pytest.approx(0.05, abs=1e-3)
    assert limits.t_low < limits.t_high and limits.data == "val of data.csv"
    alarms = (scores[labels == REAL] >= limits.threshold).mean()
    misses = (scores[labels == FAKE] < limits.threshold).mean()
    assert alarms == pytest.approx(misses, abs=2e-3)
    assert alarms == pytest.approx(metrics.evaluate(labels, scores)["eer"], abs=2e-3)


def test_no_source_has_more_alarms_than_five_per_cent():
    random = np.random.default_rng(0)
    labels = np.array([REAL] * 1000 + [REAL] * 40 + [REAL] * 5 + [FAKE] * 300)
    sources = np.array(["large"] * 1000 + ["small"] * 40 + ["few"] * 5 + ["large"] * 300)
    scores = np.concatenate([
        random.uniform(0, 0.3, 1000), random.uniform(0.3, 0.8, 40), np.full(5, 0.95),
        random.uniform(0.5, 1, 300),
    ])  # fmt: skip
    pooled = thresholds.fit(labels, scores, "x")
    limits = thresholds.fit(labels, scores, "x", sources=sources)
    assert (scores[sources == "small"] > pooled.t_high).mean() > 0.8
    assert (scores[sources == "small"] > limits.t_high).mean() == pytest.approx(0.05)
    assert limits.t_high < 0.95  # five reals move nothing
    assert (limits.threshold, limits.t_low) == (pooled.threshold, pooled.t_low)
    assert thresholds.fit(labels, scores, "x", sources=np.full(len(labels), "")) == pooled


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 150), st.integers(1, 150), st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.5]),
    st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.5]), st.integers(0, 999),
)  # fmt: skip
def test_beyond_the_limits_is_never_more_than_asked(reals, fakes, alarms, misses, seed):
    random = np.random.default_rng(seed)
    labels = np.repeat([REAL, FAKE], [reals, fakes])
    scores = random.integers(0, 1 + random.integers(1, 400), reals + fakes) / 400  # some are equal
    sources = random.integers(0, 3, reals + fakes)
    limits = thresholds.fit(labels, scores, "x", sources=sources, alarms=alarms, misses=misses)
    assert (limits.alarms, limits.misses) == (alarms, misses)
    assert (scores[labels == FAKE] < limits.t_low).mean() <= misses
    for source in (None, 0, 1, 2):
        of = (labels == REAL) & ((source is None) | (sources == source))
        if source is None or of.sum() >= thresholds.FEW:
            assert (scores[of] > limits.t_high).mean() <= alarms
    # And no stricter than that takes: one score less, and it would be more.
    lower = scores[(labels == REAL) & (scores < limits.t_high)]
    if len(lower) and (sources == sources[0]).all():
        assert (scores[labels == REAL] > lower.max()).mean() > alarms


def test_thresholds_of_separate_classes_cross():
    labels, scores = np.repeat([REAL, FAKE], 20), np.linspace(0, 1, 40)
    limits = thresholds.fit(labels, scores, "x")
    assert limits.t_low > limits.t_high  # no score lies between: the classes do not overlap
    assert scores[19] < limits.threshold <= scores[20]


@settings(max_examples=50, deadline=None)
@given(scored())
def test_thresholds_lie_where_scores_lie(given):
    limits = thresholds.fit(*given, "x")
    for value in (limits.threshold, limits.t_low, limits.t_high):
        assert 0 <= value <= 1


# ----------------------------------------------------------------------------- intervals


def test_the_bootstrap_is_the_same_each_time_and_holds_its_value():
    labels, scores = sample(150)
    people = np.arange(150) % 50
    first = metrics.bootstrap(labels, scores, people, resamples=300)
    assert first == metrics.bootstrap(labels, scores, people, resamples=300)
    assert first != metrics.bootstrap(labels, scores, people, resamples=300, seed=1)
    order = np.random.default_rng(0).permutation(150)
    shuffled = metrics.bootstrap(labels[order], scores[order], people[order], resamples=300)
    for name, value in metrics.evaluate(labels, scores).items():
        low, high = first[name]
        if name == "ece":
            continue  # has none: see below
        assert low < value < high, name
        assert shuffled[name] == pytest.approx(first[name], abs=1e-9), name


def test_rows_of_one_person_promise_no_certainty():
    labels, scores = sample(40)
    rows = np.repeat(np.arange(40), 25)
    many = labels[rows], scores[rows]
    by_person = metrics.bootstrap(*many, rows, resamples=300)
    by_row = metrics.bootstrap(*many, np.arange(1000), resamples=300)
    alone = metrics.bootstrap(labels, scores, np.arange(40), resamples=300)
    for name in ("accuracy", "auc", "loss", "eer"):
        width = {k: v[name][1] - v[name][0] for k, v in
                 (("person", by_person), ("row", by_row), ("alone", alone))}  # fmt: skip
        assert width["person"] > 3 * width["row"]
        assert width["person"] == pytest.approx(width["alone"], rel=0.01)


def test_the_interval_has_its_coverage():
    """Of 60 intervals of 95 % about 3 miss the truth; more than 9 would be one in a thousand."""
    truth = metrics.evaluate(*sample(200_000, seed=999))["accuracy"]
    missed = 0
    for seed in range(60):
        labels, scores = sample(120, seed=seed)
        low, high = metrics.bootstrap(labels, scores, np.arange(120), resamples=100)["accuracy"]
        missed += not low <= truth <= high
    assert missed <= 9


def test_the_calibration_error_has_no_interval_for_noise_alone_raises_it():
    """Scores that are exactly calibrated: the truth is 0, and no percentile would hold it."""
    random = np.random.default_rng(0)
    scores = random.random(300)
    labels = (random.random(300) < scores).astype(int)
    assert np.isnan(metrics.bootstrap(labels, scores, np.arange(300), resamples=50)["ece"]).all()
    drawn = intervals.bootstrap(metrics.measured(labels, scores), np.arange(300), 50)["ece"]
    assert intervals.percentile(drawn)[0] > metrics.evaluate(labels, scores)["ece"] / 2 > 0


def test_draws_take_whole_groups_and_as_many_as_there_are():
    groups = np.array([3, 3, 1, 2, 2, 2])
    parts = [*intervals.draws(groups, 40)]
    weights = np.concatenate(parts)
    assert weights.shape == (40, 6)
    assert (weights[:, [0, 3, 3]] == weights[:, [1, 4, 5]]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    many = np.arange(2 * intervals.AT_ONCE)  # more rows than are computed together
    assert [len(part) for part in intervals.draws(many, 3)] == [1, 1, 1]


@pytest.mark.parametrize("people", [2, 8, 16])
def test_rates_of_nought_and_one_get_the_exact_interval(people):
    labels = np.repeat([REAL, FAKE], 3 * people)
    scores = np.where(labels == FAKE, 0.9, 0.1)
    groups = np.repeat(np.arange(2 * people), 3)  # each person three times
    intervals = metrics.bootstrap(labels, scores, groups, resamples=50)
    one = binomtest(people, people).proportion_ci(method="exact")
    none = binomtest(0, people).proportion_ci(method="exact")
    every = binomtest(2 * people, 2 * people).proportion_ci(method="exact")
    assert intervals["recall"] == pytest.approx((one.low, one.high))
    assert intervals["precision"] == pytest.approx((one.low, one.high))
    assert intervals["false_positive_rate"] == pytest.approx((none.low, none.high))
    assert intervals["accuracy"] == pytest.approx((every.low, every.high))
    for name in ("auc", "f1", "eer", "average_precision", "loss", "log_loss"):
        assert np.isnan(intervals[name]).all(), name


def test_where_there_are_no_intervals():
    labels, scores = sample(10)
    assert metrics.bootstrap(labels, scores, np.arange(10), resamples=0) == {}
    one_person = metrics.bootstrap(labels, scores, np.zeros(10), resamples=20)
    assert np.isnan(list(one_person.values())).all()
    reals = metrics.bootstrap(np.zeros(10, int), scores, np.arange(10), resamples=20)
    assert np.isnan(reals["auc"]).all() and np.isfinite(reals["loss"]).all()


MIXED = "identity, else video"


@pytest.mark.parametrize(
    ("columns", "unit", "groups"),
    [
        ({}, "picture", 4),
        ({"identity": ["p", "p", "q", "q"]}, "identity", 2),
        # The same name in two collections is two people.
        ({"identity": ["p", "p", "p", "q"], "source": ["a", "a", "b", "b"]}, "identity", 3),
        # A clip of one who is known is that person's, whole.
        ({"identity": ["p", "", "q", "q"], "video": ["v", "v", "w", "w"]}, MIXED, 2),
        ({"identity": ["p", "", "q", "q"], "video": ["v", "x", "w", "w"]}, MIXED, 3),
        # One photograph more does not make pictures of a clip's frames.
        ({"identity": "", "video": ["v", "v", "v", ""]}, "video, else picture", 2),
        ({"near_duplicate_group": ["g", "g", "", ""]}, "near-duplicate group, else picture", 3),
        ({"source_path": ["", "0.png", "", "2.png"]}, "picture", 2),
        ({"source_path": ["", "far.png", "far.png", ""]}, "picture", 3),
        # A clip and the fake that was made of it are one draw too.
        ({"video": ["v", "f", "w", "g"], "source_video": ["", "v", "", "w"]}, "video", 2),
    ],
)
def test_what_the_bootstrap_draws(columns, unit, groups):
    codes, name = metrics.grouping(frame([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8], **columns))
    assert (name, len(np.unique(codes))) == (unit, groups)
    summary = metrics.summarise(frame([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8], **columns), 0.5, 10)
    assert (summary.grouped_by, summary.groups) == (unit, groups)


# --------------------------------------------------------------------------- scores.csv


def test_scores_are_read_as_they_were_written(scores_csv):
    labels, scores = sample(50)
    columns = {"identity": ["007", "7"] * 25, "source": "", "note": "x,\ny"}
    read = metrics.read_scores(scores_csv(frame(labels, scores, **columns)))
    assert read["score"].tolist() == scores.tolist()  # to the last bit
    assert read["label"].tolist() == labels.tolist()
    assert read["identity"].tolist() == ["007", "7"] * 25
    assert metrics.read_scores(scores_csv("\ufeffpath,label,score\n01,1.0,.5\n"))["path"][0] == "01"


def test_further_columns_stay_the_text_that_they_are(scores_csv):
    text = "path,label,score,camera,video\na,0,.5,007,\nb,1,1,7,NA\n"
    read = metrics.read_scores(scores_csv(text))
    assert read["camera"].tolist() == ["007", "7"] and read["video"].tolist() == ["", "NA"]


def test_videos_are_read_and_judged_too(scores_csv, capsys):
    file = scores_csv("video,label,score,frames\nv,0,0.1,9\nw,1,0.9,3\n")
    assert metrics.main([file, "--bootstrap", "0"]) == 0
    assert "2 videos (1 real, 1 fake)" in capsys.readouterr().out
    assert metrics.main([scores_csv("video,label\nv,0\n")]) == 2
    assert "no column score" in capsys.readouterr().err


def test_the_command_judges_videos_by_a_rule(scores_csv, capsys):
    rows = [("v", 0, 0.1), ("v", 0, 0.5), ("w", 1, 0.9), ("", 1, 0.2)]
    table = frame([r[1] for r in rows], [r[2] for r in rows], video=[r[0] for r in rows])
    file = scores_csv(table)
    assert metrics.main([file, "--rule", "mean", "--bootstrap", "0"]) == 0
    out = capsys.readouterr().out
    assert "2 videos (1 real, 1 fake)" in out and "Brier score       : 0.05000000" in out
    assert metrics.main([file, "--rule", "trimmed"]) == 2
    err = capsys.readouterr().err
    assert "left out: v: video: 2 faces" in err and "no videos to judge" in err
    assert metrics.main([file, "--rule", "best"]) == 2
    assert "'best' is unknown: choose mean" in capsys.readouterr().err
    assert metrics.main([scores_csv(frame([0, 1], [0.1, 0.9])), "--rule", "mean"]) == 2
    assert "column `video`" in capsys.readouterr().err


def test_stored_thresholds_are_read_back_from_any_version():
    fitted = thresholds.fit(*sample(), "x", unit="video")
    assert thresholds.Thresholds.of(vars(fitted) | {"later": 1}) == fitted
    old = {key: vars(fitted)[key] for key in ("threshold", "t_low", "t_high", "data")}
    assert (thresholds.Thresholds.of(old).unit, fitted.unit) == ("face", "video")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "No columns"),
        ("path,label,score\n", "no scores"),
        ("path,label\na,0\n", "no column score"),
        ("a,0,0.5\n", "no column label, path, score"),
        ("path,label,score\na,0,.5\nb,2,.5\n", "row 3: label '2'"),
        ("path,label,score\na,real,.5\n", "row 2: label 'real'"),
        ("path,label,score\na,,.5\n", "row 2: label ''"),
        ("path,label,score\na,-1,.5\n", "row 2: label '-1'"),
        ("path,label,score\na,0,1.5\n", "score '1.5'"),
        ("path,label,score\na,0,-.1\n", "score '-.1'"),
        ("path,label,score\na,0,\n", "row 2"),
        ("path,label,score\na,0,nan\n", "score 'nan'"),
        ("path,label,score\na,0,inf\n", "score 'inf'"),
        ("path,label,score\na,0,high\n", "score 'high'"),
        ("path,label,score\na,0,.5,7\nb,1,.5,7\n", "more cells"),
        ("path,label,score\na,0,.5\nb,1,.5,7\n", "Expected 3 fields"),
        (b"\xff\xfe\x00", "utf-8"),
    ],
)
def test_bad_scores_are_refused(scores_csv, capsys, content, says):
    file = scores_csv(content)
    with pytest.raises(ValueError) as error:
        metrics.read_scores(file)
    assert str(error.value).startswith(f"{file}: ") and says in str(error.value)
    assert metrics.main([file]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"error: {error.value}\n"


def test_the_command_prints_the_same_numbers(scores_csv, capsys):
    labels, scores = sample(80)
    table = frame(labels, scores, identity=[f"p{i % 20}" for i in range(80)])
    file = scores_csv(table)
    assert metrics.main([file, "--threshold", "0.3", "--bootstrap", "50"]) == 0
    out = capsys.readouterr().out
    assert out == metrics.block(metrics.summarise(table, 0.3, 50)) + "\n"
    printed = dict(line.split(":", 1) for line in out.splitlines() if ":" in line)
    printed = {name.strip(): text.split()[0] for name, text in printed.items()}
    called = scores >= 0.3
    assert float(printed["Accuracy"]) == pytest.approx(sk.accuracy_score(labels, called), abs=1e-8)
    assert float(printed["Precision"]) == pytest.approx(
        sk.precision_score(labels, called), abs=1e-8
    )
    assert float(printed["Recall"]) == pytest.approx(sk.recall_score(labels, called), abs=1e-8)
    assert float(printed["AUC"]) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-8)
    assert "80 faces" in out and "threshold 0.3" in out and "20 groups by identity" in out
    for key, count in metrics.confusion(labels, scores, 0.3).items():
        words = {"tn": "real called real", "fp": "real called fake"}
        words |= {"fn": "fake called real", "tp": "fake called fake"}
        assert f"{words[key]} {count}" in out


def test_the_command_says_what_is_undefined_and_what_has_no_interval(scores_csv, capsys):
    file = scores_csv(frame([0, 0], [0.1, 0.2]))
    assert metrics.main([file, "--bootstrap", "20"]) == 0
    out = capsys.readouterr().out
    assert "AUC               : undefined" in out and "no interval" in out and "nan" not in out
    assert metrics.main([file, "--bootstrap", "0"]) == 0
    assert "interval" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv", [["none.csv"], ["."], ["s.csv", "--threshold", "2"], ["s.csv", "--threshold", "nan"],
             ["s.csv", "--bootstrap", "-1"], []]
)  # fmt: skip
def test_the_command_refuses_with_status_2(argv, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame([0, 1], [0.1, 0.9]).to_csv("s.csv", index=False)
    try:
        status = metrics.main(argv)
    except SystemExit as ended:  # argparse's
        status = ended.code
    assert status == 2
    assert "error: " in capsys.readouterr().err
