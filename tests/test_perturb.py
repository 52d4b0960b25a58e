"""Worse pictures: each kind does what it says, the same way each time, and costs what it costs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces import roundtrip
from faces.image import UnreadableImage, write_image
from flags import Perturb
from report import robustness
from report.robustness import Perturbed
from settings import load
from testing import perturb
from thresholds import NO_THRESHOLDS, Thresholds
from utils import UserError

KINDS = sorted(perturb.KINDS)


def away(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(image.astype(int) - other).mean())


def changed(image: np.ndarray, kind: str, strength: float) -> np.ndarray:
    return perturb.KINDS[kind].change(image, strength, np.random.default_rng(0))


# ---------------------------------------------------------------------------------- kinds


def test_the_settings_name_the_kinds_and_five_strengths_of_each():
    settings = Perturb()
    assert sorted(settings.kinds) == KINDS
    assert all(len(getattr(settings, kind)) == 5 for kind in KINDS)
    assert len(perturb.changes(settings)) == 30
    assert (min(settings.jpeg), max(settings.jpeg)) == (30, 95)
    assert (min(settings.h264), max(settings.h264)) == (18, 40)


@pytest.mark.parametrize("kind", KINDS)
def test_farther_from_neutral_is_farther_from_the_picture(kind, portrait):
    image = np.ascontiguousarray(portrait[:200, 100:301])  # an odd width
    neutral = perturb.KINDS[kind].neutral
    for side in (-1, 1):
        strengths = [s for s in getattr(Perturb(), kind) if (s - neutral) * side > 0]
        strengths.sort(key=lambda s: abs(s - neutral))
        worse = [changed(image, kind, s) for s in strengths]
        assert all(one.shape == image.shape and one.dtype == np.uint8 for one in worse)
        costs = [away(image, one) for one in worse]
        assert costs == sorted(costs) and all(np.diff(costs) > 0)
    if kind not in ("jpeg", "h264"):  # those lose colour's resolution at their best
        np.testing.assert_array_equal(changed(image, kind, neutral), image)
    else:
        assert away(image, changed(image, kind, neutral)) < 2.5


def test_each_kind_by_hand(portrait):
    grey = np.full((40, 40, 3), 100, np.uint8)
    assert (changed(grey, "brightness", 1.3) == 130).all()
    assert (changed(grey, "brightness", 3) == 255).all()
    for kind in ("blur", "resize", "jpeg", "h264"):
        assert away(grey, changed(grey, kind, getattr(Perturb(), kind)[-1])) <= 2  # nothing to lose
    noise = changed(np.full((200, 200, 3), 128, np.uint8), "noise", 10).astype(float) - 128
    assert noise.std() == pytest.approx(10, rel=0.02) and abs(noise.mean()) < 0.1
    line = np.zeros((41, 41, 3), np.uint8)
    line[:, 20] = 255
    profile = changed(line, "blur", 2)[20, :, 0].astype(float)
    place = np.arange(41) - 20
    assert np.sqrt((profile * place**2).sum() / profile.sum()) == pytest.approx(2, rel=0.05)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(KINDS))
def test_pictures_of_any_size_keep_it(height, width, kind):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for strength in (getattr(Perturb(), kind)[0], getattr(Perturb(), kind)[-1]):
        assert changed(image, kind, strength).shape == image.shape


def test_h264_is_the_same_each_time_and_refuses_in_words(portrait, monkeypatch):
    image = portrait[100:260, 100:260]
    np.testing.assert_array_equal(roundtrip.h264(image, 28), roundtrip.h264(image, 28))
    monkeypatch.setattr(roundtrip, "_encoded", lambda frames, crf: [])
    with pytest.raises(UnreadableImage, match=r"160x160 pixels as H\.264"):
        roundtrip.h264(image, 28)


@pytest.mark.skipif(sys.platform != "linux", reason="MALLOC_PERTURB_ is glibc's")
def test_h264_does_not_depend_on_what_lay_in_memory():
    """x264's macroblock tree read memory that nobody wrote: other bytes there, another picture."""
    code = (
        "import numpy as np, zlib; from faces import roundtrip; r = np.random.default_rng(0)\n"
        "for side in (100, 167, 196):\n"
        "    image = r.integers(0, 255, (side, side, 3), dtype=np.uint8)\n"
        "    print(zlib.crc32(roundtrip.h264(image, 25).tobytes()))"
    )
    argv = [sys.executable, "-c", code]
    said = {
        subprocess.run(
            argv, env=os.environ | {"MALLOC_PERTURB_": filled}, cwd=Path(__file__).parents[1],
            capture_output=True, text=True, check=True,
        ).stdout
        for filled in ("0", "1", "200")
    }  # fmt: skip
    assert len(said) == 1


def test_a_picture_gets_its_own_noise_wherever_it_lies(tmp_path, portrait):
    image = portrait[:64, :64]
    for name, pixels in (("a.png", image), ("b/c.png", image), ("d.png", portrait[64:128, :64])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name, pixels)
    read = perturb.Changed("noise", 10.0)
    first, same, other = (read(str(tmp_path / name)) for name in ("a.png", "b/c.png", "d.png"))
    np.testing.assert_array_equal(first, same)
    np.testing.assert_array_equal(first, read(str(tmp_path / "a.png")))
    noise = first.astype(int) - image, other.astype(int) - portrait[64:128, :64]
    assert (noise[0] != noise[1]).any()
    with pytest.raises(UnreadableImage):
        read(str(tmp_path / "gone.png"))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60), st.integers(0, 5))
def test_chosen_rows_are_halves_as_far_as_there_are_so_many(reals, fakes, count, without):
    labels = np.array([0] * reals + [1] * fakes, int)
    values = np.full(len(labels), 0.5)
    values[:without] = np.nan
    rows = perturb.chosen(labels, values, count, seed=1)
    known = np.isfinite(values)
    assert len(rows) == (min(count, known.sum()) if count else known.sum())
    assert (np.diff(rows) > 0).all() and known[rows].all()
    of_reals, of_fakes = (int((known & (labels == label)).sum()) for label in (0, 1))
    if 0 < count < known.sum() and min(of_reals, of_fakes) >= (count + 1) // 2:
        assert abs(2 * int(labels[rows].sum()) - count) <= 1
    np.testing.assert_array_equal(rows, perturb.chosen(labels, values, count, seed=1))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("perturb.jpeg", [101], "within 1..100"),
        ("perturb.jpeg", [], "within 1..100"),
        ("perturb.h264", [18, 60], "within 0..51"),
        ("perturb.noise", [5, 5], "name each strength once"),
        ("perturb.kinds", ["jpeg", "jpeg"], "name each kind once"),
        ("perturb.kinds", ["fog"], "'jpeg', 'h264'"),
        ("perturb.count", -1, "greater than or equal to 0"),
    ],
)
def test_strengths_that_are_none_are_refused(key, value, says):
    from flags import Config

    with pytest.raises(UserError, match=r"perturb\.") as error:
        load(Config, overrides={key: value})
    assert says in str(error.value)


def test_random_pictures_cannot_be_worse():
    from flags import Config

    with pytest.raises(UserError, match="robustness needs pictures in files"):
        load(Config, overrides={"robustness": True, "tmp_data": [8, 3, 32, 32]})


# --------------------------------------------------------------------------------- report


def faces(n: int = 200, labels: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    truth = np.resize(labels, n)
    scores = np.clip(np.random.default_rng(0).normal(0.3 + 0.4 * truth, 0.2), 0, 1)
    return pd.DataFrame({"path": [f"{i}.png" for i in range(n)], "label": truth, "score": scores})


def test_the_table_says_what_is_lost_over_the_same_faces(tmp_path):
    frame = faces()
    own = frame["score"].to_numpy()
    worse = np.clip(own + np.random.default_rng(1).normal(0, 0.4, 200), 0, 1)
    some = worse.copy()
    some[:7] = np.nan
    changed = [
        Perturbed("jpeg", 95.0, own),
        Perturbed("jpeg", 30.0, worse),
        Perturbed("blur", 2.0, some),
    ]
    limits = Thresholds(0.45, 0.3, 0.6, "90 validation faces of v.csv")
    found = robustness.judged(frame, changed, limits, 300)
    robustness.write(tmp_path / "robustness.csv", found)
    table = pd.read_csv(tmp_path / "robustness.csv").set_index(["kind", "strength"])
    assert table.index.tolist()[1:] == [("jpeg", 95.0), ("jpeg", 30.0), ("blur", 2.0)]
    assert table["n"].tolist() == [200, 200, 200, 193]
    assert table.loc[("jpeg", 95.0), "loss"] == 0 and np.isnan(
        table.loc[("jpeg", 95.0), "loss_low"]
    )
    row = table.loc[("jpeg", 30.0)]
    reference = table.iloc[0]["auc"]
    assert row["loss"] == pytest.approx(reference - row["auc"]) and row["loss"] > 0.05
    assert row["loss_low"] < row["loss"] < row["loss_high"] and row["loss_low"] > 0
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    real = frame["label"] == 0
    assert row["false_positive_rate"] == pytest.approx((worse[real] >= 0.45).mean())
    notes = " ".join(found.table.notes)
    assert "100 real, 100 fake" in notes and "0.4500, from 90 validation faces of v.csv" in notes
    assert "1 rows have fewer faces" in notes
    assert "jpeg 95: " in found.plot and "as they are" in found.plot


def test_without_thresholds_or_with_one_class_it_says_so():
    frame = faces()
    one = [Perturbed("noise", 5.0, frame["score"].to_numpy())]
    assert (
        "accuracy and false alarms at 0.5"
        in robustness.judged(frame, one, NO_THRESHOLDS, 0).table.notes[0]
    )
    reals = faces(labels=(0,))
    found = robustness.judged(reals, one, NO_THRESHOLDS, 50)
    assert np.isnan(found.table.rows[0][4].value)  # no AUC, and so no loss of it
    assert np.isnan(found.table.rows[1][3].value) and "needs reals and fakes" in found.plot
    assert 0 <= found.table.rows[1][6].value <= 1


@pytest.mark.parametrize("which", ["all", "fakes"])
def test_a_kind_that_fails_at_every_strength_is_a_panel_that_says_so(which):
    """As where x264 is missing: the other kinds are told all the same."""
    frame = faces()
    failed = frame["score"].to_numpy(float).copy()
    failed[(frame["label"] == 1).to_numpy() if which == "fakes" else slice(None)] = np.nan
    changed = [
        Perturbed("jpeg", 30.0, frame["score"].to_numpy(float)),
        *(Perturbed("h264", strength, failed) for strength in (18.0, 40.0)),
    ]
    found = robustness.judged(frame, changed, NO_THRESHOLDS, 50)
    assert [np.isnan(row[3].value) for row in found.table.rows] == [False, False, True, True]
    assert "no AUC" in found.plot and "jpeg 30: " in found.plot
