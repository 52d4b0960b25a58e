"""SHA-256 of many files: several at a time, and remembered while a file stays as it is."""

import os
import stat
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from utils import sha256_file, write_atomic

DIGITS = 32
"""Hexadecimal digits that are kept of a hash: 128 bits tell all pictures of the world apart."""

THREADS, GROUP = 8, 64
"""Threads that read, and files that each takes at a time: mostly it is the disk that is awaited."""

YOUNG = 2.0
"""Seconds in which a changed file may keep its time of change, so that it is not remembered."""


def content_hashes(paths: Iterable[str], cache: Path | None = None) -> dict[str, str]:
    """The hash of each path that is a file; others are not in the answer.

    cache: a file of hashes of earlier calls, which are taken over where path, size and time of
    change (ns) are the same; it is brought up to date, also when the call is interrupted.
    """
    stamps = _stamps(paths)
    known = _remembered(cache)
    hashes = {p: known[p][1] for p, stamp in stamps.items() if known.get(p, ("",))[0] == stamp}
    new = [path for path in stamps if path not in hashes]
    groups = [new[i : i + GROUP] for i in range(0, len(new), GROUP)]
    quiet = not sys.stderr.isatty()
    try:
        with (
            ThreadPoolExecutor(THREADS) as pool,
            tqdm(total=len(new), desc="Hashing files", unit="file", disable=quiet) as bar,
        ):
            for found in pool.map(_hash_group, groups):
                hashes |= found
                bar.update(len(found))
    finally:
        if cache and new:
            sure = time.time_ns() - YOUNG * 1e9
            for path in new:
                if path in hashes and int(stamps[path].split()[1]) < sure and "\n" not in path:
                    known[path] = (stamps[path], hashes[path])
            lines = (f"{digits} {stamp} {path}\n" for path, (stamp, digits) in known.items())
            write_atomic(cache, "".join(lines))
    return hashes


def _hash_group(paths: list[str]) -> dict[str, str]:
    return {path: sha256_file(path)[:DIGITS] for path in paths}


def _stamps(paths: Iterable[str]) -> dict[str, str]:
    """Size and time of change of each path that is a file."""
    stamps = {}
    for path in paths:
        try:
            about = os.stat(path)  # noqa: PTH116 - a Path for each of a million costs more than this
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(about.st_mode):
            stamps[path] = f"{about.st_size} {about.st_mtime_ns}"
    return stamps


def _remembered(cache: Path | None) -> dict[str, tuple[str, str]]:
    """Path -> (its stamp, its hash), of a file of lines `hash size time path`."""
    try:
        text = cache.read_bytes().decode("utf-8", "surrogateescape") if cache else ""
    except OSError:
        return {}
    parts = (line.split(" ", 3) for line in text.split("\n"))
    return {p[3]: (f"{p[1]} {p[2]}", p[0]) for p in parts if len(p) == 4}
