"""Self-blended images: a face blended with a slightly changed copy of itself (SBI).

Shiohara and Yamasaki, Detecting Deepfakes with Self-Blended Images, CVPR 2022. Whatever made a
forged face, it was blended into a picture: what is left is an edge along a face's outline, and an
inside whose colour, sharpness or place does not go with its outside. Nothing else tells these
fakes from their reals:

1. one of the two copies, source or target, changes its colours and is shrunk and grown or
   sharpened; a changed target is the pair's real, so that such traces are no mark of a fake;
2. the source and the mask, a part of the face's outline, are shifted and scaled a little;
3. the mask alone is bent, blurred, eroded to its core and blurred again;
4. the source is blended into the target by the mask times a ratio.

Lengths are in shares of the context crop, two sides of the face box, about what the paper blends
in; the mask is made at 192 to 256 px of it, as there. Outlines: fakes/outline.py.
"""

import cv2
import numpy as np

from fakes import NoFake
from fakes.outline import face_points, outline
from flags import Blend, Blending

CHANGES_REAL = True
"""The real of a pair is not always the stored face: a real must come out of `make` too."""

BOXES = 2.0
"""Side of the context crop, in longer sides of the face box."""
FACE = 256.0
"""Box side in pixels at which the settings of the bending hold; the paper bends at native size."""
PARTS = ("face", "brows", "inner", "lower")


def make(
    image: np.ndarray,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    random: np.random.Generator,
    settings: Blend,
) -> tuple[np.ndarray, np.ndarray]:
    """A real and its self-blended fake; where the blend's mask is 0 both are the same.

    image: uint8 RGB [height, width, 3]. box: [4] left, top, right, bottom of the face in it.
    landmarks: [5, 2]. Deterministic in the state of `random`. Raises NoFake, also where the fake
    would equal the real.
    """
    target, source, share = layers(image, box, landmarks, random, settings)
    fake = blended(source, target, share)
    if np.array_equal(fake, target):
        raise NoFake("the blend changes nothing in this face")
    return target, fake


def layers(
    image: np.ndarray,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    random: np.random.Generator,
    settings: Blend,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is blended: target and source, uint8 [h, w, 3], and the source's share [h, w], 0..1."""
    points = face_points(landmarks)
    frame = context(image, box)
    drawn = PARTS[random.integers(len(PARTS))]
    part = drawn if settings.hull == "random" else settings.hull
    return layers_along(outline(points, part), image, frame, random, settings)


def layers_along(
    hull: np.ndarray,
    image: np.ndarray,
    frame: tuple[float, float, float],
    random: np.random.Generator,
    settings: Blend,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `layers` gives, along any convex outline [n, 2] in pixels. frame: `context`'s."""
    source, target = image, image
    if random.random() < 0.5:
        source = changed(image, random, settings)
    else:
        target = changed(image, random, settings)
    move = jitter(frame, random, settings)
    source = cv2.warpAffine(
        source, move, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    moved = hull @ move[:, :2].T + move[:, 2]
    mask = blend_mask(moved, frame, image.shape, random, settings)
    return target, source, mask * np.float32(settings.ratios[random.integers(len(settings.ratios))])


def context(image: np.ndarray, box: np.ndarray | None) -> tuple[float, float, float]:
    """The square of two box sides around a face: its left, its top, its side, in pixels."""
    if box is None:
        raise NoFake("the row has no face box")
    height, width = image.shape[:2]
    longest = float(max(box[2] - box[0], box[3] - box[1]))
    if not 4 <= longest <= 2 * max(height, width):  # beyond, no picture holds such a face
        raise NoFake(f"the face box is {longest:.0f} px large, in a crop of {width}x{height} px")
    side = BOXES * longest
    return (box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2, side


# --------------------------------------------------------------------- source and target


def changed(image: np.ndarray, random: np.random.Generator, settings: Blending) -> np.ndarray:
    """Other colours, and either shrunk and grown back or sharpened."""
    image = recoloured(image, random, settings)
    if random.random() < settings.sharpen:
        return sharpened(image, random.uniform(0.2, 0.5), random.uniform(0.5, 1.0))
    factor = int(random.choice(settings.shrink))
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_NEAREST
    )
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def recoloured(image: np.ndarray, random: np.random.Generator, settings: Blending) -> np.ndarray:
    """Each channel shifted, by chance; then hue and saturation, brightness and contrast.

    One look-up of 256 levels a channel where hue and saturation stay: the paper changes them by
    0.3 of a level at most.
    """
    levels = np.repeat(np.arange(256, dtype=np.float64)[:, None], 3, axis=1)
    if random.random() < settings.shift_chance:
        levels = (levels + random.uniform(-1, 1, 3) * settings.shift).clip(0, 255)
    tint = random.uniform(-1, 1, 2) * [settings.hue, settings.saturation]
    gain, lift = 1 + random.uniform(-1, 1, 2) * [settings.contrast, settings.brightness]
    if tint.any():
        image = _looked_up(image, levels)
        hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
        # OpenCV counts hue in steps of two degrees.
        hue = ((hue.astype(int) + round(tint[0] / 2)) % 180).astype(np.uint8)
        saturation = (saturation + tint[1] * 255).clip(0, 255).round().astype(np.uint8)
        image = cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB)
        levels = np.repeat(np.arange(256, dtype=np.float64)[:, None], 3, axis=1)
    return _looked_up(image, levels * gain + (lift - 1) * 255)


def _looked_up(image: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, levels.clip(0, 255).round().astype(np.uint8)[:, None])


def sharpened(image: np.ndarray, share: float, lightness: float) -> np.ndarray:
    """`share` of a picture whose edges are stressed (3x3), in a picture, uint8."""
    kernel = np.full((3, 3), -share)
    kernel[1, 1] = 1 - share + share * (8 + lightness)
    return cv2.filter2D(image, -1, kernel)


def jitter(
    frame: tuple[float, float, float], random: np.random.Generator, settings: Blend
) -> np.ndarray:
    """A small shift and scaling about the middle of the context crop, [2, 3], in pixels."""
    left, top, side = frame
    middle = np.array([left, top]) + side / 2
    shift = random.uniform(-1, 1, 2) * [settings.shift_x, settings.shift_y] * side
    scale = random.uniform(settings.scale, 1 / settings.scale, 2)
    return np.column_stack([np.diag(scale), middle - scale * middle + shift])


# --------------------------------------------------------------------------------- the mask


def blend_mask(
    hull: np.ndarray,
    frame: tuple[float, float, float],
    shape: tuple[int, ...],
    random: np.random.Generator,
    settings: Blending,
) -> np.ndarray:
    """How much of the source each pixel takes, float32 [height, width], 0..1.

    hull: convex outline [n, 2] in pixels of the picture. Filled, bent, blurred, eroded to what is
    still whole, blurred again. Raises NoFake where nothing of it is left.
    """
    (left, top, side), (low, high) = frame, settings.canvas
    width, height = (int(n) for n in random.integers(low, high, 2, endpoint=True))
    scale = np.array([width, height]) / side
    placed = (hull - [left, top]) * scale - 0.5
    mask: np.ndarray = np.zeros((height, width), np.float32)
    cv2.fillConvexPoly(mask, np.round(placed * 16).astype(np.int32), 1.0, shift=4)
    mask = bent(mask, max(width, height) / BOXES / FACE, random, settings)
    mask = cv2.GaussianBlur(mask, _kernel(random, settings), 0)
    core = (mask >= 0.999 * mask.max()).astype(np.float32) if mask.max() > 0 else mask
    low, high = settings.blur_sigma
    sigma = float(random.integers(low, high, endpoint=True))
    mask = cv2.GaussianBlur(core, _kernel(random, settings), sigma)
    # Of the canvas back to the picture, whose edges may cut it: pixel middles, hence the halves.
    back = np.array([[1 / scale[0], 0, left], [0, 1 / scale[1], top]])
    back[:, 2] += (back[:, :2] @ [0.5, 0.5]) - 0.5
    mask = cv2.warpAffine(mask, back, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
    if mask.max() <= 0:
        raise NoFake("the outline of the face lies outside of the crop, or is too small")
    return (mask / mask.max()).clip(0, 1)


def _kernel(random: np.random.Generator, settings: Blending) -> tuple[int, int]:
    """Sides of a blur's kernel: a square, else an edge is softer one way than the other."""
    low, high = settings.blur
    side = int(random.integers(low // 2, (high - 1) // 2, endpoint=True)) * 2 + 1
    return side, side


def bent(
    mask: np.ndarray, scale: float, random: np.random.Generator, settings: Blending
) -> np.ndarray:
    """Elastic deformation (Simard et al. 2003): each pixel moves by smoothed noise.

    scale: pixels of the mask for one of a face of 256 px. Smoothing over fewer pixels leaves more
    of the noise, hence the square.
    """
    noise = random.random((2, *mask.shape), np.float32) * 2 - 1
    sigma = max(settings.elastic_sigma * scale, 0.1)
    alpha = np.float32(settings.elastic_alpha * scale**2)
    moved_x, moved_y = (cv2.GaussianBlur(n, (0, 0), sigma) * alpha for n in noise)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    return cv2.remap(mask, x + moved_x, y + moved_y, cv2.INTER_LINEAR)


def blended(source: np.ndarray, target: np.ndarray, share: np.ndarray) -> np.ndarray:
    """share * source + (1 - share) * target, uint8; where the share is 0 the target to the bit."""
    return cv2.blendLinear(source, target, share, 1 - share)
