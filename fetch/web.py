"""One careful HTTP client: retries, cut bodies, lengths and types checked."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from flags.fetching import Connection

LONGEST_PAUSE = 60.0
"""Seconds between two tries at the most, also where a server asks for more."""

TOO_MANY = 429
TRY_AGAIN = frozenset({408, 425, TOO_MANY, 500, 502, 503, 504, 507, 509})
"""Statuses of troubles that pass."""

MOST = 64 * 2**20
"""Bytes of an answer that is kept in memory, at the most."""

Result = TypeVar("Result")


class WebError(Exception):
    """A request that came to nothing; the message says why, in a few words."""


class Passing(Exception):
    """A trouble that may be over soon. wait: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """A whole answer: status, headers and body."""

    status: int
    headers: httpx.Headers
    content: bytes


@dataclass
class Web:
    """A client for several threads. final: statuses that are given back, not tried again."""

    settings: Connection
    final: frozenset[int] = frozenset()
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        # Identity: lengths and ranges are those of the file, and no small answer unpacks large.
        headers = {"User-Agent": "deepfake-detection", "Accept-Encoding": "identity"}
        self.client = httpx.Client(
            headers=headers, timeout=self.settings.timeout, follow_redirects=True, max_redirects=5
        )

    def get(self, url: str, most: int = MOST, **options: Any) -> Answer:
        """The whole answer to a GET, of any status that lasts; WebError where none comes.

        Connections that break, bodies that are cut and statuses that pass are tried again, with
        pauses that double. A body larger than `most` bytes is refused.
        """

        def once() -> Answer:
            with self._answer(url, **options) as response:
                content = bytearray()
                for piece in response.iter_raw():
                    content += piece
                    if len(content) > most:
                        raise WebError(f"larger than {most:,} bytes")
                return Answer(response.status_code, response.headers, bytes(content))

        return self._tried(once)

    def file(self, url: str, path: Path) -> None:
        """Download a file of known length; what an earlier call left of it is continued.

        The bytes wait in `.NAME.part` beside `path`, which appears only when all are there. They
        are continued only while the server says that the file is the same (If-Range).
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part, mark = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.mark")
        self._tried(lambda: self._more(url, part, mark))
        part.replace(path)
        mark.unlink(missing_ok=True)

    def _more(self, url: str, part: Path, mark: Path) -> None:
        have = part.stat().st_size if part.exists() and mark.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": mark.read_text()} if have else {}
        with self._answer(url, headers=headers) as response:
            start, total = _extent(response)
            if response.status_code == 416 or start not in (0, have):
                part.unlink(missing_ok=True)
                raise Passing("the server cannot go on where the download stopped")
            if response.status_code not in (200, 206):
                raise WebError(f"the server answers {response.status_code}")
            if total is None:
                raise WebError("the server does not say how long the file is")
            if (kind := content_type(response)).startswith("text/"):  # of terms, of a proxy
                raise WebError(f"the server sends {kind}, and not the file")
            if not start:
                _remember(response, mark)
            with part.open("ab" if start else "wb") as file:
                for piece in response.iter_raw():
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        if part.stat().st_size != total:
            raise Passing(f"{part.stat().st_size:,} of {total:,} bytes came")

    @contextmanager
    def _answer(self, url: str, **options: Any) -> Iterator[httpx.Response]:
        """The open answer to a GET; troubles that pass become Passing, others WebError."""
        try:
            with self.client.stream("GET", url, **options) as response:
                status = response.status_code
                if status in TRY_AGAIN and status not in self.final:
                    raise Passing(f"the server answers {status}", _retry_after(response))
                yield response
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise WebError(str(error)) from None
        except httpx.RequestError as error:
            raise Passing(f"{type(error).__name__}: {error}") from None

    def _tried(self, once: Callable[[], Result]) -> Result:
        for tries in range(self.settings.retries + 1):
            try:
                return once()
            except Passing as error:
                if tries == self.settings.retries:
                    raise WebError(f"{error} ({tries + 1} times)") from None
                pause = max(self.settings.pause * 2**tries, error.wait)
                time.sleep(min(pause, LONGEST_PAUSE))
        raise AssertionError("unreachable")


def require(answer: Answer, kinds: tuple[str, ...]) -> bytes:
    """The body of an answer 200 of one of these content types, whose length was known."""
    if answer.status != 200:
        raise WebError(f"the server answers {answer.status}")
    kind = content_type(answer)
    if kind not in kinds:
        raise WebError(f"sent {kind or 'no content type'}, not {' or '.join(kinds)}")
    length = answer.headers.get("Content-Length")
    if length is None and "chunked" not in answer.headers.get("Transfer-Encoding", ""):
        raise WebError("the server does not say how long the answer is")
    if not answer.content:
        raise WebError("empty")
    return answer.content


def content_type(answer: Answer | httpx.Response) -> str:
    return str(answer.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _extent(response: httpx.Response) -> tuple[int, int | None]:
    """First byte of an answer's body, and the length of the whole file where it is known."""
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        return (int(match[1]), int(match[2])) if match else (-1, None)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _remember(response: httpx.Response, mark: Path) -> None:
    """Keep what tells this file from a later one of its name; nothing: no continuing."""
    tag = response.headers.get("ETag", "")
    same = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    if same:
        mark.write_text(same)
    else:
        mark.unlink(missing_ok=True)


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0
