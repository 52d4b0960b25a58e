"""faces/video.py: the frames that are asked for, exactly, and no damaged one among them."""

import dataclasses
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faces import clips, packets, seeking, video
from faces.detector import Detection
from faces.media import describe
from faces.video import UnreadableVideo, by_width, open_clip, wanted_places
from flags import Face, Frames


def write_film(
    path: Path,
    count: int = 60,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: list[int] | None = None,
    **options: str,
) -> Path:
    """A film whose n-th frame is a ramp shifted by n: no two frames are alike.

    times: when each frame is shown, in hundredths of a second; 25 a second unless given.
    """
    width, height = size
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if times:
            stream.codec_context.time_base = Fraction(1, 100)
        ramp = np.linspace(0, 255, width, dtype=np.uint8)
        for number in range(count):
            image = np.repeat(np.roll(ramp, 3 * number)[None], height, 0)
            frame = av.VideoFrame.from_ndarray(np.stack([image] * 3, -1), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 100)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return path


def all_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


FILMS = {
    "h264 with B frames": {"codec": "libx264", "g": "12", "bf": "3"},
    "h264, one group": {"codec": "libx264", "g": "250"},
    "open groups": {"codec": "libx264", "x264-params": "keyint=10:open-gop=1:bframes=3"},
    "all key frames": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "10 bit": {"codec": "libx264", "pix_fmt": "yuv420p10le"},
    "odd size": {"codec": "libx264", "size": (97, 65), "pix_fmt": "yuv444p"},
    "mpeg4": {"codec": "mpeg4", "g": "10"},
    "vp9": {"codec": "libvpx-vp9", "suffix": ".webm", "deadline": "realtime"},
    "av1": {"codec": "libsvtav1", "preset": "10", "g": "30"},
    "av1 in Matroska": {"codec": "libsvtav1", "suffix": ".mkv", "preset": "10", "g": "30"},
    "B frames in AVI": {"codec": "libx264", "suffix": ".avi", "g": "12", "bf": "3"},
    "xvid with B frames": {"codec": "mpeg4", "suffix": ".avi", "g": "12", "bf": "2"},
    "a bare stream": {"codec": "libx264", "suffix": ".h264", "g": "12", "bf": "3"},
    "a bare HEVC stream": {"codec": "libx265", "suffix": ".hevc", "g": "12"},
}


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("wanted", [Frames(count=7), Frames(every=9), Frames(rate=4)], ids=str)
def test_frames_are_those_of_decoding_everything(tmp_path, name, wanted):
    options = dict(FILMS[name])
    path = write_film(tmp_path / f"film{options.pop('suffix', '.mp4')}", **options)
    whole = all_frames(path)
    clip = open_clip(path, wanted)
    frames = list(clip)
    assert clip.total == len(whole) == 60 and clip.missing == 0
    assert len(frames) == clip.wanted
    for frame in frames:
        assert np.array_equal(frame.image, whole[frame.index])
        assert frame.timestamp == pytest.approx(frame.index / 25, abs=0.002)


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("wanted", [Frames(count=3), Frames(every=9), Frames(count=45)], ids=str)
def test_jumping_about_gives_the_very_same_frames(tmp_path, monkeypatch, name, wanted):
    options = dict(FILMS[name])
    path = write_film(tmp_path / f"film{options.pop('suffix', '.mp4')}", **options)
    read = list(open_clip(path, wanted))
    jumps = []
    real = seeking.jumped
    monkeypatch.setattr(seeking, "jumped", lambda *given: jumps.append(1) or real(*given))
    for module in (packets, seeking):
        monkeypatch.setattr(module, "read_through", None)
    monkeypatch.setattr(seeking, "WORTH_SEEKING", -1)
    if path.suffix != ".mp4":
        monkeypatch.undo()  # it has no table: read through, as before
    clip = open_clip(path, wanted)
    frames = list(clip)
    assert bool(jumps) == (path.suffix == ".mp4") and clip.missing == 0
    assert [(f.index, f.timestamp) for f in frames] == [(f.index, f.timestamp) for f in read]
    for frame, other in zip(frames, read, strict=True):
        assert np.array_equal(frame.image, other.image)


HDR = {"smpte2084": 16, "arib-std-b67": 18}


@pytest.mark.parametrize("name", HDR)
def test_hdr_comes_as_sdr(tmp_path, name):
    """A grey wall of about a tenth and of all of the diffuse white, as both curves write it."""
    white = {"smpte2084": (0.38, 0.58), "arib-std-b67": (0.28, 0.75)}[name]  # BT.2408, table 1
    path = tmp_path / "hdr.mp4"
    with av.open(str(path), "w") as film:
        params = f"colorprim=bt2020:transfer={name}:colormatrix=bt2020nc:range=tv"
        options = {"x264-params": params, "qp": "1"}
        stream = film.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        stream.codec_context.color_trc = HDR[name]
        for code in white:
            frame = av.VideoFrame(64, 48, "yuv420p10le")
            for number, plane in enumerate(frame.planes):
                level = 64 + round(876 * code) if number == 0 else 512
                plane.update(np.full(plane.buffer_size // 2, level, np.uint16).tobytes())
            frame.color_trc = HDR[name]
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    tenth, whole = (frame.image[20, 20].astype(int) for frame in open_clip(path, Frames()))
    plain = [image[20, 20].astype(int) for image in all_frames(path)]
    assert whole.min() >= 220 and whole.max() - whole.min() <= 3
    assert whole.min() - plain[1].max() > 30, "as washed out as without the conversion"
    linear = (np.array([tenth.mean(), whole.mean()]) / 255) ** 2.4  # as BT.1886 shows them
    assert 0.05 < linear[0] / linear[1] < 0.2


def test_a_table_that_is_wrong_is_not_believed(tmp_path, monkeypatch):
    path = write_film(tmp_path / "film.mp4", g="12")
    read = list(open_clip(path, Frames(count=7)))
    true = seeking.Table.of

    def shifted(*given):
        return dataclasses.replace(true(*given), first=7)

    monkeypatch.setattr(seeking.Table, "of", shifted)
    monkeypatch.setattr(seeking, "WORTH_SEEKING", -1)
    clip = open_clip(path, Frames(count=7))
    frames = list(clip)
    assert clip.missing == 0 and [f.index for f in frames] == [f.index for f in read]
    assert all(np.array_equal(f.image, r.image) for f, r in zip(frames, read, strict=True))


def test_a_film_whose_rate_varies_has_no_table(tmp_path):
    times = [2 * n for n in range(50)] + [100 + 90 * n for n in range(10)]
    for name, varied in (("varies.mp4", times), ("even.mp4", None)):
        path = write_film(tmp_path / name, times=varied)
        with av.open(str(path)) as film:
            table = seeking.Table.of(film, film.streams.video[0], path.stat().st_size)
        assert (table is None) == (varied is not None)


def test_frames_are_spread_over_the_whole_time(tmp_path):
    indices = [f.index for f in open_clip(write_film(tmp_path / "a.mp4"), Frames(count=6))]
    assert indices == [5, 15, 25, 35, 45, 55] or np.abs(np.diff(indices) - 10).max() <= 1
    assert indices[0] >= 4 and indices[-1] >= 54


def test_a_clip_shorter_than_wanted_gives_every_frame_once(tmp_path):
    path = write_film(tmp_path / "short.mp4", count=5)
    assert [frame.index for frame in open_clip(path, Frames(count=32))] == list(range(5))


def test_time_counts_and_not_frames_where_the_rate_varies(tmp_path):
    # A second of 50 frames, then nine seconds of 10 frames.
    times = [2 * n for n in range(50)] + [100 + 90 * n for n in range(10)]
    path = write_film(tmp_path / "vfr.mkv", times=times)
    frames = list(open_clip(path, Frames(count=10)))
    assert sum(frame.timestamp < 1 for frame in frames) <= 2
    assert frames[-1].timestamp > 8


@given(
    gaps=st.lists(st.floats(0.001, 2), min_size=1, max_size=80),
    count=st.integers(1, 40),
    every=st.integers(1, 20),
    rate=st.floats(0.5, 30),
)
def test_places_are_rising_inside_and_as_many_as_asked(gaps, count, every, rate):
    seconds = [0.0, *np.cumsum(gaps).tolist()]
    for settings in (Frames(count=count), Frames(every=every), Frames(rate=rate)):
        places = wanted_places(seconds, settings)
        assert places == sorted(set(places))
        assert not places or (places[0] >= 0 and places[-1] < len(seconds))
    assert len(wanted_places(seconds, Frames(count=count))) <= count
    assert wanted_places(seconds, Frames(every=every)) == list(range(0, len(seconds), every))
    if count >= len(seconds):
        assert wanted_places(seconds, Frames(count=count)) == list(range(len(seconds)))


@pytest.mark.parametrize("film", ["film.mkv", "film.avi", "film.ts"])
@pytest.mark.parametrize("group", ["10", "250"])
def test_a_large_film_is_sought_and_gives_nearly_the_same(tmp_path, monkeypatch, film, group):
    path = write_film(tmp_path / film, count=100, g=group, bf="0")
    read = [frame.index for frame in open_clip(path, Frames(count=8))]
    assert 10 * path.stat().st_size < seeking.LARGE
    monkeypatch.setattr(seeking, "LARGE", 10)
    frames = list(open_clip(path, Frames(count=8)))
    whole = all_frames(path)
    assert len(frames) == 8
    assert np.abs(np.array([f.index for f in frames]) - read).max() <= 1
    for frame in frames:
        assert np.array_equal(frame.image, whole[frame.index])


def turned(path: Path) -> Path:
    """The film as a phone held upright writes it: lying, with the order to turn it."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # the matrix of the track's header: turn by 90
    fixed = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    content[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in fixed)
    path.write_bytes(content)
    return path


def test_a_portrait_clip_of_a_phone_comes_upright(tmp_path):
    path = turned(write_film(tmp_path / "phone.mp4", count=3))
    frame = next(iter(open_clip(path, Frames())))
    assert frame.image.shape == (96, 64, 3)
    lying = all_frames(path)[0]
    assert np.array_equal(frame.image, np.rot90(lying, -1))  # clockwise, as players turn it


def test_widths_change_as_the_rule_says(tmp_path):
    assert [by_width(w) for w in (200, 300, 1000, 1280, 1920, 3840)] == [2, 1, 1, 0.5, 0.33, 0.33]
    path = write_film(tmp_path / "a.mp4", count=2)
    frame = next(iter(open_clip(path, Frames(resize="by_width"))))
    assert frame.image.shape == (128, 192, 3) and frame.grown == (2, 2)


def test_the_width_of_that_rule_is_the_upright_one(tmp_path, monkeypatch):
    path = turned(write_film(tmp_path / "phone.mp4", count=3))
    monkeypatch.setattr(video, "by_width", lambda width: {64: 0.25, 96: 1.0}[width])
    frame = next(iter(open_clip(path, Frames(resize="by_width"))))
    assert frame.image.shape == (24, 16, 3) and frame.grown == (0.25, 0.25)


def test_boxes_are_in_pixels_of_the_film_however_its_frames_were_resized(tmp_path, monkeypatch):
    def quarters(clip, *_):  # the left upper one of whatever is shown
        for frame in clip:
            width, height = frame.image.shape[1::-1]
            yield frame, [Detection(np.array([0, 0, width / 2, height / 2]), None, 1.0)]

    monkeypatch.setattr(clips, "faces_of", quarters)
    path = str(write_film(tmp_path / "a.mp4", count=2))
    for resize in ("none", "by_width"):
        settings = Frames(resize=resize)
        found = clips.search_clip(path, None, Face(select="all"), settings, tmp_path / resize)
        assert found.faces[0]["media_box"] == [0, 0, 48, 32]
        assert found.faces[0]["media_size"] == [96, 64]


def test_an_animated_picture_is_a_clip(tmp_path):
    pictures = [Image.new("RGB", (40, 30), (c, 0, 255 - c)) for c in range(0, 250, 25)]
    path = tmp_path / "moving.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80)
    frames = list(open_clip(path, Frames(count=4)))
    assert len(frames) == 4 and frames[0].image.shape == (30, 40, 3)
    assert frames[-1].image[0, 0, 0] > frames[0].image[0, 0, 0]


def test_a_folder_whose_pictures_were_replaced_is_another_clip(tmp_path):
    folder = tmp_path / "001"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(folder / f"{number}.png")
    key = clips.clip_key(folder, Face(), Frames())
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "3.png").symlink_to("gone.png")
    assert clips.clip_key(folder, Face(), Frames()) == key
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes() + b"\0")
    assert clips.clip_key(folder, Face(), Frames()) != key


def test_a_folder_of_pictures_is_a_clip_whatever_their_names_end_in(tmp_path):
    folder = tmp_path / "001"
    folder.mkdir()
    for number in range(10):
        with (folder / f"{number:03d}").open("wb") as file:
            Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(file, "PNG")
    (folder / "004").write_bytes(b"no picture")
    clip = open_clip(folder, Frames(every=2))
    frames = list(clip)
    assert [frame.index for frame in frames] == [0, 2, 6, 8] and clip.missing == 1
    assert frames[1].image[0, 0, 0] == 40 and frames[1].timestamp == pytest.approx(2 / 25)


# ----------------------------------------------------------------------------- damage


def test_a_film_that_was_cut_off_gives_its_sound_frames(tmp_path):
    path = write_film(tmp_path / "film.mkv", count=60, g="5")
    whole = all_frames(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    clip = open_clip(path, Frames(count=8))
    frames = list(clip)
    assert frames and frames[-1].index < 59
    # Matroska says no number of frames, but when it ends.
    assert clip.cut == pytest.approx(60 - clip.total, abs=2) and clip.cut > 15
    for frame in frames:
        assert np.abs(frame.image.astype(int) - whole[frame.index]).mean() < 25


def test_a_film_says_how_many_frames_were_cut_off(tmp_path):
    path = tmp_path / "film.mp4"
    whole = write_film(tmp_path / "whole.mp4", count=60, codec="mjpeg", pix_fmt="yuvj420p")
    with (
        av.open(str(whole)) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as film,
    ):
        stream = film.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                film.mux(packet)
    assert open_clip(path, Frames()).cut == 0
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    clip = open_clip(path, Frames(count=8))
    assert 20 <= clip.cut <= 40 and len(list(clip)) >= 7


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_film_whose_decoder_cannot_be_opened_is_unreadable(tmp_path, name):
    path = write_film(tmp_path / name, codec="libx265" if name.endswith("4") else "ffv1")
    with av.open(str(path)) as film:
        private = bytes(film.streams.video[0].codec_context.extradata)
    content = path.read_bytes()
    assert content.count(private) == 1
    path.write_bytes(content.replace(private, private[:1] + b"\xff" * (len(private) - 1)))
    with pytest.raises(UnreadableVideo):
        list(open_clip(path, Frames(count=4)))


def test_a_film_whose_sound_is_longer_is_not_cut(tmp_path):
    path = tmp_path / "film.mkv"
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 9 * 8000), np.float32), "fltp", "mono")
    silence.sample_rate = 8000
    with (
        av.open(str(write_film(tmp_path / "mute.mkv"))) as mute,
        av.open(str(path), "w") as film,
    ):
        stream = film.add_stream_from_template(mute.streams.video[0])
        sound = film.add_stream("pcm_s16le", rate=8000, layout="mono")
        for packet in mute.demux(video=0):
            if packet.pts is not None:
                packet.stream = stream
                film.mux(packet)
        film.mux([*sound.encode(silence), *sound.encode()])
    with av.open(str(path)) as film:
        assert film.duration > 8_500_000
    clip = open_clip(path, Frames(count=8))
    assert clip.cut == 0 and clip.total == 60 and len(list(clip)) == 8


def test_a_film_that_begins_late_is_as_long_as_it_lasts(tmp_path):
    late = write_film(tmp_path / "late.mkv", times=[10_000 + 4 * n for n in range(60)])
    with av.open(str(late)) as film:
        assert film.duration > 100_000_000  # when it ends
    assert describe(late).seconds == pytest.approx(2.4, abs=0.1)
    clip = open_clip(late, Frames(count=8))
    assert clip.cut == 0 and clip.duration < 2.5 and len(list(clip)) == 8


def test_damaged_frames_are_counted_and_the_others_come(tmp_path):
    path = write_film(tmp_path / "film.mp4", count=60, codec="mjpeg", pix_fmt="yuvj420p")
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content) - 2) if content[i : i + 3] == b"\xff\xd8\xff"]
    for start, end in pairwise(starts[10:21]):
        content[start:end] = bytes(end - start)
    path.write_bytes(content)
    clip = open_clip(path, Frames(every=1))
    frames = list(clip)
    assert 40 <= len(frames) < 60 and clip.missing == 60 - len(frames)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no film"),
        (b"just some text, no film at all\n" * 50, "no film"),
        (bytes(5000), "no film|no frame"),
    ],
    ids=["empty", "text", "zeros"],
)
def test_what_is_no_film_says_so(tmp_path, content, message):
    path = tmp_path / "fake.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=message):
        list(open_clip(path, Frames()))


def test_sound_alone_and_missing_files_and_empty_folders(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as film:
        stream = film.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        film.mux(stream.encode(frame))
        film.mux(stream.encode())
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("sound.mp4", "no video stream"),
        ("nowhere.mp4", "No such file"),
        ("empty", "holds no pictures"),
    ):
        with pytest.raises(UnreadableVideo, match=message):
            list(open_clip(tmp_path / name, Frames()))


def test_two_rules_at_once_are_refused():
    with pytest.raises(ValueError, match="set one of them to 0"):
        Frames(every=2, rate=1.0)
