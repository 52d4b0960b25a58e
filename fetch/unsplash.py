"""Photos that Unsplash finds for a word: first a CSV of links, then the photos.

    export UNSPLASH_ACCESS_KEY=...       # free: unsplash.com/developers; never written anywhere
    python -m fetch.unsplash search --query face --page 1 --pages 5 --out photos/links.csv
    python -m fetch.unsplash download photos/links.csv --out photos/

Both go on where they were when called again. A new key may send 50 requests an hour: one a page,
and one a photo, because Unsplash wants to be told of each download. The photos are under the
Unsplash License; the terms of the API (unsplash.com/api-terms) hold for them too: read them before
you train on the photos. `python prepare.py unsplash --root photos` reads the result.
"""

import csv
import io
import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

import utils
from failures import MISSING, Failure, summary, write_failures
from fetch.web import TOO_MANY, Answer, Web, WebError, content_type, require
from flags.fetching import Download, Search, UnsplashApi
from settings import parse
from utils import UserError

COLUMNS = (
    "id", "photographer", "photographer_page", "photo_page", "licence", "description", "url",
    "download_location", "query", "page", "file", "sha256",
)  # fmt: skip
"""Of the CSV; `file` and `sha256` are filled in when a photo has been downloaded."""

LICENCE = "Unsplash License (unsplash.com/license)"
PER_PAGE = 30
"""The most that the API gives; a constant, so that the pages of two searches are the same."""

ID = r"[A-Za-z0-9_-]+"
PHOTOS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/avif": ".avif"}
WAITS = 3
"""After so many pauses without an answer it is not the hour's limit."""

Link = dict[str, str]


class LimitReached(UserError):
    """The hour's requests are used up, and on_limit says stop."""


def main(argv: list[str]) -> int:
    if argv[:1] == ["search"]:
        return search(parse(Search, argv[1:], __doc__))
    if argv[:1] == ["download"]:
        files = [word for word in argv[1:2] if not word.startswith("-")]
        config = parse(Download, argv[1 + len(files) :], __doc__)
        if not files:
            raise UserError("download: which CSV of links? Write download photos/links.csv")
        return download(Path(files[0]), config)
    print(f"{__doc__}\nsearch --help and download CSV --help list the settings.")
    return 0 if argv[:1] in (["-h"], ["--help"]) else 2


# ----------------------------------------------------------------------------------- search


def search(config: Search) -> int:
    """Write the links of the pages that the CSV does not hold yet, page by page."""
    out, query = Path(config.out), " ".join(config.query.split())
    links = read_links(out) if out.exists() else []
    done = {link["page"] for link in links if link["query"] == query}
    api, new = Api.of(config), 0
    for page in range(config.page, config.page + config.pages):
        if str(page) in done:
            continue
        try:
            words = {"query": query, "page": page, "per_page": PER_PAGE}
            found = api.get(f"{config.api.rstrip('/')}/search/photos", words)
        except WebError as error:
            raise UserError(
                f"page {page} of {query!r}: {error}; what was found before is in {out}"
            ) from None
        if not found.get("results"):
            print(f" Unsplash has no page {page} of {query!r}")
            break
        known = {link["id"] for link in links}
        fresh = [_link(photo, query, page) for photo in found["results"]]
        fresh = [link for link in fresh if link["id"] not in known]
        links, new = links + fresh, new + len(fresh)
        write_links(out, links)
    print(f"[+] Links : {len(links)} in {out}, {new} of them new")
    return 0


def _link(photo: dict[str, Any], query: str, page: int) -> Link:
    try:
        text = photo.get("description") or photo.get("alt_description") or ""
        link = {
            "id": photo["id"],
            "photographer": _harmless(photo["user"]["name"]),
            "photographer_page": photo["user"]["links"]["html"],
            "photo_page": photo["links"]["html"],
            "licence": LICENCE,
            "description": _harmless(text),
            "url": photo["urls"]["regular"],
            "download_location": photo["links"]["download_location"],
            "query": query,
            "page": page,
            "file": "",
            "sha256": "",
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"Unsplash describes a photo in another way than known: {error}") from None
    if not re.fullmatch(ID, str(photo["id"])):
        raise UserError(f"Unsplash gives a photo the id {photo['id']!r}, which is none")
    return {column: " ".join(str(value).split()) for column, value in link.items()}


def _harmless(text: Any) -> str:
    """Text of a stranger that no spreadsheet takes for a formula."""
    return f"'{text}" if str(text).strip().startswith(("=", "+", "-", "@")) else str(text)


# --------------------------------------------------------------------------------- download


def download(file: Path, config: Download) -> int:
    """Download the photos of a CSV that are not there with their SHA-256 yet."""
    links = read_links(file)
    out = Path(config.out or file.parent)
    waiting = [link for link in links if not _is_there(link, out)]
    api, failures = Api.of(config), []
    written = time.monotonic()
    with ThreadPoolExecutor(config.workers) as pool:
        jobs = {pool.submit(_photo, api, link, out, config.max_bytes): link for link in waiting}
        try:
            for job in tqdm(as_completed(jobs), "Downloading", len(jobs), disable=None):
                link = jobs[job]
                try:
                    link["file"], link["sha256"] = job.result()
                except (WebError, OSError) as error:
                    failures.append(Failure(link["url"], MISSING, f"{link['id']}: {error}"))
                if time.monotonic() > written + 1:
                    write_links(file, links)
                    written = time.monotonic()
        finally:
            pool.shutdown(cancel_futures=True)
            for job, link in jobs.items():  # those that ended while another stopped us
                if job.done() and not job.cancelled() and job.exception() is None:
                    link["file"], link["sha256"] = job.result()
            write_links(file, links)
    left_out = out / "left_out.csv"
    write_failures(left_out, failures, out.absolute())
    there = len(links) - len(failures)
    print(f"[+] Photos : {there} of {len(links)} in {out}, {len(waiting) - len(failures)} new")
    print(f" {summary(failures, left_out).capitalize()}")
    return 1 if failures else 0


def _is_there(link: Link, out: Path) -> bool:
    path = out / link["file"]
    return bool(link["sha256"]) and path.is_file() and utils.sha256_file(path) == link["sha256"]


def _photo(api: "Api", link: Link, out: Path, most: int) -> tuple[str, str]:
    """Download one photo; its file's name and SHA-256."""
    api.get(link["download_location"])  # the guidelines ask for it, for each download
    answer = api.web.get(link["url"], most)
    content = require(answer, tuple(PHOTOS))
    path = out / f"{link['id']}{PHOTOS[content_type(answer)]}"
    utils.write_atomic(path, content)
    return path.name, utils.sha256_file(path)


# -------------------------------------------------------------------------------------- API


@dataclass
class Api:
    """Requests with the key, one at a time, no more than the hour allows."""

    config: UnsplashApi
    key: str = field(repr=False)
    web: Web
    left: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, config: UnsplashApi) -> "Api":
        key = os.environ.get("UNSPLASH_ACCESS_KEY", "").strip()
        if not re.fullmatch(r"[!-~]+", key):
            raise UserError(
                "UNSPLASH_ACCESS_KEY "
                + ("holds what no key holds" if key else "is not set")
                + ": copy the access key of your application on unsplash.com/developers and say "
                "export UNSPLASH_ACCESS_KEY=..."
            )
        return cls(config, key, Web(config, frozenset({TOO_MANY})))

    def get(self, url: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON that the API answers. The key goes to the API's own address alone."""
        try:
            here, there = httpx.URL(self.config.api), httpx.URL(url)
        except httpx.InvalidURL as error:
            raise WebError(f"{url!r} is no address: {error}") from None
        if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
            raise WebError(f"{there.host} is not the API: it does not get the key")
        with self.lock:
            for _ in range(WAITS + 1):
                if self.left == 0:
                    self._pause()
                answer = self.web.get(url, **self._options(params))
                text = answer.headers.get("X-Ratelimit-Remaining", "")
                self.left = int(text) if text.isdigit() else None
                if not self._is_limited(answer):
                    return self._checked(answer)
                self.left = 0
        raise LimitReached(f"Unsplash refuses after {WAITS} pauses: try again later")

    def _options(self, params: dict[str, Any] | None) -> dict[str, Any]:
        # Given as `params`, none would still drop those that the address has of its own.
        headers = {"Authorization": f"Client-ID {self.key}", "Accept-Version": "v1"}
        return {"headers": headers} | ({"params": params} if params else {})

    def _is_limited(self, answer: Answer) -> bool:
        said = self.left == 0 or b"rate limit" in answer.content[:200].lower()
        return answer.status == TOO_MANY or (answer.status == 403 and said)

    def _pause(self) -> None:
        if self.config.on_limit == "stop":
            raise LimitReached(
                "Unsplash: the hour's requests are used up; what was done is kept. Say the same "
                "in an hour, or --on_limit wait"
            )
        print(f" The hour's requests are used up: waiting {self.config.wait:g} s")
        time.sleep(self.config.wait)
        self.left = None

    def _checked(self, answer: Answer) -> dict[str, Any]:
        if answer.status in (401, 403):
            raise UserError(
                f"Unsplash answers {answer.status}: it does not take the key in UNSPLASH_ACCESS_KEY"
            )
        if answer.status != 200:
            raise WebError(f"Unsplash answers {answer.status}")
        try:
            value = json.loads(answer.content)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise WebError("Unsplash answers with no JSON object")
        return value


# -------------------------------------------------------------------------------------- CSV


def read_links(file: Path) -> list[Link]:
    """The rows of a CSV that search wrote; UserError names what is wrong with it.

    Ids and files become names on disk, so that they must be bare names.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            table = csv.DictReader(text, strict=True)
            links = [dict(row) for row in table]
            missing = [c for c in COLUMNS if c not in (table.fieldnames or ())]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file}: not a CSV of links that can be read: {error}") from None
    if missing:
        raise UserError(f"{file}: no CSV of links: has no column {', '.join(missing)}")
    for number, link in enumerate(links, 2):
        if None in link or None in link.values():
            raise UserError(f"{file}, row {number}: not as many cells as columns")
        if not re.fullmatch(ID, link["id"]):
            raise UserError(f"{file}, row {number}: {link['id']!r} is no id of a photo")
        if link["file"] and not re.fullmatch(ID + r"\.\w+", link["file"]):
            raise UserError(f"{file}, row {number}: {link['file']!r} is no bare name of a photo")
    return links


def write_links(file: Path, links: list[Link]) -> None:
    """Write the CSV, beside and renamed."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(links)
    utils.write_atomic(file, text.getvalue())


if __name__ == "__main__":
    utils.run_command(main)
