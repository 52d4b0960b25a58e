"""Another person's face in a picture: what a face swap looks like, made of two real photographs.

Li et al., Face X-ray for More General Face Forgery Detection, CVPR 2020, section 3.1 (blended
images): of the reals one is chosen whose landmarks stand alike (fakes/donors.py), brought onto the
face by its landmarks, matched in colour and blended in. Beside the edge that self-blended images
have too, the inside is now of another person, camera, light and compression than the outside, as
in the swaps of the wild. Two things are ours: sometimes the face is cloned by its gradients, as
public swapping tools do, and sometimes one of the two is changed as self-blended images are.
"""

import cv2
import numpy as np

from fakes import Draw, NoFake
from fakes.blend import PARTS, blend_mask, blended, changed, context
from fakes.outline import face_points, outline, similarity
from flags import Swap

CHANGES_REAL = True
NEEDS_DONOR = True
"""A second picture is needed, and whoever asks for a fake says how it is drawn."""

CORE = 0.3
"""The inside of a mask: where more than this share of the source is blended in."""
FINE = 1.5
"""Sigma in pixels of the blur that takes away what counts as fine detail: noise, pores, hair."""


def make(
    image: np.ndarray,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    random: np.random.Generator,
    settings: Swap,
    draw: Draw,
) -> tuple[np.ndarray, np.ndarray]:
    """A real, and the same picture with another person's face in it.

    image: uint8 RGB [height, width, 3]. box: [4] left, top, right, bottom of the face in it.
    landmarks: [5, 2]. draw: who that other is. Deterministic in the state of `random`. Raises
    NoFake.
    """
    points = face_points(landmarks)
    frame = context(image, box)
    donor = draw(random)
    target, source = image, placed(donor.image, donor.landmarks, image, points, random, settings)
    drawn = PARTS[random.integers(len(PARTS))]
    part = drawn if settings.hull == "random" else settings.hull
    mask = blend_mask(outline(points, part), frame, image.shape, random, settings)
    if settings.detail[1]:
        strength = random.uniform(settings.detail[0], settings.detail[1])
        source = detailed(source, target, mask, strength)
    if random.random() < settings.cloned:
        fake = cloned(source, target, mask)
        if fake is not None:
            return target, fake
    strength = random.uniform(settings.match[0], settings.match[1])
    source = matched(source, target, mask, strength)
    if random.random() < settings.change:
        if random.random() < 0.5:
            source = changed(source, random, settings)
        else:
            target = changed(target, random, settings)
    ratio = np.float32(settings.ratios[random.integers(len(settings.ratios))])
    fake = blended(source, target, mask * ratio)
    if np.array_equal(fake, target):
        raise NoFake("the swap changes nothing in this face")
    return target, fake


def placed(
    face: np.ndarray,
    marks: np.ndarray,
    image: np.ndarray,
    points: np.ndarray,
    random: np.random.Generator,
    settings: Swap,
) -> np.ndarray:
    """The picture `face` with its landmarks `marks` brought onto `points`, of the size of `image`.

    By turn, scale and shift, or by an affine map, which follows how the head is held.
    """
    if random.random() < settings.affine:
        known = np.column_stack([marks, np.ones(len(marks))])
        move = np.linalg.lstsq(known, points, rcond=None)[0].T
    else:
        move = similarity(marks, points)
    shrunk = np.sqrt(abs(np.linalg.det(move[:, :2])))
    if shrunk < 0.7:  # else every few pixels one is taken, which shows
        face = cv2.GaussianBlur(face, (0, 0), 0.45 / max(shrunk, 0.02))
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[random.integers(2)]
    return cv2.warpAffine(
        face, move.astype(np.float32), image.shape[1::-1], flags=how, borderMode=cv2.BORDER_REFLECT
    )


def matched(
    source: np.ndarray, target: np.ndarray, mask: np.ndarray, strength: float
) -> np.ndarray:
    """The source with mean and spread of the target's colours in the mask, uint8.

    Reinhard et al. (2001) in L*a*b*; strength: 0 none of it, 1 all. The spread changes to half or
    double at most.
    """
    where = (mask > CORE).astype(np.uint8)
    (mean, spread), (wanted, of_target) = (
        (values[:, 0] for values in cv2.meanStdDev(cv2.cvtColor(i, cv2.COLOR_RGB2LAB), mask=where))
        for i in (source, target)
    )
    stretch = 1 + strength * (np.clip((of_target + 1) / (spread + 1), 0.5, 2) - 1)
    levels = np.arange(256)[:, None]  # one look-up a channel
    changed_to = (levels - mean) * stretch + mean + strength * (wanted - mean)
    table = changed_to.round().clip(0, 255).astype(np.uint8)[:, None]
    return cv2.cvtColor(cv2.LUT(cv2.cvtColor(source, cv2.COLOR_RGB2LAB), table), cv2.COLOR_LAB2RGB)


def detailed(
    source: np.ndarray, target: np.ndarray, mask: np.ndarray, strength: float
) -> np.ndarray:
    """The source with as strong a fine detail as the target has in the mask, uint8.

    Another camera, another size: a pasted face is sharper or softer than what is around it, and a
    network that goes by that alone calls every sharp picture forged. strength: 0 none of it, 1
    all. The detail is made four times as strong or as weak at most.
    """
    where = mask > CORE
    if not where.any():
        return source
    soft = [cv2.GaussianBlur(image, (0, 0), FINE).astype(np.float32) for image in (source, target)]
    own, wanted = (
        float((image - blurred)[where].std())
        for image, blurred in zip((source, target), soft, strict=True)
    )
    gain = np.clip((wanted + 0.1) / (own + 0.1), 0.25, 4) ** strength
    return (soft[0] + gain * (source - soft[0])).round().clip(0, 255).astype(np.uint8)


def cloned(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The source's gradients within the mask, the target around them (Perez et al. 2003).

    None where the mask touches the picture's edge, at which there is nothing to join.
    """
    region = (mask > CORE).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(region)
    inside = left > 1 and top > 1
    inside &= left + width < mask.shape[1] - 2 and top + height < mask.shape[0] - 2
    if min(width, height) < 8 or not inside:
        return None
    middle = (left + width // 2, top + height // 2)
    fake: np.ndarray = cv2.seamlessClone(source, target, region * 255, middle, cv2.NORMAL_CLONE)
    return fake
