"""One file at a time -> its faces, here or in a process of its own.

    with here(wanted) as seen: ...             # in this process
    with Apart() as apart:
        apart.begin(wanted)                    # returns at once
        with apart.look(wanted) as seen: ...   # waits for it

Decoders are large, and files of strangers may be made to break them: a process that ends, hangs or
never answers costs its own file alone. And while it searches, this one can get ready to judge: of
the two, PyTorch and the networks' libraries take longer to import than a film to be searched.
"""

import contextlib
import gc
import multiprocessing
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.image import UnreadableImage
from faces.video import UnreadableVideo
from flags import Face, Frames
from utils import UserError, cores

if TYPE_CHECKING:
    from faces.cache import Found
    from faces.clips import FoundClip
    from faces.media import Media

Between = Callable[[int, int], object]
"""Called after each frame with how many are done and wanted."""


@dataclass(frozen=True)
class Wanted:
    """Which file is searched, and how. seconds: the longest that it may take."""

    path: str
    face: Face
    frames: Frames
    device: str
    seconds: float


@dataclass(frozen=True)
class Seen:
    """What a file is, and the faces in it; their crops lie in a folder for as long as `look`."""

    media: "Media"
    found: "Found | FoundClip"


Look = Callable[[Wanted, Between], contextlib.AbstractContextManager[Seen]]
"""Raises UnreadableImage, UnreadableVideo or OSError where the file is nothing that can be
searched, and NotSeen."""


READY = "ready"
START = 120.0
"""Seconds in which the process has imported what it needs, on the slowest of machines."""

NAMED = (UnreadableImage, UnreadableVideo, OSError, UserError, ImportError)
"""Errors that say what they are; others of a file's decoding become NotSeen."""


class NotSeen(Exception):
    """A file took too long, or broke the process that read it. media: what it is, if that is known.

    The text is the reason, in the words of a verdict.
    """

    def __init__(self, reason: str, media: "Media | None") -> None:
        super().__init__(reason)
        self.media = media


@contextlib.contextmanager
def here(wanted: Wanted, between: Between = lambda done, of: None) -> Iterator[Seen]:
    """Search in this process: what hangs within one frame is waited for."""
    begun = time.monotonic()
    opened: list[Media] = []

    def timed(done: int, of: int) -> None:
        between(done, of)
        if time.monotonic() - begun > wanted.seconds:
            raise _too_long(wanted.seconds, opened[0])

    with tempfile.TemporaryDirectory(prefix="verdict-") as home:
        found = searched(wanted, Path(home), opened.append, timed)
        yield Seen(opened[0], found)


def searched(
    wanted: Wanted, home: Path, opened: Callable[["Media"], object], between: Between
) -> "Found | FoundClip":
    """The faces of a file, stored in `home` as prepare.py stores them. opened: told what it is."""
    # Imported where they are used: to ask another process for this takes none of it.
    import torch

    from faces.cache import find_faces
    from faces.clips import recipe_of_frames, search_clip
    from faces.detector import shared_detector
    from faces.media import FILM, describe

    media = describe(wanted.path)
    opened(media)
    film = media.kind == FILM
    recipe = recipe_of_frames(wanted.face, wanted.frames) if film else wanted.face
    detect = shared_detector(recipe.model_dump_json(), wanted.device)
    before = torch.get_num_threads()
    # One thread a frame: MTCNN's pieces of work are so small that more would only wait.
    torch.set_num_threads(1)
    try:
        if not film:
            path, where = wanted.path, torch.device(wanted.device)
            return find_faces([path], wanted.face, home, where, False, detect)[path]
        several = wanted.face.detector == "mtcnn" and wanted.device == "cpu"
        return search_clip(
            wanted.path, detect, wanted.face, wanted.frames, home, between,
            threads=cores() if several else 1, lasting=False,
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)


# --------------------------------------------------------------------- a process of its own


class Apart:
    """A process that searches one file after another; a new one begins where it was lost.

    work: what it calls, as `searched`.
    """

    def __init__(self, work: Callable[..., Any] = searched) -> None:
        self.work = work
        self._process: Any = None
        self._ready = False
        self._asked: tuple[Wanted | str, str] | None = None

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Have a process ready; it imports what it needs while this one goes on."""
        if self._process is not None and not self._process.is_alive():
            self.close()  # it ended while nothing was asked of it: no file of ours is to blame
        if self._process is None:
            self._ready = False
            context = multiprocessing.get_context("spawn")
            self._mine, its = context.Pipe()
            # daemon: it ends with this process.
            self._process = context.Process(target=_serve, args=(its, self.work), daemon=True)
            self._process.start()
            its.close()

    def close(self) -> None:
        """End the process, at whatever it is, and forget what it was asked."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._mine.close()
            self._process = None
        if self._asked:
            shutil.rmtree(self._asked[1], ignore_errors=True)
            self._asked = None

    def begin(self, wanted: Wanted | str) -> None:
        """Ask for a file, and return at once."""
        if self._asked:
            self.close()  # it is at something that nobody waits for any more
        self.start()
        self._asked = wanted, tempfile.mkdtemp(prefix="verdict-")
        with contextlib.suppress(OSError):  # it has ended: whoever waits will be told so
            self._mine.send((wanted, self._asked[1]))

    def describe(self, path: str, seconds: float) -> "Media":
        """What a file is, without searching it. Raises as `look` does."""
        with self._asking(path) as begun:
            media, _ = self._answer(begun, seconds, lambda done, of: None)
        return media

    @contextlib.contextmanager
    def look(self, wanted: Wanted, between: Between = lambda done, of: None) -> Iterator[Seen]:
        """Wait for a file, asked for now if it was not before."""
        with self._asking(wanted) as begun:
            yield Seen(*self._answer(begun, wanted.seconds, between))

    @contextlib.contextmanager
    def _asking(self, wanted: Wanted | str) -> Iterator[float]:
        if self._asked is None or self._asked[0] != wanted:
            self.begin(wanted)
        assert self._asked
        home = self._asked[1]
        try:
            self._wait_until_ready()
            yield time.monotonic()
        finally:
            if self._asked:  # no answer came, or nobody wants it
                self.close()
            shutil.rmtree(home, ignore_errors=True)

    def _wait_until_ready(self) -> None:
        """Until it has imported what it needs: no file has to answer for that time."""
        if not self._ready:
            with contextlib.suppress(EOFError, OSError):
                self._ready = self._mine.poll(START) and self._mine.recv() == READY
            if not self._ready:
                raise UserError("the process that searches for faces does not start: see above")

    def _answer(self, begun: float, seconds: float, between: Between) -> tuple["Media", Any]:
        """What was asked for last: what the file is, and what is in it."""
        media: Media | None = None
        while True:
            left = begun + seconds - time.monotonic()
            try:  # on Windows the first of the two finds the other side gone
                if not self._mine.poll(max(0.0, left)):
                    raise _too_long(seconds, media)
                kind, value = self._mine.recv()
            except (EOFError, OSError):
                self._process.join()
                raise NotSeen(_ended(self._process.exitcode), media) from None
            if kind == "opened":
                media = value
            elif kind == "between":
                between(*value)
            else:
                self._asked = None  # it answered, and waits for the next
                if kind == "raised":
                    if isinstance(value, NAMED):
                        raise value
                    raise NotSeen(f"cannot be searched: {value}", media)
                assert media
                return media, value


def _serve(connection: Any, work: Callable[..., Any]) -> None:
    """Answer until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other side's to decide
    _get_ready()
    connection.send(READY)

    def opened(media: "Media") -> None:
        connection.send(("opened", media))

    def between(done: int, of: int) -> None:
        connection.send(("between", (done, of)))

    while True:
        try:
            wanted, home = connection.recv()
        except (EOFError, OSError):
            return
        try:
            if isinstance(wanted, str):
                from faces.media import describe

                connection.send(("opened", describe(wanted)))
                answer: tuple[str, Any] = "found", None
            else:
                answer = "found", work(wanted, Path(home), opened, between)
        except Exception as error:
            # What cannot be sent would end this process: its words can.
            whole = isinstance(error, NAMED)
            answer = "raised", error if whole else RuntimeError(f"{type(error).__name__}: {error}")
        try:
            connection.send(answer)
        except OSError:
            return


def _get_ready() -> None:
    """Import what a search takes, not looked through for garbage: all of it stays."""
    gc.disable()
    from tqdm import tqdm

    import faces.cache
    import faces.clips
    import faces.media  # noqa: F401

    # Its own lock is for several processes, and lies in the system when this one is killed.
    tqdm.set_lock(threading.RLock())
    gc.freeze()
    gc.enable()


def _too_long(seconds: float, media: "Media | None") -> NotSeen:
    return NotSeen(f"took longer than time_limit, {seconds:g} s", media)


def _ended(status: int | None) -> str:
    by = f"{signal.Signals(-status).name}" if status and status < 0 else f"status {status}"
    return f"the process that read it ended by {by}: the file breaks its decoder"
