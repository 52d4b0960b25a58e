"""demo.py in a real browser: each kind of file, two people, the limits, nothing from elsewhere.

make test-browser
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from faces.image import write_image
from tests.judges import face_of, write_checkpoint, write_film

playwright = pytest.importorskip("playwright.sync_api", reason="see requirements-browser.txt")
expect = playwright.expect

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
LONG = 180_000
"""Milliseconds until something is really wrong; nothing is measured here."""


@dataclass
class Server:
    address: str
    folder: Path
    """Its temporary files, all of them."""
    process: subprocess.Popen
    log: Path


@dataclass
class Visitor:
    """Somebody with a window of their own. asked: the hosts that the browser asked."""

    page: "playwright.Page"
    asked: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def drops(self, file: Path) -> None:
        self.page.locator("input[type=file]").set_input_files(file)

    def reads(self, name: str) -> "playwright.FrameLocator":
        """The verdict on a file, once it is there."""
        frame = self.page.frame_locator("#result iframe")
        expect(frame.locator("h1")).to_have_text(name, timeout=LONG)
        return frame


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("media")
    face = face_of(data.astronaut())
    write_image(home / "photo.jpg", face)
    write_film(home / "film.mp4", face, frames=24, rate=12)
    write_film(home / "long.mp4", face, frames=60, rate=2, size=(160, 160))
    write_film(home / "slow.mp4", face, frames=24, rate=2, size=(1920, 1080))
    write_image(home / "wall.png", np.full((96, 96, 3), 90, np.uint8))
    (home / "text.mp4").write_text("no film at all\n" * 50)
    (home / "large.mp4").write_bytes(bytes(1_200_000))
    (home / "${1+1} {{7}} <img src=x onerror=alert(1)>.jpg").write_bytes(
        (home / "photo.jpg").read_bytes()
    )
    write_checkpoint(home / "judge.pth")
    return home


@pytest.fixture(scope="module")
def server(media: Path, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "checkpoint": media / "judge.pth", "port": port, "browser": False, "device": "cpu",
        "upload": 1, "longest": 20, "queue": 2, "frames.count": 12, "evidence.min_faces": 4,
    }  # fmt: skip
    words = [f"--{key}={value}" for key, value in settings.items()]
    log = folder / "log"
    temporary = folder / "temporary"
    temporary.mkdir()
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "demo.py"), *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
        )
        try:
            for _ in range(LONG // 500):
                if "Page" in log.read_text() or process.poll() is not None:
                    break
                time.sleep(0.5)
            assert f"http://127.0.0.1:{port}" in log.read_text(), log.read_text()
            yield Server(f"http://127.0.0.1:{port}", temporary, process, log)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    assert program, f"none of {', '.join(names)} is installed: make test-browser"
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium's own does not serve root
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser, server) -> Iterator[Visitor]:
    yield from visit(browser, server)


@pytest.fixture
def other(browser, server) -> Iterator[Visitor]:
    yield from visit(browser, server)


def visit(browser, server, **more) -> Iterator[Visitor]:
    window = browser.new_context(**more)
    one = Visitor(window.new_page())
    one.page.on("request", lambda request: one.asked.add(request.url))
    one.page.on("pageerror", lambda error: one.errors.append(str(error)))
    one.page.on("dialog", lambda dialog: one.errors.append(dialog.message))
    one.page.goto(server.address)
    expect(one.page.get_by_role("heading", level=1)).to_be_visible(timeout=LONG)
    yield one
    window.close()
    outside = {
        url
        for url in one.asked
        if not url.startswith((f"{server.address}/", "data:", f"blob:{server.address}/", "about:"))
    }
    assert outside == set(), "the page asks nobody but this computer"
    assert one.errors == []


def gone(folder: Path, name: str) -> bool:
    """Waits until no file of that name is left."""
    for _ in range(LONG // 1000):
        if not list(folder.rglob(name)):
            return True
        time.sleep(1)
    return False


# ----------------------------------------------------------------------------------- tests


def test_the_page_says_what_it_takes_and_shows_the_samples(visitor):
    text = visitor.page.locator("#intro").inner_text()
    assert "1 MB" in text and "judge.pth" in text and "stays on this computer" in text
    pictures = visitor.page.locator(".sample img")
    expect(pictures).to_have_count(4)
    widths = pictures.evaluate_all("all => all.map(one => one.naturalWidth)")
    assert all(width > 50 for width in widths)


def test_a_photo_gets_its_verdict_and_is_deleted(visitor, server, media):
    visitor.drops(media / "photo.jpg")
    page = visitor.reads("photo.jpg")
    expect(page.locator(".verdict h2")).to_have_text(
        re.compile("Inconclusive|Signs of manipulation|No signs found")
    )
    expect(page.locator(".cams figure")).to_have_count(1)
    assert not list(server.folder.rglob("file-*")), "Gradio's own copy goes a little later"


def test_a_film_gets_its_timeline_and_a_dot_leads_to_its_face(visitor, media):
    visitor.drops(media / "film.mp4")
    page = visitor.reads("film.mp4")
    dots = page.locator("svg.time a")
    assert dots.count() == 12
    dots.nth(3).click()
    expect(page.locator("figure:target")).to_have_count(1)
    expect(page.locator("h1")).to_have_text("film.mp4")
    # The frame is as high as what it shows: there is one scroll bar, that of the window.
    heights = visitor.page.locator("#result iframe").evaluate(
        "one => [one.clientHeight, one.contentDocument.body.offsetHeight]"
    )
    assert heights[0] >= heights[1] > 600


def test_a_sample_is_judged_and_its_page_can_be_kept(visitor, tmp_path):
    visitor.page.get_by_role("button", name="A portrait").click()
    visitor.reads("real.jpg")
    with visitor.page.expect_download() as kept:
        visitor.page.get_by_text("Keep this page").click()
    kept.value.save_as(tmp_path / "kept.html")
    text = (tmp_path / "kept.html").read_text()
    assert text.lstrip().startswith("<!doctype html>") and "real.jpg" in text
    assert (ROOT / "samples" / "real.jpg").is_file(), "a sample is nobody's upload"


@pytest.mark.parametrize(
    ("name", "words"), [("wall.png", "No face found"), ("text.mp4", "Cannot be read")]
)
def test_what_cannot_be_judged_is_said_in_words(visitor, server, media, name, words):
    visitor.drops(media / name)
    page = visitor.reads(name)
    expect(page.locator(".verdict h2")).to_have_text(words)
    assert "Traceback" not in server.log.read_text()


def test_a_file_above_the_limit_is_refused(visitor, server, media):
    visitor.drops(media / "large.mp4")
    expect(visitor.page.get_by_text("maximum allowed size")).to_be_visible(timeout=LONG)
    expect(visitor.page.locator("#result iframe")).to_have_count(0)
    assert not list(server.folder.rglob("large.mp4"))
    # The browser's own check can be left out: the server has the last word.
    answer = visitor.page.request.post(
        f"{server.address}/gradio_api/upload",
        multipart={"files": {"name": "l.mp4", "mimeType": "video/mp4", "buffer": bytes(1_200_000)}},
    )
    assert answer.status == 413


def test_a_film_above_the_limit_is_refused_with_a_remedy(visitor, media):
    visitor.drops(media / "long.mp4")
    said = visitor.page.get_by_role("alert").filter(has_text="--longest")
    expect(said).to_contain_text("0:30.0 long", timeout=LONG)


def test_two_people_at_once_with_one_file_get_an_answer_each(visitor, other, server, media):
    visitor.drops(media / "film.mp4")
    other.drops(media / "film.mp4")
    for one in (visitor, other):
        expect(one.reads("film.mp4").locator("svg.time a")).to_have_count(12)
    visitor.drops(media / "photo.jpg")
    other.drops(media / "wall.png")
    expect(other.reads("wall.png").locator(".verdict h2")).to_have_text("No face found")
    visitor.reads("photo.jpg")
    assert gone(server.folder, "film.mp4")


def test_who_comes_when_the_queue_is_full_is_told_so(browser, server, media):
    # A window each: six pages of one would use up a browser's connections to one address.
    windows = [browser.new_context() for _ in range(5)]
    pages = [window.new_page() for window in windows]
    for page in pages:
        page.goto(server.address)
        expect(page.get_by_role("button", name="A clip of it")).to_be_visible(timeout=LONG)
    for page in pages:  # one is judged, two wait
        page.locator("input[type=file]").set_input_files(media / "slow.mp4")
    for page in pages:
        done = page.locator("#result iframe, #result [role=alert]")
        expect(done).to_have_count(1, timeout=LONG)
    told = sum(page.get_by_text("takes (2)").count() for page in pages)
    for window in windows:
        window.close()
    assert 1 <= told <= 2


def test_a_name_is_text_and_nothing_else(visitor, media):
    (file,) = media.glob("*onerror*")
    visitor.drops(file)
    name = visitor.page.frame_locator("#result iframe").locator("h1")
    expect(name).to_contain_text("onerror", timeout=LONG)
    assert visitor.page.frame_locator("#result iframe").locator("h1 img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_each_screen_in_light_and_dark(browser, server, media, scheme, width, tmp_path):
    size = {"width": width, "height": 800}
    for one in visit(browser, server, viewport=size, color_scheme=scheme):
        one.drops(media / "film.mp4")
        frame = one.reads("film.mp4")
        one.page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
        for body in (one.page.locator("body"), frame.locator("body")):
            assert body.evaluate("b => b.ownerDocument.documentElement.scrollWidth <= innerWidth")
            paper = body.evaluate(
                "b => getComputedStyle(b).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
            )
            assert (sum(paper) < 3 * 80) == (scheme == "dark"), paper


def test_a_page_from_elsewhere_cannot_ask_for_ours(visitor, server):
    answer = visitor.page.request.get(server.address, headers={"Host": "elsewhere.example"})
    assert answer.status == 400


def test_it_ends_without_a_trace(server):
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=LONG / 1000)
    assert list(server.folder.iterdir()) == []
    assert "Traceback" not in server.log.read_text()
