"""Heatmaps show what a network looked at, and whom they are drawn for."""

import copy
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flags import Heatmaps, InputSize, Model
from metrics import FAKE, REAL, THRESHOLD, called
from networks import Detector, build
from report import pictures as drawn_pictures
from report.cams import METHODS
from report.heatmaps import (
    BATCH,
    METHOD,
    NOT_ABOUT_A_CLASS,
    ONE_AT_A_TIME,
    caption,
    choose,
    draw,
    heatmaps,
    legend,
    mistakes,
    sheet,
)
from scores import fake_score

ABOUT_A_CLASS = sorted(set(METHODS) - set(NOT_ABOUT_A_CLASS))


class Corner(nn.Module):
    """Sees the mean colour of the upper left corner and nothing else."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.colour = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.colour.weight, 1 / 3)
        self.register_buffer("window", torch.zeros(size, size))
        self.window[: size // 4, : size // 4] = 1

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.colour(pictures) * self.window


class Head(nn.Module):
    """The corner's brightness speaks for FAKE."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        fake = features.flatten(1).mean(1, keepdim=True)
        return fake if self.outputs == 1 else torch.cat([torch.zeros_like(fake), fake], 1)


def corner_network(outputs: int, size: int = 32) -> Detector:
    layer = Corner(size)
    return Detector(nn.Sequential(layer, Head(outputs)), [0.0] * 3, [1.0] * 3, layer, "by hand")


def noise(count: int, size: int = 32) -> torch.Tensor:
    dice = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=dice, dtype=torch.uint8)


# ----------------------------------------------------------------------------------- maps


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_map_shines_where_the_network_looks(outputs):
    white = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    fake, real = heatmaps(corner_network(outputs), white, np.array([0.9, 0.1]))
    assert fake[:7, :7].min() > 0.9
    assert fake[10:].max() < 0.1 and fake[:, 10:].max() < 0.1
    assert real.max() < 0.1  # nothing speaks for REAL


@pytest.mark.parametrize("name", ["ResNet", "EfficientNetLite"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_maps_of_the_shipped_networks(name, outputs):
    torch.manual_seed(0)
    network = build(name, Model(), outputs, 0.0)
    # Maps of 64 x 80 pixels, of each class, in more than one batch.
    pictures = torch.randint(0, 256, (BATCH + 1, 3, 64, 80), dtype=torch.uint8)
    maps = heatmaps(network, pictures, np.linspace(0, 1, BATCH + 1))
    assert maps.shape == (BATCH + 1, 64, 80)
    assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1
    assert maps.max() > 0.9


def test_the_map_follows_the_class_that_was_called():
    torch.manual_seed(0)
    network = build("ResNet", Model(), 2, 0.0)
    pictures = noise(1, 64)
    fake, real = (heatmaps(network, pictures, np.array([s]))[0] for s in (0.5, 0.4999))
    assert not np.allclose(fake, real)
    assert np.allclose(heatmaps(network, pictures, np.array([1.0]))[0], fake)


def test_no_pictures_give_no_maps():
    assert heatmaps(corner_network(2), noise(0), np.array([])).shape == (0, 32, 32)


def test_maps_work_without_gradients_around_and_leave_the_network_as_it_was():
    network = corner_network(2)
    before = network(noise(2)).detach()
    with torch.no_grad():
        maps = heatmaps(network, noise(2), np.array([0.9, 0.9]))
    assert maps.max() > 0.9
    assert torch.equal(network(noise(2)).detach(), before)
    assert not network.heatmap_layer._forward_hooks


# -------------------------------------------------------------------------------- methods


class Corners(nn.Module):
    """Two maps: the brightness of the upper left corner, and of the lower right one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.colour = nn.Conv2d(3, 2, 1, bias=False)
        nn.init.constant_(self.colour.weight, 1 / 3)
        windows = torch.zeros(2, size, size)
        windows[0, : size // 4, : size // 4] = windows[1, -size // 4 :, -size // 4 :] = 1
        self.register_buffer("windows", windows)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.colour(pictures) * self.windows


class FirstMap(nn.Module):
    """The first map speaks for FAKE; the second is for nothing."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        fake = 100 * maps[:, :1].flatten(1).mean(1, keepdim=True)
        return fake if self.outputs == 1 else torch.cat([torch.zeros_like(fake), fake], 1)


class Tokens(nn.Module):
    """A map [n, channels, height, width] as tokens [n, 1 + height x width, channels]."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        tokens = maps.flatten(2).transpose(1, 2)
        return torch.cat([torch.ones_like(tokens[:, :1]), tokens], 1)


class FirstChannel(nn.Module):
    """FirstMap of tokens."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        fake = 100 * tokens[:, 1:, :1].mean(1)
        return torch.cat([torch.zeros_like(fake), fake], 1)


def corners_network(outputs: int, size: int = 32) -> Detector:
    layer = Corners(size)
    return Detector(nn.Sequential(layer, FirstMap(outputs)), [0.0] * 3, [1.0] * 3, layer, "by hand")


def tokens_network(size: int = 32) -> Detector:
    """The same evidence, read from a layer that gives tokens, as a transformer's does."""
    layer = Tokens()
    backbone = nn.Sequential(Corners(size), layer, FirstChannel())
    network = Detector(backbone, [0.0] * 3, [1.0] * 3, layer, "by hand")
    network.heatmap_reshape = lambda tokens: (
        tokens[:, 1:].transpose(1, 2).unflatten(2, (size, size))
    )
    return network


WHITE = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)


def test_the_setting_names_the_methods():
    assert get_args(Heatmaps.model_fields["method"].annotation) == tuple(METHODS)
    assert Heatmaps().method == METHOD == "GradCAM"
    assert {*NOT_ABOUT_A_CLASS, *ONE_AT_A_TIME} < set(METHODS)


@pytest.mark.parametrize("method", ABOUT_A_CLASS)
@pytest.mark.parametrize("kind", ["one output", "two outputs", "tokens"])
def test_every_method_points_at_what_the_score_depends_on(method, kind):
    network = tokens_network() if kind == "tokens" else corners_network(1 + (kind[:3] == "two"))
    for found in heatmaps(network, WHITE, np.array([0.9, 0.9]), method):
        assert found[:7, :7].min() > 0.9
        assert found[10:].max() < 0.1 and found[:, 10:].max() < 0.1  # not the other corner


@pytest.mark.parametrize("method", sorted({*ABOUT_A_CLASS} - {"ScoreCAM"}))
def test_what_speaks_for_fake_is_dark_where_a_face_was_called_real(method):
    (found,) = heatmaps(corners_network(2), WHITE[:1], np.array([0.1]), method)
    assert found.max() < 0.1


def test_eigencam_points_at_what_stands_out_whatever_it_is_called():
    first, second = heatmaps(corner_network(2), WHITE, np.array([0.9, 0.1]), "EigenCAM")
    assert first[:7, :7].min() > 0.9 and first[10:].max() < 0.1
    assert np.array_equal(first, second)


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_eigencam_is_bright_where_the_layer_reacts_and_not_where_it_rests(flip):
    """A principal component has no sign: the library's picture may be the negative."""
    network = corner_network(2)
    with torch.no_grad():
        network.heatmap_layer.colour.weight *= flip
    (found,) = heatmaps(network, WHITE[:1], np.array([0.9]), "EigenCAM")
    assert found[:7, :7].min() > 0.9 and found[10:].max() < 0.1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "variant", "outputs"), [("MesoNet", "", 1), ("ViT", "tiny_patch16", 2)]
)
def test_every_method_on_shipped_networks(method, name, variant, outputs):
    torch.manual_seed(0)
    network = build(
        name, Model(variant=variant), outputs, 0.0, InputSize(height=64, width=48)
    ).eval()
    pictures = noise(1 if method in ONE_AT_A_TIME else 3, 64)[..., :48]
    with torch.no_grad():
        before, state = network(pictures), copy.deepcopy(network.state_dict())
        maps = heatmaps(network, pictures, fake_score(before).numpy(), method)
        after = network(pictures)
    assert maps.shape == (len(pictures), 64, 48)
    assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1
    assert maps.max() > 0.9
    assert torch.equal(before, after)
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert not network.heatmap_layer._forward_hooks
    assert network.heatmap_layer in list(network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0, 255])
def test_a_map_of_nothing_is_dark_and_a_number(method, value):
    """A layer that gives one value everywhere, and a score that depends on nothing."""
    layer = nn.Conv2d(3, 4, 3, padding=1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    backbone = nn.Sequential(layer, FirstMap(2))
    network = Detector(backbone, [0.0] * 3, [1.0] * 3, layer, "by hand")
    pictures = torch.full((2, 3, 16, 16), value, dtype=torch.uint8)
    maps = heatmaps(network, pictures, np.array([0.5, 0.1]), method)
    assert (maps == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_method_writes_to_the_console(method, capsys):
    heatmaps(corners_network(2), WHITE, np.array([0.9, 0.9]), method)
    assert capsys.readouterr() == ("", "")


def test_an_error_within_is_not_swallowed():
    """The library's own closing would swallow an IndexError and say so on the console."""

    class Broken(nn.Module):
        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            raise IndexError("a network's own mistake")

    layer = Corners(32)
    network = Detector(nn.Sequential(layer, Broken()), [0.0] * 3, [1.0] * 3, layer, "by hand")
    with pytest.raises(IndexError, match="own mistake"):
        heatmaps(network, WHITE, np.array([0.9, 0.9]))
    assert not layer._forward_hooks


class Faces(torch.utils.data.Dataset):
    """White faces, as samples give them."""

    def __getitem__(self, key):
        return WHITE[0], 0

    def __len__(self):
        return 4


@pytest.mark.parametrize("method", [METHOD, "EigenCAM", "AblationCAM"])
def test_the_reports_captions_name_the_method(method, tmp_path):
    labels, values = np.array([REAL, FAKE, FAKE, REAL]), np.array([0.9, 0.8, np.nan, 0.7])
    entries = drawn_pictures.chosen_heatmaps(
        corners_network(2), Faces(), list("abcd"), labels, values, 4, 0, tmp_path, method
    )
    assert len(entries) == 3 == len(list(tmp_path.glob("*.png")))
    assert all(entry.caption.endswith(f". {legend(0.9, method)}") for entry in entries)


@pytest.mark.parametrize("method", METHODS)
def test_the_legend_says_how_it_was_drawn_and_what_bright_means(method):
    for score in (0.1, 0.9):
        text = legend(score, method)
        assert text.startswith(f"{method}: ")
        assert ("not about a class" in text) == (method in NOT_ABOUT_A_CLASS)
        assert (called(score) in text) == (method not in NOT_ABOUT_A_CLASS)
    # The narrowest drawing has room for it: its right edge stays white.
    drawn = draw(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64)), REAL, 0.9, method)
    assert (drawn[:-64, -1] == 255).all()
    other = draw(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64)), REAL, 0.9, "Other")
    assert (drawn[:-64] != other[:-64]).any()


# --------------------------------------------------------------------------------- choice

one_row = st.tuples(
    st.sampled_from([-1, REAL, FAKE]), st.one_of(st.just(float("nan")), st.floats(0, 1))
)


@given(st.lists(one_row, max_size=40), st.integers(1, 20), st.integers(0, 5))
@settings(deadline=None)
def test_choices_are_few_usable_and_different(rows, count, seed):
    labels = np.array([label for label, _ in rows], int)
    scores = np.array([score for _, score in rows], float)
    chosen = choose(labels, scores, count, seed)
    picked = [choice.row for choice in chosen]
    assert len(set(picked)) == len(picked) == min(count, int(np.isfinite(scores).sum()))
    for choice in chosen:
        label, score = labels[choice.row], scores[choice.row]
        right = (label == FAKE) == (called(score) == "FAKE")
        assert np.isfinite(score)
        if choice.group == "most wrong":
            assert label >= 0 and not right
        elif choice.group == "most certain and right":
            assert label >= 0 and right
        else:
            assert choice.group == "random"
    assert chosen == choose(labels, scores, count, seed)


@given(st.lists(one_row, max_size=40))
def test_mistakes_are_all_that_was_called_wrongly_the_worst_first(rows):
    labels = np.array([label for label, _ in rows], int)
    scores = np.array([score for _, score in rows], float)
    wrong = mistakes(labels, scores)
    assert sorted(wrong) == [
        i
        for i, (label, score) in enumerate(rows)
        if label >= 0 and np.isfinite(score) and ("REAL", "FAKE")[label] != called(score)
    ]
    distances = [abs(scores[i] - labels[i]) for i in wrong]
    assert distances == sorted(distances, reverse=True)


def test_the_worst_and_the_most_certain_come_first():
    labels = np.array([REAL, REAL, FAKE, FAKE, REAL, FAKE, REAL, FAKE, REAL])
    scores = np.array([0.99, 0.6, 0.1, 0.45, 0.01, 0.97, 0.2, 0.8, 0.3])
    chosen = choose(labels, scores, 6)
    groups = {
        name: [c.row for c in chosen if c.group == name] for name in {c.group for c in chosen}
    }
    assert groups["most wrong"] == [0, 2]
    assert groups["most certain and right"] == [5, 4]
    assert len(groups["random"]) == 2


def test_the_most_certain_are_of_both_classes():
    labels = np.array([REAL] * 6 + [FAKE] * 6)
    scores = np.array([0.001] * 6 + [0.6, 0.7, 0.8, 0.9, 0.7, 0.6])  # every real is more certain
    rows = [c.row for c in choose(labels, scores, 12) if c.group == "most certain and right"]
    assert rows == [9, 0, 8, 1]


def test_without_mistakes_there_are_more_random_ones():
    chosen = choose(np.full(20, REAL), np.linspace(0, 0.4, 20), 9)
    assert [c.group for c in chosen] == ["most certain and right"] * 3 + ["random"] * 6


def test_unknown_labels_are_neither_right_nor_wrong():
    chosen = choose(np.full(5, -1), np.array([0.1, 0.9, 0.5, np.nan, 0.7]), 9)
    assert [c.row for c in chosen] == [0, 1, 2, 4]
    assert {c.group for c in chosen} == {"random"}


def test_a_score_on_the_line_is_called_fake():
    assert [c.group for c in choose(np.array([FAKE]), np.array([0.5]), 3)] == [
        "most certain and right"
    ]
    assert [c.group for c in choose(np.array([REAL]), np.array([0.5]), 3)] == ["most wrong"]


def test_what_a_score_is_called():
    assert THRESHOLD == 0.5
    assert [called(s) for s in (0.0, 0.4999, 0.5, 1.0)] == ["REAL", "REAL", "FAKE", "FAKE"]
    assert [called(s, 0.2) for s in (0.1999, 0.2)] == ["REAL", "FAKE"]


@pytest.mark.parametrize(
    ("label", "score", "first"),
    [
        (REAL, 0.4999, "a real face, called REAL"),
        (REAL, 0.5, "a real face, called FAKE (wrong)"),
        (FAKE, 0.5, "a fake, called FAKE"),
        (FAKE, 0.4999, "a fake, called REAL (wrong)"),
        (-1, 0.9, "a face of unknown label, called FAKE"),
    ],
)
def test_a_caption_says_truth_call_and_score(label, score, first):
    assert caption(label, score) == f"{first}\nfake score {score:.3f}"


# -------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("size", [(64, 48), (224, 224)])
@pytest.mark.parametrize("label", [-1, REAL, FAKE])
def test_a_drawing_shows_face_map_and_caption(size, label):
    picture = np.full((*size, 3), 200, np.uint8)
    heat = np.zeros(size)
    heat[: size[0] // 2] = 1
    drawn = draw(picture, heat, label, 0.73)
    height, width = size
    assert drawn.dtype == np.uint8
    assert drawn.shape[0] > height and drawn.shape[1] >= 2 * width
    face, overlay = drawn[-height:, :width], drawn[-height:, width : 2 * width]
    assert (face == 200).all()
    assert overlay[: height // 2].mean() > overlay[height // 2 :].mean() + 20
    assert (drawn[:-height] < 100).any()  # the caption


def test_a_mistake_is_written_in_red():
    def reds(label):
        drawn = draw(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64)), label, 0.9)
        top = drawn[:-64].astype(int)
        return int((top[..., 0] - top[..., 1] > 100).sum())

    assert reds(REAL) > 20
    assert reds(FAKE) == 0 == reds(-1)


def test_a_sheet_holds_all_drawings():
    pictures = [np.full((10, 20, 3), 10 * i, np.uint8) for i in range(1, 6)]
    whole = sheet(pictures, columns=3)
    assert whole.shape == (20, 60, 3)
    assert whole[0, 0, 0] == 10 and whole[0, 59, 0] == 30 and whole[19, 39, 0] == 50
    assert (whole[10:, 40:] == 255).all()
