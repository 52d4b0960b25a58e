"""familiar.py: the usual is near, what leaves it is far, in whatever direction."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import familiar
from batches import Batch
from flags import InputSize, Model
from networks import build
from processes import Processes
from training.usual import Reals


def faces(n: int, d: int = 40, seed: int = 0) -> np.ndarray:
    """Features that vary in a few directions much and in the others little."""
    dice = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(5, d)) * 3
    return dice.normal(size=(n, 5)) @ mixing + 0.2 * dice.normal(size=(n, d)) + 1


def test_about_one_in_a_hundred_of_new_reals_is_far():
    stored = familiar.fit(faces(800), "made")
    share = (familiar.distances(stored, faces(4000, seed=1)) > stored["limit"]).mean()
    assert 0.001 < share < 0.03 and stored["n"] == 800 and stored["data"] == "made"


@pytest.mark.parametrize("how", ["along", "outside"])
def test_what_leaves_the_usual_is_far_in_every_direction(how):
    usual = faces(400)
    stored = familiar.fit(usual, "made")
    odd = usual[:50].copy()
    if how == "along":  # a usual direction, much too far
        odd += 8 * (usual[0] - usual.mean(0))
    else:  # nowhere near one
        odd += 2 * np.random.default_rng(5).normal(size=odd.shape)
    assert (familiar.distances(stored, odd) > stored["limit"]).all()


def test_it_survives_json_to_the_bit():
    stored = familiar.fit(faces(100), "made")
    back = json.loads(json.dumps(stored))
    assert back == stored
    assert np.array_equal(familiar.distances(back, faces(9)), familiar.distances(stored, faces(9)))
    assert len(json.dumps(stored)) < 12_000


def test_a_network_that_says_the_same_of_all_gives_plain_numbers():
    """A NumPy number would make a checkpoint that nobody can load."""
    for features in (np.ones((50, 40)), np.outer(np.arange(50), np.ones(40))):
        stored = familiar.fit(features, "x")
        assert stored is not None
        assert {type(stored[key]) for key in ("rest", "limit")} == {float}


def test_too_few_and_broken_ones_give_none():
    assert familiar.fit(faces(familiar.LEAST - 1), "made") is None
    broken = faces(familiar.LEAST)
    broken[0, 0] = np.nan
    assert familiar.fit(broken, "made") is None


def test_features_of_another_network_are_refused():
    stored = familiar.fit(faces(50), "made")
    with pytest.raises(ValueError, match="40"):
        familiar.distances(stored, faces(3, d=41))


@settings(max_examples=20, deadline=None)
@given(n=st.integers(20, 60), d=st.integers(2, 80), scale=st.floats(1e-3, 1e3))
def test_any_size_and_scale_gives_finite_numbers(n, d, scale):
    features = np.random.default_rng(n).normal(size=(n, d)) * scale
    features[:, 0] = 0  # a dead unit, which every network has
    stored = familiar.fit(features, "made")
    assert np.isfinite(familiar.distances(stored, features)).all() and stored["limit"] > 0


@pytest.mark.parametrize("name", ["MesoNet", "VGG"])
def test_a_network_gives_its_last_features_as_the_head_sees_them(name):
    network = build(name, Model(), 2, 0.0, InputSize(height=64, width=64)).eval()
    pictures = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with network.features() as seen:
        network(pictures)
        network(pictures[:1])
    assert [len(part) for part in seen] == [3, 1] and seen[0].ndim == 2
    network(pictures)
    assert len(seen) == 2, "the hook is gone after the block"


def test_reals_alone_are_kept_and_each_by_its_row():
    network = build("MesoNet", Model(), 2, 0.0, InputSize(height=64, width=64)).eval()
    pictures = torch.randint(0, 256, (50, 3, 64, 64), dtype=torch.uint8)
    labels = np.arange(50) % 2
    rows = torch.randperm(50)
    batches = [
        Batch(pictures[part], torch.tensor(labels)[part], part) for part in rows.split(16)
    ]  # fmt: skip
    reals = Reals(network, batches, labels)
    with torch.no_grad():
        for batch in reals:
            network(batch.images)
        with network.features() as seen:
            network(pictures)
    assert sorted(reals.kept) == list(range(0, 50, 2))
    for row, kept in reals.kept.items():
        assert np.allclose(kept, seen[0][row].numpy(), atol=1e-4)
    fitted = reals.fitted(Processes(torch.device("cpu")), "made")
    assert fitted["features"]["n"] == 25
