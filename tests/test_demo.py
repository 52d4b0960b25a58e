"""demo.py without a browser: what is refused and how, whose file is whose, and the guards."""

import html
import os
import re
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import demo
import serving
import verdict
from faces.image import write_image
from flags import Demo, Evidence, Frames, Predict
from report.verdict_text import WORDS
from tests.judges import face_of, write_checkpoint, write_film
from utils import UserError


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A photo, a clip of 3 seconds, a wall, a text, and a checkpoint."""
    from skimage import data

    home = tmp_path_factory.mktemp("demo")
    face = face_of(data.astronaut())
    write_image(home / "photo.jpg", face)
    write_film(home / "clip.mp4", face, frames=36, rate=12, size=(320, 240))
    write_image(home / "wall.png", np.full((96, 96, 3), 90, np.uint8))
    (home / "text.mp4").write_text("no film at all")
    write_checkpoint(home / "judge.pth")
    return home


@pytest.fixture(scope="module")
def model(home: Path) -> verdict.Model:
    return verdict.load_model(home / "judge.pth", "cpu")


def silent(share: float, what: str) -> None: ...


def page_in(answer: str) -> str:
    """The page that an answer holds."""
    found = re.search(r'srcdoc="([^"]*)"', answer)
    assert found, answer
    return html.unescape(found[1])


# --------------------------------------------------------------------------------- limits


def test_what_is_within_the_limits_is_not_refused(home):
    settings = Demo(longest=4.0, largest=0.1)
    for name in ("photo.jpg", "clip.mp4", "wall.png", "text.mp4"):
        assert demo.refusal(str(home / name), settings) == ""


@pytest.mark.parametrize(
    ("name", "settings", "said", "remedy"),
    [
        ("clip.mp4", Demo(longest=2.0), ["0:03.0", "0:02.0"], "--longest"),
        ("clip.mp4", Demo(largest=0.05), ["320 x 240", "0.1 million", "0.05"], "--largest"),
        ("photo.jpg", Demo(largest=0.05), ["256 x 256", "0.1 million", "0.05"], "--largest"),
    ],
)
def test_what_is_too_much_is_refused_with_a_remedy(home, model, name, settings, said, remedy):
    reason = demo.refusal(str(home / name), settings)
    assert all(word in reason for word in [*said, remedy]), reason
    assert html.escape(reason) in demo.answer(str(home / name), model, settings, silent)


def test_nothing_is_decoded_before_it_is_refused(home, model, monkeypatch, tmp_path):
    def decode(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    bomb = tmp_path / "bomb.png"  # 8000 x 8000 pixels in 70 kB
    Image.new("1", (8000, 8000)).save(bomb)
    monkeypatch.setattr(verdict, "of_file", decode)
    assert "64.0 million pixels" in demo.answer(str(bomb), model, Demo(), silent)
    assert "AssertionError" not in demo.answer(str(bomb), model, Demo(), silent)


def test_a_film_that_takes_too_long_is_given_up(home, model):
    page = page_in(demo.answer(str(home / "clip.mp4"), model, Demo(time_limit=1e-6), silent))
    assert WORDS["unreadable"] in page and "time_limit" in page


def test_the_page_says_its_limits_and_its_weights(model):
    text = demo.intro(model, Demo(upload=7, longest=90.0, largest=12.5))
    for words in ("7 MB", "1.5 minutes", "12.5 million pixels", "judge.pth", model.good_for):
        assert words in text


# -------------------------------------------------------------------------------- answers


def test_an_answer_is_the_page_of_predict_with_its_score(home, model):
    settings = Demo(frames=Frames(count=12), evidence=Evidence(min_faces=4))
    told: list[float] = []
    answer = demo.answer(
        str(home / "clip.mp4"), model, settings, lambda share, what: told.append(share)
    )
    page = page_in(answer)
    asked = Predict(frames=settings.frames, evidence=settings.evidence)
    same = verdict.of_file(home / "clip.mp4", model, asked)
    assert WORDS[same.state] in page and f"{same.score:.4f}" in page
    assert page.count("data:image") >= len(same.faces), "small pictures and heatmaps"
    assert "No heatmaps" not in page
    assert told == sorted(told) and len(told) > len(same.faces)
    assert "<title>clip.mp4</title>" in page and str(home / "clip.mp4") not in page


@pytest.mark.parametrize(
    ("name", "state"), [("wall.png", "no_face"), ("text.mp4", "unreadable"), ("gone", "unreadable")]
)
def test_a_file_without_a_verdict_gets_its_state(home, model, name, state):
    assert WORDS[state] in page_in(demo.answer(str(home / name), model, Demo(), silent))


def test_heatmaps_can_be_switched_off(home, model):
    page = page_in(demo.answer(str(home / "photo.jpg"), model, Demo(cam=False), silent))
    assert "No heatmaps" in page


def test_a_fault_of_ours_is_a_sentence_there_and_a_traceback_here(home, model, monkeypatch, capsys):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("<out of memory>")

    monkeypatch.setattr(verdict, "of_file", broken)
    answer = demo.answer(str(home / "photo.jpg"), model, Demo(), silent)
    assert "says nothing about the file" in answer and "memory" not in answer
    assert "<out of memory>" in capsys.readouterr().err


def test_a_page_in_the_page_cannot_break_out_of_its_frame():
    framed = demo.framed('<p title="x">"><script>alert(1)</script> ${1} {{2}}</p>')
    assert "<script>" not in framed and framed.count("<iframe") == 1
    assert 'sandbox="allow-same-origin"' in framed
    assert page_in(framed).endswith("${1} {{2}}</p>")
    assert demo.sentence("<b>") == '<p class="said" role="alert">&lt;b&gt;</p>'


# ---------------------------------------------------------------------------------- files


def test_one_upload_by_two_is_two_files(tmp_path):
    upload = tmp_path / "uploads" / "hash" / "clip.mp4"
    upload.parent.mkdir(parents=True)
    upload.write_bytes(b"film")
    (_, first, _), (_, second, _) = (serving.taken(str(upload), Demo(), tmp_path) for _ in range(2))
    assert first != second and Path(first).name == Path(second).name == "clip.mp4"
    Path(first).unlink()
    upload.unlink()
    assert Path(second).read_bytes() == b"film"


def test_what_nobody_came_for_is_removed(tmp_path):
    upload = tmp_path / "photo.jpg"
    upload.write_bytes(b"photo")
    _, old, _ = serving.taken(str(upload), Demo(), tmp_path)
    _, young, _ = serving.taken(str(upload), Demo(), tmp_path)
    settings = Demo(time_limit=10.0, queue=3)
    long_ago = time.time() - 10 * (3 + 2) - 1
    os.utime(Path(old).parent, (long_ago, long_ago))
    serving.taken(str(upload), settings, tmp_path)
    assert not Path(old).exists() and Path(young).exists()


def test_who_finds_the_queue_full_is_told_and_loses_the_upload(tmp_path):
    upload = tmp_path / "photo.jpg"
    upload.write_bytes(b"photo")
    _, own, _ = serving.taken(str(upload), Demo(), tmp_path)
    assert "takes (5)" in demo.full(own, settings=Demo(queue=5))
    assert not Path(own).parent.exists() and tmp_path.is_dir()
    assert "--queue" in demo.full(settings=Demo())


# --------------------------------------------------------------------------------- server


def test_a_port_in_use_is_a_mistake_with_a_remedy():
    with socket.socket() as other:
        other.bind((serving.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port}: .*--port"):
            serving.free(port)
    serving.free(port)


@pytest.mark.parametrize("wrong", ["--port=80", "--upload=0", "--queue=0", "--uplod=5"])
def test_a_wrong_setting_is_a_mistake_in_the_command(wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        demo.main([wrong])
    assert stop.value.code == 2
    assert wrong[2:].split("=")[0] in capsys.readouterr().err


def test_weights_that_are_no_weights_are_one_sentence(home):
    with pytest.raises(UserError, match=r"text\.mp4"):
        demo.main(["--checkpoint", str(home / "text.mp4")])


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:7860", 200), ("localhost:7860", 200), ("evil.example", 400)],
)
def test_only_this_computers_names_are_answered(host, status):
    import asyncio

    async def hello(request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def ask() -> httpx.Response:
        app = Starlette(routes=[Route("/", hello)], middleware=serving.guards())
        through = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=through, base_url="http://there") as client:
            return await client.get("/", headers={"Host": host})

    answer = asyncio.run(ask())
    assert answer.status_code == status
    if status == 200:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "http" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
