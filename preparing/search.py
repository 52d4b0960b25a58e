"""Media -> faces, on Dask: the cores of this machine, or any cluster that shares its folders.

A clip that hangs, eats the memory or kills its process costs that clip and nothing else: the
cluster starts the process anew and the clip is named, as one is that raises anything at all. Only
what no other clip would survive ends a run: Ctrl-C, a full disk, no memory left. What is done is on
disk, so that the next run finishes the rest.
"""

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from faces.cache import Found, known_picture, recipe_key, search_picture
from faces.clips import FoundClip, known_clip, recipe_of_frames, search_clip
from faces.detector import Detector, shared_detector
from flags import Face, Prepare
from utils import UserError, cores, no_room, pick_device

TOGETHER = 16
"""Photos that are one task; a clip is one alone, and a photo of a task that died or hung."""

FEW = 2
"""So few tasks of photos are done in this process."""

LATE = 5.0
"""Seconds between two looks at the clock for tasks that hang."""

Results = dict[str, Found | FoundClip]


def search(media: pd.DataFrame, config: Prepare, out: Path) -> Results:
    """The faces of all media, by path; those that an earlier run found are taken from disk.

    media: rows with `path` and `kind` (photo, video, frames). Raises UserError where the disk is
    full; what was found until then stays.
    """
    folder = (out / "faces").absolute()  # processes elsewhere have another working directory
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)  # of a run that was killed while it wrote
    results: Results = {}
    tasks: list[list[str]] = []
    photos = []
    for path, kind in dict(zip(media["path"], media["kind"], strict=True)).items():
        known = _known(path, kind, config, folder)
        if known is not None:
            results[path] = known
        elif kind == "photo":
            photos.append(path)
        else:
            tasks.append([path])
    tasks += [photos[i : i + TOGETHER] for i in range(0, len(photos), TOGETHER)]
    kinds = dict(zip(media["path"], media["kind"], strict=True))
    total = sum(len(task) for task in tasks)
    quiet = not (total and sys.stderr.isatty())
    with tqdm(total=total, desc="Finding faces", unit="file", disable=quiet) as bar:
        for found in _searched(tasks, kinds, config, folder):
            results[found.path] = found
            bar.update()
    return results | _stored_twice(results, config, folder)


def _stored_twice(results: Results, config: Prepare, folder: Path) -> Results:
    """Photos of one content that two processes searched at once, by the record that stayed: the
    next run reads it, and would find other names than this one.
    """
    names: dict[str, set[str]] = {}
    photos = {path: one for path, one in results.items() if isinstance(one, Found) and one.faces}
    for one in photos.values():
        names.setdefault(one.content, set()).add(one.faces[0]["file"])
    twice = (path for path, one in photos.items() if len(names[one.content]) > 1)
    return {path: _known(path, "photo", config, folder) or photos[path] for path in twice}


def _known(path: str, kind: str, config: Prepare, folder: Path) -> Found | FoundClip | None:
    try:
        if kind == "photo":
            return known_picture(path, folder / recipe_key(config.face))
        return known_clip(path, config.face, config.frames, folder)
    except (ValueError, KeyError, TypeError):
        return None  # a record that a failing disk spoilt: searched anew


def _searched(
    tasks: list[list[str]], kinds: dict[str, str], config: Prepare, folder: Path
) -> Iterator[Found | FoundClip]:
    if not tasks:
        return
    if config.workers == 0 and not config.scheduler:
        for task in tasks:
            yield from work(task, kinds[task[0]], config, folder)
        return
    if len(tasks) <= FEW and not config.scheduler and set(kinds.values()) == {"photo"}:
        for task in tasks:  # sooner done than other processes are started
            yield from work(task, "photo", config, folder)
        return
    with cluster(config, len(tasks)) as client:
        yield from _on(client, tasks, kinds, config, folder)


@contextmanager
def cluster(config: Prepare, tasks: int) -> Iterator[Any]:
    """A Dask client: of the scheduler that is named, or of processes on this machine."""
    import dask
    from distributed import Client, LocalCluster

    # A clip that kills its process twice would kill it ever again.
    dask.config.set({"distributed.scheduler.allowed-failures": 1})
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "Port", module="distributed.node")  # it takes another
    if config.scheduler:
        try:
            client = Client(config.scheduler, timeout=10)
        except OSError as error:
            raise UserError(f"no Dask scheduler answers at {config.scheduler}: {error}") from None
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=min(config.workers or cores(), tasks),
            threads_per_worker=1,
            memory_limit=config.memory or "auto",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as local,
        Client(local) as client,
    ):
        yield client


def _on(
    client: Any, tasks: list[list[str]], kinds: dict[str, str], config: Prepare, folder: Path
) -> Iterator[Found | FoundClip]:
    """Results as they come. As many tasks are under way as there are threads: what was submitted
    runs, so that its age tells one that hangs, and memory does not grow with their number.
    """
    from distributed import wait

    waiting = list(reversed(tasks))
    running: dict[Any, tuple[list[str], float]] = {}
    while waiting or running:
        places = sum(w["nthreads"] for w in client.scheduler_info(n_workers=-1)["workers"].values())
        while waiting and len(running) < max(1, places):
            task = waiting.pop()
            future = client.submit(
                work, task, kinds[task[0]], config.model_dump(), str(folder), pure=False
            )
            running[future] = (task, time.monotonic())
        try:
            done = wait(list(running), timeout=LATE, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        restarted = False
        for future in done:
            task, _ = running.pop(future)
            restarted |= future.status == "error"
            if len(task) > 1 and type(future.exception()).__name__ == "KilledWorker":
                waiting += [[path] for path in task]  # one of them: which, each alone will tell
                continue
            yield from _outcome(future, task, kinds)
        for future, (task, begun) in list(running.items()):
            if time.monotonic() - begun > config.time_limit:
                del running[future]
                _end(client, future)
                restarted = True
                if len(task) > 1:
                    waiting += [[path] for path in task]
                    continue
                reason = f"took longer than time_limit, {config.time_limit:g} s"
                yield _failed(task[0], kinds[task[0]], reason)
        if restarted:  # the others waited for the new process
            running = {future: (task, time.monotonic()) for future, (task, _) in running.items()}


def _outcome(future: Any, task: list[str], kinds: dict[str, str]) -> Iterator[Found | FoundClip]:
    error = future.exception()
    if error is None:
        yield from future.result()
    elif type(error).__name__ == "KilledWorker":
        reason = "its decoder killed the process, or ate its memory"
        yield from (_failed(path, kinds[path], reason) for path in task)
    else:
        stop_if_nothing_else_works(error)
        yield from (_failed(path, kinds[path], in_words(error)) for path in task)


def _end(client: Any, future: Any) -> None:
    """Start the process anew that works on a task which hangs."""
    held = client.who_has([future]) or {}
    busy = [address for address, keys in client.processing().items() if future.key in keys]
    future.cancel(force=True)
    # One that is late to come back, on a busy machine, is waited for by the tasks and not by us.
    client.restart_workers(busy or list(held), timeout=60, raise_for_error=False)


def _failed(path: str, kind: str, reason: str) -> Found | FoundClip:
    return Found(path, failure=reason) if kind == "photo" else FoundClip(path, failure=reason)


# --------------------------------------------------------------------------- in each process


def work(
    paths: list[str], kind: str, config: Prepare | dict, folder: Path | str
) -> list[Found | FoundClip]:
    """Search some media of one kind; whatever one of them raises comes back as its failure.

    Raises UserError where the disk is full, or no memory is left.
    """
    if isinstance(config, dict):
        one_thread()
        config = Prepare(**config)
    found: list[Found | FoundClip] = []
    for path in paths:
        try:
            found.append(_searched_one(path, kind, config, Path(folder)))
        except Exception as error:  # decoders and detectors raise almost anything
            stop_if_nothing_else_works(error)
            found.append(_failed(path, kind, in_words(error)))
    return found


def _searched_one(path: str, kind: str, config: Prepare, folder: Path) -> Found | FoundClip:
    face = config.face
    if kind == "photo":
        if known := _known(path, kind, config, folder):
            return known  # another of the same content was searched by now
        detect = detector(face, config.device)
        return search_picture(path, detect, face, folder / recipe_key(face))
    detect = detector(recipe_of_frames(face, config.frames), config.device)
    return search_clip(path, detect, face, config.frames, folder)


def stop_if_nothing_else_works(error: BaseException) -> None:
    """Raise UserError for an error that the next medium would meet as well."""
    if isinstance(error, UserError):
        raise error
    if isinstance(error, OSError) and (wrong := no_room(error)):
        raise UserError(f"the disk {wrong}; what was found so far stays, go on then") from error
    if isinstance(error, MemoryError):
        raise UserError("no memory is left: go on with fewer --workers") from error


def in_words(error: BaseException) -> str:
    """An error that nobody expected, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def detector(recipe: Face, device: str) -> Detector:
    """This process's detector. Raises UserError where there is no such device."""
    return shared_detector(recipe.model_dump_json(), str(pick_device(device)))


def one_thread() -> None:
    """For a process among as many as there are cores: MTCNN gains nothing from more threads."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
