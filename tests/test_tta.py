"""Test-time views of a face: by hand, the same in any batch, carried by the checkpoint."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

import scores
from batches import Batch
from flags import Tta
from utils import UserError


class Bright(nn.Module):
    """Scores by the mean of a picture's left half, 0..255."""

    tta = "none"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        half = images.float()[..., : images.shape[-1] // 2]
        return half.mean(dim=(1, 2, 3))[:, None] / 64 - 2


def batches(images: torch.Tensor, size: int) -> list[Batch]:
    rows = torch.arange(len(images))
    return [
        Batch(images[part], torch.zeros(len(part), dtype=torch.int64), part)
        for part in rows.split(size)
    ]


def scored(images: torch.Tensor, tta: str, size: int = 4, network: nn.Module | None = None):
    network = network or Bright()
    network.tta = tta
    names = [f"{i}.png" for i in range(len(images))]
    return scores.score(network, batches(images, size), names, torch.device("cpu"))


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (10, 3, 40, 40), generator=generator, dtype=torch.uint8)


def test_the_settings_name_what_scores_knows():
    assert get_args(Tta) == ("", *scores.TTA)


def test_a_flip_is_the_mean_of_both_sides(images):
    images[:, :, :, :20] //= 2  # the halves differ
    own, _ = scored(images, "none")
    mirrored, _ = scored(images.flip(-1), "none")
    both, failures = scored(images, "flip")
    np.testing.assert_allclose(both, (own + mirrored) / 2, rtol=0, atol=1e-6)
    assert not failures and np.abs(own - mirrored).min() > 0.01
    np.testing.assert_allclose(scored(images.flip(-1), "flip")[0], both, rtol=0, atol=1e-6)


def test_ten_crops_count_by_the_mean_of_their_top_half(images):
    views = list(scores.views(images, "crops10"))
    assert len(views) == 10 and all(view.shape == images.shape for view in views)
    network = Bright()
    each = np.stack([scores.fake_score(network(view)).numpy() for view in views])
    expected = np.sort(each, axis=0)[5:].mean(axis=0)
    values, _ = scored(images, "crops10")
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
    assert (values >= each.mean(axis=0)).all() and each.std(axis=0).min() > 0


def test_a_crop_is_a_part_of_the_picture_at_its_size():
    place = torch.arange(100.0).expand(1, 1, 100, 100)  # each pixel says its column
    spans = [(v[..., 0].mean(), v[..., -1].mean()) for v in scores.views(place, "crops10")]
    for left, right in spans:
        assert left >= -0.5 and right <= 99.5 and 78 <= right - left <= 99
    assert len({round(float(left)) for left, _ in spans}) > 3  # they lie in several places
    grey = torch.full((2, 3, 20, 20), 77, dtype=torch.uint8)
    assert all((view.round() == 77).all() for view in scores.views(grey, "crops10"))


@pytest.mark.parametrize("tta", scores.TTA)
def test_a_face_has_one_score_whatever_its_batch(images, tta):
    alone, _ = scored(images, tta, size=1)
    np.testing.assert_allclose(scored(images, tta, size=10)[0], alone, rtol=0, atol=1e-6)


class Broken(Bright):
    """Answers NaN to one picture, in some of its views."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 2:
            logits[1] = float("nan")
        return logits


@pytest.mark.parametrize("tta", ["flip", "crops10"])
def test_one_view_without_an_answer_is_a_face_without_a_score(images, tta):
    values, failures = scored(images[:4], tta, network=Broken())
    assert np.isnan(values).tolist() == [False, True, False, False]
    assert [f.path for f in failures] == ["1.png"]


def test_a_later_versions_name_is_refused(images):
    with pytest.raises(UserError, match="tta 'dream' is a later version's"):
        scored(images, "dream")
