"""Broken, hostile and odd files: each gets a state and a reason, none stops or hangs predict.py."""

import io
import pickle
import resource
import struct
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import checkpoint
import predict
import verdict
from faces.video import open_clip
from flags import Frames, Predict
from judging import NO_FACE, NOT_ENOUGH, STATES, UNREADABLE
from tests.judges import configuration, face_of, write_checkpoint, write_film
from utils import UserError

MUTATED = 500
PHOTOS = ("jpg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> verdict.Model:
    """The quick detector: hundreds of files are searched."""
    file = tmp_path_factory.mktemp("weights") / "c.pth"
    config = configuration(face={"detector": "haar", "select": "all"})
    return verdict.load_model(write_checkpoint(file, config=config), "cpu")


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory) -> dict[str, bytes]:
    """A small photo or film of each kind, as it should be."""
    from skimage import data

    home = tmp_path_factory.mktemp("sound")
    face = face_of(data.astronaut())
    small = Image.fromarray(face).resize((96, 96))
    found = {}
    for suffix in PHOTOS:
        buffer = io.BytesIO()
        small.save(buffer, {"jpg": "JPEG", "heic": "HEIF"}.get(suffix, suffix.upper()))
        found[suffix] = buffer.getvalue()
    moving = [small.rotate(3 * number) for number in range(4)]
    for name in ("gif", "webp"):
        buffer = io.BytesIO()
        moving[0].save(buffer, name.upper(), save_all=True, append_images=moving[1:], duration=80)
        found[f"moving.{name}"] = buffer.getvalue()
    for suffix in ("mp4", "mkv", "avi", "webm"):
        file = home / f"a.{suffix}"
        codec = {"webm": "libvpx", "avi": "mpeg4"}.get(suffix, "libx264")
        with av.open(str(file), "w") as film:
            stream = film.add_stream(codec, rate=8)
            stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
            for picture in [*moving, *moving]:
                film.mux(stream.encode(av.VideoFrame.from_image(picture)))
            film.mux(stream.encode())
        found[suffix] = file.read_bytes()
    return found


def mutated(content: bytes, others: list[bytes], dice: np.random.Generator) -> bytes:
    """One kind of damage: flipped bits, a cut, another's header, a hole, a repeated piece."""
    data = bytearray(content)
    kind = dice.integers(6)
    if kind == 0:
        for place in dice.integers(0, len(data), dice.integers(1, 40)):
            data[place] ^= 1 << dice.integers(8)
    elif kind == 1:
        del data[dice.integers(0, len(data)) :]
    elif kind == 2:
        header = others[dice.integers(len(others))][: dice.integers(4, 64)]
        data[: len(header)] = header
    elif kind == 3:
        begin = dice.integers(0, len(data))
        data[begin : begin + 64] = bytes(64)
    elif kind == 4:  # where sizes and counts stand
        for place in dice.integers(0, min(256, len(data)), 4):
            data[place] = 0xFF
    else:
        begin = dice.integers(0, len(data))
        data[begin:begin] = data[max(0, begin - 200) : begin]
    return bytes(data)


def test_mutated_files_are_each_named(model, sound_files, tmp_path):
    dice, others = np.random.default_rng(6), list(sound_files.values())
    quick = Predict.model_validate({"frames": {"count": 3}, "time_limit": 20})
    states: dict[str, int] = {}
    for number in range(MUTATED):
        name = list(sound_files)[number % len(sound_files)]
        file = tmp_path / f"{number}.{name.split('.')[-1]}"
        file.write_bytes(mutated(sound_files[name], others, dice))
        begun = time.monotonic()
        found = verdict.of_file(file, model, quick)
        assert found.state in STATES and found.reason, name
        assert (found.score is None) or 0 <= found.score <= 1
        assert found.state != UNREADABLE or found.score is None
        assert time.monotonic() - begun < 30, f"{name}: nobody waits that long"
        states[found.state] = states.get(found.state, 0) + 1
        file.unlink()
    assert sum(states.values()) == MUTATED
    assert states[UNREADABLE] > 50 and len(states) >= 3, states


def test_the_files_are_readable_before_they_are_damaged(model, sound_files, tmp_path):
    for name, content in sound_files.items():
        (tmp_path / name).write_bytes(content)
        found = verdict.of_file(tmp_path / name, model, Predict())
        assert found.state != UNREADABLE, name
        assert found.media.kind == ("photo" if name in PHOTOS else "film")


def unreadable(file: Path, model: verdict.Model) -> str:
    found = verdict.of_file(file, model, Predict())
    assert (found.state, found.score, found.persons) == (UNREADABLE, None, ())
    return found.reason


def test_a_damaged_heic_is_no_film_of_its_first_tile(model, sound_files, tmp_path):
    whole = sound_files["heic"]
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "odd": whole.replace(b"meta", b"mete"),
    }.items():
        (tmp_path / f"{name}.heic").write_bytes(content)
        assert unreadable(tmp_path / f"{name}.heic", model).startswith("damaged: "), name


def test_a_decompression_bomb_is_refused_before_it_is_decoded(model, tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    for side in (12_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        pixels = zlib.compress(bytes(4_000_000), 9)
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
        (tmp_path / "bomb.png").write_bytes(png + chunk(b"IEND", b""))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert "pixels" in unreadable(tmp_path / "bomb.png", model)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 200_000, "kilobytes"


def test_an_8k_picture_is_judged(tmp_path, portrait):
    wall = np.full((4320, 7680, 3), 128, np.uint8)
    face = np.asarray(Image.fromarray(face_of(portrait)).resize((1800, 1800)))
    wall[1000:2800, 3000:4800] = face
    Image.fromarray(wall).save(tmp_path / "8k.jpg", quality=90)
    model = verdict.load_model(write_checkpoint(tmp_path / "c.pth"), "cpu")
    found = verdict.of_file(tmp_path / "8k.jpg", model, Predict())
    assert found.score is not None and found.searched.size == (7680, 4320)
    assert 3000 < found.faces[0].box[0] < 4800 and found.faces[0].size > 300


def test_films_without_pictures_are_named(model, tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as film:
        tone = film.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        film.mux(tone.encode(frame))
        film.mux(tone.encode())
    assert "sound only" in unreadable(tmp_path / "sound.mp4", model)
    for suffix in ("mp4", "avi"):
        file = tmp_path / f"none.{suffix}"
        with av.open(str(file), "w") as film:
            stream = film.add_stream("libx264" if suffix == "mp4" else "mpeg4", rate=8)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            film.start_encoding()
        assert unreadable(file, model)
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "empty" in unreadable(tmp_path / "empty.mp4", model)


def test_a_film_of_three_hours_is_sampled_evenly_in_bounded_memory(model, tmp_path):
    file = tmp_path / "long.mkv"
    with av.open(str(file), "w") as film:
        stream = film.add_stream("libx264", rate=2, options={"g": "120", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        image = np.full((48, 64, 3), 90, np.uint8)
        for number in range(3 * 3600 * 2):
            image[:, :, 0] = number % 256
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        film.mux(stream.encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = [frame.timestamp for frame in open_clip(file, Frames(count=32))]
    found = verdict.of_file(file, model, Predict())
    assert found.state == NO_FACE and found.searched.frames == 32
    assert found.searched.seconds == pytest.approx(3 * 3600, abs=2)
    steps = np.diff(times)
    assert len(times) == 32 and steps.max() - steps.min() < 2 and steps.mean() > 300
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


def test_a_film_that_takes_too_long_is_given_up(model, tmp_path, portrait):
    film = write_film(tmp_path / "film.mp4", face_of(portrait))
    found = verdict.of_file(film, model, Predict(time_limit=1e-6))
    assert (found.state, found.score) == (UNREADABLE, None) and "time_limit" in found.reason


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_film_that_a_phone_turned_is_judged_upright(tmp_path, portrait, rotation):
    model = verdict.load_model(write_checkpoint(tmp_path / "c.pth"), "cpu")
    lying = np.ascontiguousarray(np.rot90(face_of(portrait), -rotation // 90))
    film = write_film(tmp_path / "phone.mp4", lying, rotation=rotation)
    found = verdict.of_file(film, model, Predict.model_validate({"frames": {"count": 14}}))
    assert len(found.faces) == 14 and found.score is not None
    turned = rotation in (90, 270)
    assert found.searched.size == ((240, 480) if turned else (480, 240))


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp"])
def test_pictures_that_move_are_films(model, sound_files, tmp_path, name):
    file = tmp_path / name
    file.write_bytes(sound_files[name])
    found = verdict.of_file(file, model, Predict())
    assert found.media.kind == "film" and found.searched.frames == 4
    assert found.state in (NO_FACE, NOT_ENOUGH) and found.score is None


def test_ten_faces_in_a_frame_are_ten_persons(tmp_path, portrait):
    model = verdict.load_model(write_checkpoint(tmp_path / "c.pth"), "cpu")
    face = face_of(portrait)
    film = write_film(tmp_path / "ten.mp4", face, faces=10, side=150, size=(880, 340), frames=13)
    found = verdict.of_file(film, model, Predict())
    assert len(found.persons) == 10 and all(len(p.faces) == 13 for p in found.persons)
    assert found.score == max(p.score for p in found.persons) == found.persons[0].score


def test_a_list_of_other_files_is_not_followed(model, sound_files, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(sound_files["mp4"])
    lists = {
        "a.mp4": "ffconcat version 1.0\nfile 'secret.mp4'\n",
        "b.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "c.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        assert unreadable(tmp_path / name, model)


# ---------------------------------------------------------------------------- checkpoints


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.write_text, (self.mark, "executed"))


def test_a_pickle_is_not_executed(tmp_path, capsys):
    mark, file = tmp_path / "mark", tmp_path / "bomb.pth"
    file.write_bytes(pickle.dumps(Bomb(mark)))
    refused(file, "read safely")
    torch.save({"format": 1, "weights": Bomb(mark)}, file)
    refused(file, "read safely")
    assert not mark.exists()


def refused(file: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        verdict.load_model(file, "cpu")
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_checkpoint_of_ours_is_refused(tmp_path):
    text = tmp_path / "text.pth"
    text.write_text("weights, I promise\n")
    refused(text, "read safely")
    torch.save({"state_dict": {"conv1.weight": torch.zeros(3)}}, tmp_path / "theirs.pth")
    refused(tmp_path / "theirs.pth", "not a checkpoint of this project")
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "theirs.safetensors")
    refused(tmp_path / "theirs.safetensors", "do not say what they are")
    (tmp_path / "text.safetensors").write_text("weights, I promise\n")
    refused(tmp_path / "text.safetensors", "cannot|can be read")
    write_checkpoint(tmp_path / "later.pth", format=checkpoint.FORMAT + 1)
    refused(tmp_path / "later.pth", "later")
    refused(tmp_path / "gone.pth", "no such checkpoint")


def test_a_checkpoint_of_the_first_version_still_judges(tmp_path, portrait):
    """Before temperatures, films' limits and features there were fewer keys."""
    file = write_checkpoint(tmp_path / "old.pth")
    state = torch.load(file, weights_only=True)
    for key in ("temperature", "unit"):
        del state["thresholds"][key]
    torch.save(state, file)
    Image.fromarray(portrait).save(tmp_path / "a.png")
    found = verdict.of_file(tmp_path / "a.png", verdict.load_model(file, "cpu"), Predict())
    assert found.score is not None and found.limits.unit == "face"
    assert "familiarity_unknown" in {c.kind for c in found.cautions}


def test_damaged_features_cost_their_warning_alone(tmp_path, portrait):
    broken = {"mean": "AAAA", "basis": "!", "variances": "AAAA", "rest": 1.0, "limit": 0.0}
    file = write_checkpoint(tmp_path / "c.pth", features=broken | {"n": 20, "data": "made"})
    Image.fromarray(portrait).save(tmp_path / "a.png")
    found = verdict.of_file(tmp_path / "a.png", verdict.load_model(file, "cpu"), Predict())
    assert found.score is not None
    assert "familiarity_unknown" in {c.kind for c in found.cautions}


def test_the_command_names_a_bad_checkpoint_in_one_line(tmp_path, capsys):
    (tmp_path / "bad.pth").write_text("no")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError):
        predict.main([str(tmp_path / "a.png"), "--checkpoint", str(tmp_path / "bad.pth")])
