"""Heatmaps: what a network looked at, drawn beside the face with its class and score."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from metrics import FAKE, REAL, THRESHOLD, called
from networks import Detector

BATCH = 16
TEXT_HEIGHT = 64
FONT_SIZE = 14

METHOD = "GradCAM"
"""Unless another is asked for by `heatmaps.method`."""

NOT_ABOUT_A_CLASS = ("EigenCAM",)
"""Methods that show what stands out to a network, whatever it makes of it."""

ONE_AT_A_TIME = ("ScoreCAM", "AblationCAM")
"""Methods that run the network once a map of its layer: slow, and large for many pictures."""


@dataclass(frozen=True)
class Choice:
    """One face to draw: its row, and the group it stands for."""

    row: int
    group: str


def choose(labels: np.ndarray, scores: np.ndarray, count: int, seed: int = 0) -> list[Choice]:
    """At most `count` rows: a third most wrong, a third most certain and right (fakes and reals by
    turns), the rest random.

    labels: [n], 0 or 1 (-1: unknown, then nothing is wrong or right). scores: [n], NaN where a
    row has none. No row is chosen twice; fewer mistakes leave more room for random rows.
    """
    usable = np.isfinite(scores)
    known = usable & (labels >= 0)
    distance = np.where(known, np.abs(scores - labels), np.nan)
    by_distance = np.argsort(np.where(known, distance, np.inf), kind="stable")[: int(known.sum())]
    is_right = (scores >= THRESHOLD) == (labels == FAKE)
    certain = [int(i) for i in by_distance if is_right[i]]
    # Fakes and reals by turns: the most certain of all may be of one class.
    sides = ([i for i in certain if labels[i] == c] for c in (FAKE, REAL))
    right = [i for pair in zip_longest(*sides) for i in pair if i is not None]
    wrong = mistakes(labels, scores)
    third = max(1, count // 3)
    chosen = [Choice(i, "most wrong") for i in wrong[:third]]
    chosen += [Choice(i, "most certain and right") for i in right[:third]]
    taken = {choice.row for choice in chosen}
    rest = [int(i) for i in np.flatnonzero(usable) if int(i) not in taken]
    random = np.random.default_rng(seed).permutation(len(rest))[: max(0, count - len(chosen))]
    return (chosen + [Choice(rest[i], "random") for i in sorted(random)])[:count]


def mistakes(labels: np.ndarray, scores: np.ndarray) -> list[int]:
    """Rows that were called wrongly, the furthest from the truth first."""
    known = np.isfinite(scores) & (labels >= 0)
    wrong = known & ((scores >= THRESHOLD) != (labels == FAKE))
    distance = np.where(wrong, np.abs(scores - labels), -1.0)
    return [int(i) for i in np.argsort(-distance, kind="stable")[: int(wrong.sum())]]


def heatmaps(
    network: Detector, pictures: torch.Tensor, scores: np.ndarray, method: str = METHOD
) -> np.ndarray:
    """A class activation map for the class that each picture was called.

    pictures: uint8 [n, channels, height, width] on the network's device. scores: [n], 0..1; from
    THRESHOLD on the map shows what speaks for FAKE, below what speaks for REAL. method: one of
    report.cams.METHODS, by default Grad-CAM (Selvaraju et al., ICCV 2017). Returns float
    [n, height, width], 0..1, each scaled to its own maximum; all 0 where nothing speaks for it.
    """
    from report.cams import cam_of

    size, maps = 1 if method in ONE_AT_A_TIME else BATCH, []
    for start in range(0, len(pictures), size):
        part = slice(start, start + size)
        targets = [_margin_towards(FAKE if s >= THRESHOLD else REAL) for s in scores[part]]
        with cam_of(method, network.eval()) as cam, torch.enable_grad(), _quiet():
            maps.append(cam(input_tensor=pictures[part], targets=targets))
    return np.nan_to_num(np.concatenate(maps)) if maps else np.empty((0, *pictures.shape[2:]))


def draw(
    picture: np.ndarray, heatmap: np.ndarray, label: int, score: float, method: str = METHOD
) -> np.ndarray:
    """Face and overlay side by side with a caption: uint8 RGB.

    picture: uint8 RGB [height, width, 3]. heatmap: [height, width], 0..1. label: 0, 1 or -1.
    """
    pair = np.concatenate([picture, overlay(picture, heatmap)], axis=1)
    sheet = Image.new("RGB", (max(pair.shape[1], 300), pair.shape[0] + TEXT_HEIGHT), "white")
    sheet.paste(Image.fromarray(pair), (0, TEXT_HEIGHT))
    right = label < 0 or (label == FAKE) == (score >= THRESHOLD)
    first, second = caption(label, score).split("\n")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    pen.text((4, 3), first, fill="black" if right else "#B00000", font=font)
    pen.text((4, 23), second, fill="#444444", font=font)
    pen.text((4, 43), legend(score, method), fill="#444444", font=font)
    return np.asarray(sheet)


def overlay(picture: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """A map laid over its face: uint8 RGB."""
    colours = cv2.applyColorMap((255 * heatmap.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO)
    colours = cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)
    return (0.5 * picture + 0.5 * colours).round().astype(np.uint8)


def caption(label: int, score: float) -> str:
    """What is true, what it was called, with which score; two lines."""
    truth = {REAL: "a real face", FAKE: "a fake"}.get(label, "a face of unknown label")
    wrong = label >= 0 and (label == FAKE) != (score >= THRESHOLD)
    return f"{truth}, called {called(score)}{' (wrong)' if wrong else ''}\nfake score {score:.3f}"


def legend(score: float, method: str = METHOD) -> str:
    """How a map was made and what bright means in it; one line."""
    if method in NOT_ABOUT_A_CLASS:
        return f"{method}: what stands out, not about a class"
    return f"{method}: bright speaks for {called(score)}"


def sheet(pictures: Sequence[np.ndarray], columns: int = 3) -> np.ndarray:
    """Drawn heatmaps on one sheet, left to right: uint8 RGB."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    whole = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * height, i % columns * width
        whole[top : top + height, left : left + width] = picture
    return whole


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library: its warnings about inputs without gradients, and a bar a picture."""
    # NumPy's too: some methods divide by what may be nothing.
    hidden = contextlib.redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), hidden, np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _margin_towards(label: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """What the score depends on: the difference of two logits, or one logit, with its sign."""
    sign = 1.0 if label == FAKE else -1.0

    def margin(output: torch.Tensor) -> torch.Tensor:
        return sign * (output[0] if output.numel() == 1 else output[1] - output[0])

    return margin
