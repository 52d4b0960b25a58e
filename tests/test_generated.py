"""Faces of nobody: what is written, what is kept, what is said where the generator is missing."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import manifest
from faces.detector import make_detector
from faces.encoding import encoding
from faces.image import read_image
from fakes import generated
from flags import Face
from utils import UserError

INSTALLED = all(importlib.util.find_spec(name) for name in ("openvino", "random_face"))


class Noise:
    """Stands for the generator: noise in its size, and how many faces were asked of it."""

    drawn = 0

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def draw(self, random: np.random.Generator, truncation: float) -> np.ndarray:
        Noise.drawn += 1
        assert 0.5 <= truncation <= 1
        small = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        return small.repeat(32, axis=0).repeat(32, axis=1)


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> type[Noise]:
    monkeypatch.setattr(generated, "Generator", Noise)
    monkeypatch.setattr(Noise, "drawn", 0)
    return Noise


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((folder / "faces").iterdir())]


def test_faces_and_the_manifest_that_names_them(tmp_path, noise, capsys):
    assert generated.main(["--count=12", f"--out={tmp_path}", "--side=128"]) == 0
    assert "[+] Faces : 12" in capsys.readouterr().out
    read = manifest.read(str(tmp_path / "faces.csv"))
    rows = read.rows
    assert len(rows) == 12 and (rows["label"] == manifest.FAKE).all() and not read.missing
    assert set(rows["split"]) == {"train"} and rows["identity"].nunique() == 12
    assert set(rows["source"]) == {"generated"} and set(rows["method"]) == {"MobileStyleGAN"}
    assert {read_image(path).shape for path in rows["path"]} == {(128, 128, 3)}
    qualities = [encoding(content)[1] for content in contents(tmp_path)]
    assert min(qualities) >= 69 and max(qualities) <= 96 and len(set(qualities)) > 4


def test_a_face_is_the_same_however_many_are_asked_for_and_what_is_there_is_kept(tmp_path, noise):
    few, many = tmp_path / "few", tmp_path / "many"
    generated.main(["--count=3", f"--out={few}"])
    generated.main(["--count=5", f"--out={many}"])
    assert contents(few) == contents(many)[:3]
    first = few / "faces" / "000000.jpg"
    first.write_bytes(b"mine")
    generated.main(["--count=5", f"--out={few}"])
    assert noise.drawn == 3 + 5 + 2 and first.read_bytes() == b"mine"
    assert contents(few)[1:] == contents(many)[1:]
    generated.main(["--count=3", f"--out={tmp_path / 'other'}", "--seed=1"])
    assert contents(tmp_path / "other") != contents(many)[:3]


@pytest.mark.parametrize(
    "other", ["--seed=7", "--side=128", "--truncation=.6,1", "--quality=80,90"]
)
def test_faces_of_other_settings_do_not_stay_under_new_names(tmp_path, noise, other):
    generated.main(["--count=2", f"--out={tmp_path}"])
    before = (tmp_path / "faces.csv").read_bytes()
    with pytest.raises(UserError, match=r"faces of other settings, of settings\.yaml there"):
        generated.main(["--count=3", f"--out={tmp_path}", other])
    assert len(contents(tmp_path)) == 2 and (tmp_path / "faces.csv").read_bytes() == before
    (tmp_path / "settings.yaml").unlink()
    with pytest.raises(UserError, match="nobody wrote down"):
        generated.main(["--count=3", f"--out={tmp_path}"])


def test_nothing_is_drawn_where_all_are_there(tmp_path, noise, monkeypatch):
    generated.main(["--count=2", f"--out={tmp_path}"])
    monkeypatch.setattr(generated, "Generator", None)  # not even loaded
    assert generated.main(["--count=2", f"--out={tmp_path}"]) == 0


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--truncation=0.9,0.1", "truncation"),
        ("--quality=90,70", "quality"),
        ("--quality=0,70", "quality"),
        ("--count=0", "count"),
        ("--side=2000", "side"),
        ("--sides=200", "did you mean"),
    ],
)
def test_bad_settings_are_one_sentence(argument, says, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        generated.main([argument, f"--out={tmp_path}"])
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_without_the_generator_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"OpenVINO.*make generator"):
        generated.main([f"--out={tmp_path}"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"random-face.*make generator"):
        generated.folder()


@pytest.mark.skipif(not INSTALLED, reason="OpenVINO or random-face is missing: make generator")
def test_the_generator_draws_a_face_in_the_middle(tmp_path):
    generated.main(["--count=2", f"--out={tmp_path}"])
    pictures = [read_image(file) for file in sorted((tmp_path / "faces").iterdir())]
    detect = make_detector(Face())
    for picture in pictures:
        (face,) = detect(picture)
        middle = (face.box[:2] + face.box[2:]) / 2
        assert np.abs(middle - 128).max() < 40 and 80 < face.box[3] - face.box[1] < 220
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 10
    # The average face is drawn where nothing of a style is kept, whoever's it is.
    generator = generated.Generator(42)
    one, two = (generator.draw(np.random.default_rng(seed), 0.0) for seed in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (1024, 1024, 3) and one.dtype == np.uint8
