"""MTCNN's three networks (Zhang et al. 2016), with the weights of facenet-pytorch's package.

    pnet, rnet, onet = load()
    moves, sure = pnet(pictures)            # [n, 4, ...], [n, 2, ...]; onet: moves, points, sure

facenet-pytorch has the same networks, but to import it is to import torchvision and all that this
brings: two seconds, before the first picture is searched and in each of prepare.py's processes.
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

PACKAGE = "facenet_pytorch"


class _Flat(nn.Module):
    """Maps [n, channels, height, width] -> [n, values], in the order of the weights, Caffe's."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 3, 2, 1).flatten(1)


class Stage(nn.Module):
    """One of the three: layers one after another, then heads that each answer from the last's.

    forward: pictures [n, 3, side, side], -1..1 -> what the heads say, in their order; the last
    head's as probabilities of no face and of a face. The names are those of the stored weights.
    """

    def __init__(self, layers: dict[str, nn.Module], heads: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in (layers | heads).items():
            self.add_module(name, layer)
        self._layers, self._heads = list(layers), list(heads)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        seen = pictures
        for name in self._layers:
            seen = self.get_submodule(name)(seen)
        *said, face = (self.get_submodule(name)(seen) for name in self._heads)
        return [*said, face.softmax(1)]


def pnet() -> Stage:
    """Proposals: shown a whole picture, it answers for each window of 12 px, 2 px apart."""
    return Stage(
        {
            **_convolution(1, 3, 10, 3),
            "pool1": _pool(2),
            **_convolution(2, 10, 16, 3),
            **_convolution(3, 16, 32, 3),
        },
        {"conv4_2": nn.Conv2d(32, 4, 1), "conv4_1": nn.Conv2d(32, 2, 1)},
    )


def rnet() -> Stage:
    """Refinement, of cut-outs of 24 px."""
    return Stage(
        {
            **_convolution(1, 3, 28, 3),
            "pool1": _pool(3),
            **_convolution(2, 28, 48, 3),
            "pool2": _pool(3),
            **_convolution(3, 48, 64, 2),
            **_dense(4, 576, 128),
        },
        {"dense5_2": nn.Linear(128, 4), "dense5_1": nn.Linear(128, 2)},
    )


def onet() -> Stage:
    """The last word, of cut-outs of 48 px, with the five points."""
    return Stage(
        {
            **_convolution(1, 3, 32, 3),
            "pool1": _pool(3),
            **_convolution(2, 32, 64, 3),
            "pool2": _pool(3),
            **_convolution(3, 64, 64, 3),
            "pool3": _pool(2),
            **_convolution(4, 64, 128, 2),
            **_dense(5, 1152, 256),
        },
        {
            "dense6_2": nn.Linear(256, 4),
            "dense6_3": nn.Linear(256, 10),
            "dense6_1": nn.Linear(256, 2),
        },
    )


def load() -> tuple[Stage, Stage, Stage]:
    """The three with their weights, in evaluation mode, on the CPU.

    Raises ImportError where facenet-pytorch is not installed.
    """
    package = importlib.util.find_spec(PACKAGE)  # found, not imported
    if package is None or package.origin is None:
        raise ImportError(f"{PACKAGE} is not installed, in which MTCNN's weights lie", name=PACKAGE)
    home = Path(package.origin).parent / "data"
    with torch.random.fork_rng(devices=[]):  # layers draw weights before they load theirs
        stages = pnet(), rnet(), onet()
    for name, stage in zip(("pnet", "rnet", "onet"), stages, strict=True):
        state = torch.load(home / f"{name}.pt", map_location="cpu", weights_only=True)
        stage.load_state_dict(state)
        stage.eval()
    return stages


def _convolution(number: int, before: int, after: int, side: int) -> dict[str, nn.Module]:
    """A convolution and its PReLU, which learns a slope for each channel."""
    return {
        f"conv{number}": nn.Conv2d(before, after, side),
        f"prelu{number}": nn.PReLU(after),
    }


def _dense(number: int, before: int, after: int) -> dict[str, nn.Module]:
    return {
        f"flat{number}": _Flat(),
        f"dense{number}": nn.Linear(before, after),
        f"prelu{number}": nn.PReLU(after),
    }


def _pool(side: int) -> nn.Module:
    return nn.MaxPool2d(side, 2, ceil_mode=True)
