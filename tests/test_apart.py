"""A search in a process of its own: the same faces, and what breaks there costs its file alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data

import demo
import predict
from faces.apart import Apart, NotSeen, Seen, Wanted, here
from faces.image import UnreadableImage, write_image
from faces.video import UnreadableVideo
from flags import Demo, Face, Frames
from report.verdict_text import WORDS
from tests.broken_decoders import MEDIA, broken
from tests.judges import face_of, write_checkpoint, write_film
from utils import UserError

LONG = 300.0


def wanted(path: Path | str, seconds: float = LONG) -> Wanted:
    return Wanted(str(path), Face(), Frames(count=4), "cpu", seconds)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where crops lie while they are needed."""
    home = tmp_path / "temporary"
    home.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home))
    return home


# ------------------------------------------------------------------------------ real files


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("media")
    portrait = face_of(skimage.data.astronaut())
    write_image(home / "photo.png", portrait)
    write_film(home / "film.mp4", portrait, frames=12)
    write_image(home / "wall.png", np.full((90, 120, 3), 90, np.uint8))
    (home / "text.mp4").write_text("no film")
    (home / "text.jpg").write_text("no photo")
    return home


def faces_of(seen: Seen) -> list[dict]:
    """The faces with what lies in their files, wherever these are."""
    return [
        one | {"file": (Path(one["file"]).name, Path(one["file"]).read_bytes())}
        for one in seen.found.faces
    ]


def test_another_process_sees_what_this_one_sees(media, folder):
    told: list[tuple[int, int]] = []
    with Apart() as apart:
        for name in ("photo.png", "film.mp4", "wall.png"):
            with here(wanted(media / name)) as ours:
                mine = faces_of(ours)
            with apart.look(wanted(media / name), lambda *at: told.append(at)) as seen:
                assert seen.media == ours.media and faces_of(seen) == mine
                assert len(mine) == {"photo.png": 1, "film.mp4": 4, "wall.png": 0}[name]
                assert len(list(folder.iterdir())) == 1
            assert list(folder.iterdir()) == []
        assert told == [(n, 4) for n in range(1, 5)]  # the film's
        for name in ("text.mp4", "text.jpg"):
            for look in (here, apart.look):
                with pytest.raises(UnreadableVideo) as raised, look(wanted(media / name)):
                    pass
                assert str(raised.value)
        with (
            pytest.raises(UnreadableImage, match="No such file"),
            apart.look(wanted(media / "gone.jpg")),
        ):
            pass
        assert apart.describe(str(media / "film.mp4"), LONG).frames == 12
        with pytest.raises(UnreadableVideo):
            apart.describe(str(media / "text.mp4"), LONG)
    assert list(folder.iterdir()) == []


# -------------------------------------------------------------------------- broken searches


def test_what_breaks_costs_its_own_file_and_the_next_has_a_new_process(folder):
    with Apart(broken) as apart:
        with apart.look(wanted("fine")) as seen:
            first, home = seen.found
            assert seen.media == MEDIA and Path(home, "crop.jpg").is_file()
        with apart.look(wanted("fine again")) as seen:
            assert seen.found[0] == first  # the same process
        for name, reason, media in (
            ("crash", "ended by SIGSEGV", MEDIA),
            ("early", "ended by SIGSEGV", None),
            ("exit", "ended by status 3", MEDIA),
        ):
            with pytest.raises(NotSeen, match=reason) as raised, apart.look(wanted(name)):
                pass
            assert raised.value.media == media
            with apart.look(wanted("fine")) as seen:
                assert seen.found[0] != first
                first = seen.found[0]
        with pytest.raises(FileNotFoundError), apart.look(wanted("wrong")):
            pass
        full = pytest.raises(NotSeen, match="cannot be searched: MemoryError: 8 GB")
        with full, apart.look(wanted("memory")):
            pass
        with apart.look(wanted("fine")) as seen:
            assert seen.found[0] == first  # an error that is named breaks nothing
        os.kill(int(first), signal.SIGKILL)
        while apart._process.is_alive():
            time.sleep(0.01)
        with apart.look(wanted("fine")) as seen:
            first = seen.found[0]  # what ended while nothing was asked is no file's fault
    assert list(folder.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)


def test_what_hangs_is_ended_when_its_time_is_up(folder):
    with Apart(broken) as apart:
        with apart.look(wanted("fine")) as seen:
            first = int(seen.found[0])
        begun = time.monotonic()
        late = pytest.raises(NotSeen, match=r"longer than time_limit, 0\.5 s")
        with late as raised, apart.look(wanted("hang", 0.5)):
            pass
        assert raised.value.media == MEDIA and time.monotonic() - begun < 60
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        with apart.look(wanted("fine")) as seen:
            assert int(seen.found[0]) != first
    assert list(folder.iterdir()) == []


class PipeOfWindows:
    """A pipe of which already `poll` finds that the other side is gone."""

    def __init__(self, pipe, process) -> None:
        self.pipe, self.process = pipe, process

    def __getattr__(self, name: str):
        return getattr(self.pipe, name)

    def poll(self, timeout: float) -> bool:
        self.process.join(timeout)
        if not self.process.is_alive():
            raise BrokenPipeError(109, "The pipe has been ended")
        return self.pipe.poll(0)


def test_on_windows_too_what_breaks_is_named(folder):
    with Apart(broken) as apart:
        with apart.look(wanted("fine")):
            pass
        apart._mine = PipeOfWindows(apart._mine, apart._process)
        with pytest.raises(NotSeen, match="SIGSEGV"), apart.look(wanted("early")):
            pass
    assert list(folder.iterdir()) == []


def test_what_was_begun_early_is_not_searched_twice_and_may_be_left(folder):
    with Apart(broken) as apart:
        apart.begin(wanted("fine"))
        with apart.look(wanted("fine")) as seen:
            assert Path(seen.found[1], "crop.jpg").is_file()
        apart.begin(wanted("hang"))
        with apart.look(wanted("fine")) as seen:  # another than was begun
            assert seen.found
        apart.begin(wanted("hang"))
    assert list(folder.iterdir()) == []


def test_whoever_is_told_may_stop_it(folder):
    def enough(done: int, of: int) -> None:
        raise KeyboardInterrupt

    stopped = pytest.raises(KeyboardInterrupt)
    with Apart(broken) as apart, stopped, apart.look(wanted("hang"), enough):
        pass
    assert list(folder.iterdir()) == []


# --------------------------------------------------------------------- predict.py and demo.py


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "judge.pth"
    write_checkpoint(file)
    return file


def test_predict_names_what_breaks_its_decoder_and_goes_on(
    media, weights, folder, monkeypatch, capsys
):
    monkeypatch.setattr(predict, "Apart", lambda: Apart(broken))
    files = ["crash.mp4", "early.jpg"]
    paths = [Path(media, name) for name in files]
    for path in paths:
        path.write_text("")
    argv = [*map(str, paths), "--checkpoint", str(weights), "--device", "cpu"]
    assert predict.main(argv) == predict.NOTHING_ANALYSED
    said = capsys.readouterr().out
    assert said.count("ended by SIGSEGV") == 2
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_no_fault_of_the_file(media, weights, folder, monkeypatch):
    monkeypatch.setattr(predict, "Apart", lambda: Apart(broken))
    files = [str(media / name) for name in ("early.mp4", "full.mp4", "text.mp4")]
    Path(files[0]).write_text("")
    Path(files[1]).write_text("")
    out = media / "verdicts.csv"
    words = ["--checkpoint", str(weights), "--device", "cpu", "--csv", str(out)]
    with pytest.raises(UserError, match=f"{folder}.* is full: make room"):
        predict.main([files[1], *words])
    assert not out.exists()
    # What was judged before is not lost.
    with pytest.raises(UserError, match=r"full: make room.*1 of 3 files were judged before"):
        predict.main([*files, *words])
    assert pd.read_csv(out)["state"].tolist() == ["unreadable"]
    assert list(folder.iterdir()) == []


def test_the_page_goes_on_after_a_file_that_breaks_its_decoder(media, weights, folder):
    import verdict

    model = verdict.load_model(weights, "cpu")
    silent = lambda share, what: None  # noqa: E731
    file = str(media / "crash.png")
    write_image(file, face_of(skimage.data.astronaut()))
    with Apart(broken) as apart:
        answer = demo.answer(file, model, Demo(), silent, apart)
    assert WORDS["unreadable"] in answer and "SIGSEGV" in answer
    with Apart() as apart:
        answer = demo.answer(file, model, Demo(), silent, apart)
        assert WORDS["unreadable"] not in answer and "Wrong" not in answer
        assert "pixels" in demo.refusal(file, Demo(largest=0.01), apart)


def test_the_command_says_nothing_but_its_verdict(media, weights):
    """No process and no lock is left to be complained of at the end."""
    words = ["predict.py", str(media / "photo.png"), "--checkpoint", str(weights), "--device=cpu"]
    done = subprocess.run(
        [sys.executable, *words], cwd=Path(predict.__file__).parent, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "Verdict" in done.stdout
    assert done.stderr == ""
