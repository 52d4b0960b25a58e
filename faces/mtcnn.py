"""MTCNN's cascade (Zhang et al. 2016) around its three networks, for many frames.

    cascade = load((0.6, 0.7, 0.7), torch.device("cpu"))
    cascade.search(images, smallest=20)     # P-Net everywhere, then R-Net, then O-Net
    cascade.near(image, boxes)              # O-Net alone, where faces are expected

The weights are facenet-pytorch's; what goes on between the networks is done here, since there its
pyramid took a third of the time: OpenCV shrinks and cuts, and the networks work in
channels_last. Boxes are half-open, in pixels from 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from faces import mtcnn_networks

WINDOW, STRIDE = 12, 2
"""Pixels that P-Net looks at for one answer, and from one answer to the next."""

STEP = 0.709
"""From one size of the pyramid to the next: half the area (facenet-pytorch's default)."""

SAME, SAME_CUT, INSIDE = 0.5, 0.7, 0.7
"""Overlap (IoU) of windows of one size, and of all, that are one face; share of the smaller of two
final boxes that lies in the other (facenet-pytorch's constants)."""

TOGETHER = 512
"""Cut-outs that a network is shown at once."""

BLOCK = 256
"""Boxes that are held against all others at once."""

LOOKS = ((1.0, 0.0, 0.0), (0.9, 0.0, 0.0), (1.12, 0.0, 0.0), (1.0, 0.06, 0.06), (1.0, -0.06, -0.06))
"""How `near` varies a box: its side, and the move of its middle in sides."""


@dataclass(frozen=True)
class Faces:
    """Faces of one picture. boxes: [n, 4]. points: [n, 5, 2]. confidences: [n], 0..1."""

    boxes: np.ndarray
    points: np.ndarray
    confidences: np.ndarray


@dataclass(frozen=True)
class Cascade:
    """The three networks, the confidence that each asks for, and where they compute."""

    pnet: nn.Module
    rnet: nn.Module
    onet: nn.Module
    thresholds: tuple[float, float, float]
    device: torch.device

    @torch.inference_mode()
    def search(self, images: Sequence[np.ndarray], smallest: float) -> list[Faces]:
        """The faces of each picture, surest first.

        images: uint8 RGB [height, width, 3], all of one size. smallest: side of a face, px.
        """
        with torch.autocast(self.device.type, enabled=False):  # boxes drift in half precision
            boxes, of = self._propose(images, smallest)
            boxes, of = self._refine(images, boxes, of)
            return self._conclude(images, boxes, of)

    @torch.inference_mode()
    def near(self, image: np.ndarray, boxes: np.ndarray) -> Faces:
        """The face in each box [n, 4]: what O-Net says of several looks around it, averaged.

        Where no look holds a face, its confidence is 0. An average is steadier than the one look
        that a search ends with.
        """
        with torch.autocast(self.device.type, enabled=False):
            looks = _looks(torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4))
            flat = looks.reshape(-1, 4)
            moves, points, scores = self._ask(self.onet, 48, [image], flat, torch.zeros(len(flat)))
        found = _moved(flat, moves).reshape(looks.shape)
        marks = _placed(flat, points).reshape(*looks.shape[:2], 5, 2)
        scores = scores.reshape(looks.shape[:2])
        weights = torch.where(scores >= self.thresholds[2], scores, 0)
        share = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
        return Faces(
            (found * share[..., None]).sum(1).numpy(),
            (marks * share[..., None, None]).sum(1).numpy(),
            weights.max(1).values.numpy() if len(weights) else np.zeros(0, np.float32),
        )

    def _propose(self, images: Sequence[np.ndarray], smallest: float) -> tuple[Tensor, Tensor]:
        """P-Net at each size of the pyramid: windows [n, 4] and the picture of each, [n]."""
        height, width = images[0].shape[:2]
        found = [(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())]
        for size in sizes(width, height, smallest):
            level = np.stack([_resized(image, size) for image in images])
            moves, sure = self.pnet(_prepared(level, self.device))
            moves, sure = moves.cpu(), sure[:, 1].cpu()
            of, row, column = torch.nonzero(sure >= self.thresholds[0], as_tuple=True)
            corner = STRIDE * torch.stack([column, row], 1)
            back = torch.tensor([width / size[0], height / size[1]])
            # The authors' code counts from 1: its windows begin a pixel of the pyramid later.
            windows = torch.cat([(corner + 1) * back - 1, (corner + WINDOW) * back], 1).floor()
            scores = sure[of, row, column]
            keep = alone(windows, scores, of, SAME)
            found.append((windows[keep], moves[of, :, row, column][keep], scores[keep], of[keep]))
        windows, moves, scores, of = (torch.cat(part) for part in zip(*found, strict=True))
        keep = alone(windows, scores, of, SAME_CUT)
        return _squared(_moved(windows[keep], moves[keep])), of[keep]

    def _refine(
        self, images: Sequence[np.ndarray], boxes: Tensor, of: Tensor
    ) -> tuple[Tensor, Tensor]:
        """R-Net: which windows hold a face, and where in them."""
        moves, scores = self._ask(self.rnet, 24, images, boxes, of)
        sure = scores > self.thresholds[1]
        boxes, moves, scores, of = boxes[sure], moves[sure], scores[sure], of[sure]
        keep = alone(boxes, scores, of, SAME_CUT)
        return _squared(_moved(boxes[keep], moves[keep])), of[keep]

    def _conclude(self, images: Sequence[np.ndarray], boxes: Tensor, of: Tensor) -> list[Faces]:
        """O-Net: faces with their points."""
        moves, points, scores = self._ask(self.onet, 48, images, boxes, of)
        points, final = _placed(boxes, points), _moved(boxes, moves)
        results = []
        for number in range(len(images)):
            own = torch.nonzero((of == number) & (scores > self.thresholds[2]))[:, 0].numpy()
            own = own[apart(final[own].numpy(), scores[own].numpy())]
            results.append(Faces(final[own].numpy(), points[own].numpy(), scores[own].numpy()))
        return results

    def _ask(
        self,
        network: nn.Module,
        side: int,
        images: Sequence[np.ndarray],
        boxes: Tensor,
        of: Tensor,
    ) -> list[Tensor]:
        """What a network says of cut-outs: its outputs, the last of them as confidences [n]."""
        outputs = []
        for start in range(0, max(1, len(boxes)), TOGETHER):
            part = slice(start, start + TOGETHER)
            cuts = [
                _cut(images[int(n)], box, side)
                for n, box in zip(of[part], boxes[part].tolist(), strict=True)
            ]
            # Of no cut-out the networks cannot say anything: they are shown a black one.
            stack = np.stack(cuts or [np.zeros((side, side, 3), np.uint8)])
            outputs.append([one.cpu() for one in network(_prepared(stack, self.device))])
        *rest, sure = (torch.cat(part)[: len(boxes)] for part in zip(*outputs, strict=True))
        return [*rest, sure[:, 1]]


def load(thresholds: Sequence[float], device: torch.device) -> Cascade:
    """The cascade with facenet-pytorch's weights, which lie in its package."""
    first, second, third = thresholds
    pnet, rnet, onet = (
        stage.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for stage in mtcnn_networks.load()
    )
    return Cascade(pnet, rnet, onet, (first, second, third), device)


def sizes(width: int, height: int, smallest: float) -> Iterator[tuple[int, int]]:
    """Width and height of each picture of the pyramid, in which P-Net's window is a face of
    `smallest` px first, and then of ever larger ones up to the picture's shorter side.
    """
    scale = WINDOW / smallest
    while min(width, height) * scale >= WINDOW:
        yield round(width * scale), round(height * scale)
        scale *= STEP


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] <= image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _cut(image: np.ndarray, box: Sequence[float], side: int) -> np.ndarray:
    """What the picture holds of a box, drawn to [side, side, 3].

    What sticks out is cut off and the rest is stretched, as facenet-pytorch does it. The paper's
    black border loses one face in ten of pictures that are cut close.
    """
    left, top, right, bottom = (max(0, round(value)) for value in box)
    inside = image[top:bottom, left:right]
    return _resized(inside, (side, side)) if inside.size else np.zeros((side, side, 3), np.uint8)


def _prepared(pictures: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [n, height, width, 3] -> floats -1..1 [n, 3, height, width], channels last."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float().sub(127.5).div(128)


def _squared(boxes: Tensor) -> Tensor:
    """The squares of the boxes' longer sides around their middles, [n, 4], in whole pixels."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdim=True).values / 2
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.cat([middle - half, middle + half], 1).round()


def _moved(boxes: Tensor, moves: Tensor) -> Tensor:
    """Boxes [n, 4] whose edges move by shares [n, 4] of their sides."""
    side = boxes[:, 2:] - boxes[:, :2]
    return boxes + moves * side.repeat(1, 2)


def _placed(boxes: Tensor, points: Tensor) -> Tensor:
    """O-Net's points (five x, then five y, in shares of the box) -> [n, 5, 2] pixels."""
    side = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, None, :2] + points.reshape(-1, 2, 5).transpose(1, 2) * side[:, None]


def _looks(boxes: Tensor) -> Tensor:
    """Boxes [n, 4] -> [n, looks, 4]: squares of other sides and places around each."""
    square = _squared(boxes)
    side, middle = square[:, 2:] - square[:, :2], (square[:, :2] + square[:, 2:]) / 2
    vary = torch.tensor(LOOKS)
    half = side[:, None] * vary[:, :1] / 2
    middle = middle[:, None] + side[:, None] * vary[:, 1:]
    return torch.cat([middle - half, middle + half], 2).round()


def alone(boxes: Tensor, scores: Tensor, of: Tensor, most: float) -> Tensor:
    """Places [k] of the boxes that overlap no surer one of their picture by more than `most` (IoU),
    surest first: torchvision.ops.batched_nms, without torchvision.

    boxes: float [n, 4]. scores: [n]. of: the picture of each, [n].
    """
    corners, pictures = boxes.numpy(), of.numpy()
    left = np.argsort(-scores.numpy(), kind="stable")
    kept = [left[:0]]
    while len(left):
        block, left = left[:BLOCK], left[BLOCK:]
        same = _overlap(corners[block], corners[block], pictures[block], pictures[block]) > most
        stays = np.ones(len(block), bool)
        for place in range(len(block)):
            if stays[place]:
                stays[place + 1 :] &= ~same[place, place + 1 :]
        block = block[stays]
        kept.append(block)
        if len(left):
            same = _overlap(corners[block], corners[left], pictures[block], pictures[left]) > most
            left = left[~same.any(0)]
    return torch.from_numpy(np.concatenate(kept))


def _overlap(a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of [n, 4] with each of [m, 4], [n, m]; 0 of boxes of
    different pictures, NaN of two without an inside. As torchvision: in float32, held against a
    limit in float64.
    """
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.maximum(sides, 0).prod(2)
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = shared / (areas[0][:, None] + areas[1] - shared)
    return np.where(of_a[:, None] == of_b, part, 0).astype(np.float64)


def apart(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Places of the boxes that lie in no surer one, surest first: of a face and a part of it,
    one stays, whatever their sizes.
    """
    kept: list[int] = []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for place in np.argsort(-scores, kind="stable"):
        low = np.maximum(boxes[place, :2], boxes[kept, :2])
        high = np.minimum(boxes[place, 2:], boxes[kept, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        if (shared <= INSIDE * np.minimum(area[place], area[kept])).all():
            kept.append(int(place))
    return kept
