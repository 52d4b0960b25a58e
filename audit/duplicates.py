"""Pictures that look alike: perceptual hashes that differ in few bits, in groups with names."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, pairwise

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faces.image import UnreadableImage, read_image
from flags import NearDuplicates
from splits import scoped

BITS = 64
BLOCK = 2048
"""Hashes that are compared with all of their bucket at a time: a matrix of some megabytes."""


def with_near_duplicates(rows: pd.DataFrame, how: NearDuplicates, workers: int = 2) -> pd.DataFrame:
    """The rows with `near_duplicate_group` filled, empty where nothing looks alike.

    Names that are there are kept. Of a track of a video `how.per_track` faces are looked at,
    evenly: the video holds its other frames to them.
    """
    if how.distance < 0:
        return rows
    chosen = _some_of_each_track(rows, how.per_track)
    found = near_duplicates(rows["path"].iloc[chosen].tolist(), how.distance, workers)
    names = np.full(len(rows), "", dtype=object)
    names[chosen] = found
    if "near_duplicate_group" in rows:
        given = rows["near_duplicate_group"].to_numpy(object)
        names = np.where(given != "", given, names)
    return rows.assign(near_duplicate_group=names)


def near_duplicates(paths: Sequence[str], threshold: int = 4, workers: int = 2) -> list[str]:
    """The group's name of each picture, empty for one that looks like no other or is unreadable.

    Alike are pictures whose 64-bit perceptual hashes (imagehash.phash) differ in at most
    `threshold` bits; likeness chains. A name is the least hash of the group, in hexadecimal.
    """
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(workers) as pool:
        hashes = dict(zip(unique, pool.map(_hash_of_file, unique), strict=True))
    known = {path: value for path, value in hashes.items() if value is not None}
    names = group_names(np.array(list(known.values()), np.uint64), threshold)
    named = dict(zip(known, names, strict=True))
    return [named.get(path, "") for path in paths]


def perceptual_hash(image: np.ndarray) -> int:
    """64 bits of uint8 RGB [height, width, 3]: signs of its lowest frequencies (DCT)."""
    bits = imagehash.phash(Image.fromarray(image)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def group_names(hashes: np.ndarray, threshold: int) -> list[str]:
    """Name of each hash's group, uint64 [n]: the least hash in it, or empty for one alone."""
    if len(hashes) == 0:
        return []
    values, place, number = np.unique(hashes, return_inverse=True, return_counts=True)
    pairs = near_pairs(values, threshold)
    shape = (len(values), len(values))
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape)
    _, group = connected_components(graph, directed=False)
    # The values are sorted, so the first of a group is its least.
    _, first = np.unique(group, return_index=True)
    members = np.bincount(group, number)
    names = [f"{int(values[first[g]]):016x}" if members[g] > 1 else "" for g in group]
    return [names[i] for i in place]


def near_pairs(hashes: np.ndarray, threshold: int) -> np.ndarray:
    """All pairs of indices, int [pairs, 2], of different hashes [n] within `threshold` bits.

    Of threshold + 2 chunks of the bits two are equal in such a pair (pigeonhole): only hashes
    that share two chunks are compared.
    """
    edges = np.linspace(0, BITS, threshold + 3).astype(int)
    masks = [((1 << (b - a)) - 1) << a for a, b in pairwise(edges)]
    found = [np.zeros((0, 2), int)]
    for one, other in combinations(masks, 2):
        keys = hashes & np.uint64(one | other)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
        for bucket in np.split(order, starts[1:]):
            if len(bucket) > 1:
                found.append(_near_in(bucket, hashes, threshold))
    return np.unique(np.concatenate(found), axis=0)


def _near_in(bucket: np.ndarray, hashes: np.ndarray, threshold: int) -> np.ndarray:
    pairs, values = [], hashes[bucket]
    for start in range(0, len(bucket), BLOCK):
        differ = np.bitwise_count(values[start : start + BLOCK, None] ^ values[None])
        one, other = np.nonzero(differ <= threshold)
        keep = one + start < other
        pairs.append(np.stack([bucket[one[keep] + start], bucket[other[keep]]], axis=1))
    return np.sort(np.concatenate(pairs), axis=1)


def _hash_of_file(path: str) -> int | None:
    try:
        return perceptual_hash(read_image(path))
    except UnreadableImage:
        return None  # whoever uses the picture names and counts it


def _some_of_each_track(rows: pd.DataFrame, number: int) -> np.ndarray:
    """Positions of so many rows of each (video, track), evenly; rows without a video all."""
    if number == 0 or len(rows) == 0:
        return np.arange(len(rows))
    videos = scoped(rows, "video").tolist()
    keys = pd.DataFrame({"video": videos, "track": rows["track"].tolist()})
    alone = keys["video"] == ""
    chosen = [np.flatnonzero(alone)]
    for part in keys[~alone].groupby(["video", "track"], sort=False).groups.values():
        places = np.asarray(part)
        spread = (np.arange(number) * 2 + 1) * len(places) // (2 * number)
        chosen.append(places[np.unique(spread)])
    return np.sort(np.concatenate(chosen))
