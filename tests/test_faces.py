"""Pictures as they come, faces in them, crops of those, and the cache that finds them once."""

import hashlib
import io
import json
import random
import shutil
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import faces.cache
import faces.mtcnn
from faces.cache import find_faces, recipe_key
from faces.crop import (
    BoxBeside,
    NoLandmarks,
    network_crop,
    rectangle,
    square_inside,
    store,
    upright,
)
from faces.detector import Detection, Detector, make_detector
from faces.image import (
    MAX_PIXELS,
    UnreadableImage,
    decode_image,
    encode_image,
    read_image,
    write_image,
)
from flags import Face

NOISE = np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8)
FACE = np.array([181, 62, 268, 172], float)
"""Where the astronaut's face is: left, top, right, bottom."""


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def mtcnn():
    return make_detector(Face(select="all"))


def encoded(picture: np.ndarray | Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = "a picture"
    return tags


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few bytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    left, top = np.maximum(first[:2], second[:2])
    right, bottom = np.minimum(first[2:], second[2:])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return shared / (sum(areas) - shared)


# -------------------------------------------------------------------------------- decoder


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_lossless_pictures_keep_every_pixel(form):
    image = decode_image(encoded(NOISE, form))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, NOISE)


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "HEIF"])
def test_lossless_webp_and_good_avif_and_heic(form):
    image = decode_image(encoded(np.full((66, 70, 3), (200, 30, 90), np.uint8), form, quality=100))
    assert image.shape == (66, 70, 3)
    assert np.abs(image.astype(int) - (200, 30, 90)).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_undone(form, orientation):
    # EXIF 2.3, 4.6.4: which side of the scene the stored row 0 and column 0 are.
    turned = NOISE.transpose(1, 0, 2)
    stored = {
        1: NOISE,
        2: NOISE[:, ::-1],  # top, right
        3: NOISE[::-1, ::-1],  # bottom, right
        4: NOISE[::-1],  # bottom, left
        5: turned,  # left, top
        6: turned[::-1],  # right, top
        7: turned[::-1, ::-1],  # right, bottom
        8: turned[:, ::-1],  # left, bottom
    }[orientation]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(np.ascontiguousarray(stored), form, exif=exif(orientation), **options)
    np.testing.assert_array_equal(decode_image(content), NOISE)


def test_exif_orientation_of_a_jpeg():
    tall = np.zeros((64, 32, 3), np.uint8)
    tall[:32] = 255
    stored = np.ascontiguousarray(tall.transpose(1, 0, 2)[::-1])
    image = decode_image(encoded(stored, "JPEG", exif=exif(6)))
    assert image.shape == (64, 32, 3)
    assert image[:24].min() > 240 and image[40:].max() < 15


def test_a_good_picture_with_damaged_exif_is_read():
    content = bytearray(encoded(NOISE, "PNG", exif=exif(1)))
    at = content.index(b"eXIf") + 4
    content[at + 8 : at + 30] = b"\xff" * 22
    length = struct.unpack(">I", content[at - 8 : at - 4])[0]
    crc = zlib.crc32(content[at - 4 : at + length])
    content[at + length : at + length + 4] = struct.pack(">I", crc)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode_image(bytes(content)), NOISE)


def test_grey_becomes_rgb():
    grey = NOISE[..., 0]
    np.testing.assert_array_equal(decode_image(encoded(grey, "PNG")), np.stack([grey] * 3, -1))


def test_one_bit():
    bits = Image.fromarray(NOISE[..., 0] > 127)
    np.testing.assert_array_equal(
        decode_image(encoded(bits, "PNG"))[..., 1], (NOISE[..., 0] > 127) * 255
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 100), (128, 177)])
def test_transparency_is_laid_on_white(mode, alpha, expected):
    colour = (100, 100, 100, alpha) if mode == "RGBA" else (100, alpha)
    image = decode_image(encoded(Image.new(mode, (5, 4), colour), "PNG"))
    assert image.shape == (4, 5, 3)
    assert np.abs(image.astype(int) - expected).max() <= 1


def test_palette_with_a_transparent_colour():
    picture = Image.new("P", (4, 2), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    image = decode_image(encoded(picture, "PNG", transparency=0))
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == [0, 0, 255]
    opaque = decode_image(encoded(picture, "PNG"))
    assert opaque[0, 0].tolist() == [255, 0, 0]


def test_a_transparent_colour_of_an_rgb_picture():
    picture = Image.new("RGB", (4, 2), (10, 20, 30))
    picture.putpixel((1, 0), (40, 50, 60))
    image = decode_image(encoded(picture, "PNG", transparency=(10, 20, 30)))
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == [40, 50, 60]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey(form):
    values = np.array([[0, 256, 32896, 65535]], np.uint16)
    image = decode_image(encoded(values, form))
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour(channels):
    values = np.array([[[0, 30000, 65535, 65535][:channels]] * 3], np.uint16)
    content = cv2.imencode(".png", values)[1].tobytes()  # OpenCV stores blue, green, red
    image = decode_image(content)
    assert np.abs(image[0, 0].astype(int) - [255, 117, 0]).max() <= 1


def test_numbers_that_are_none_become_black():
    values = np.full((1, 42), 0.5, np.float32)
    values[0, 0], values[0, 2] = np.nan, 7.0  # a highlight, far above white
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(encoded(values, "TIFF"))[0, :3, 0].tolist() == [0, 128, 255]


def test_cmyk_jpeg():
    content = encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", quality=100)
    colour = decode_image(content).reshape(-1, 3).mean(0)
    assert colour[0] > 240 and colour[1:].max() < 15


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF"])
def test_the_first_frame_of_several_is_taken(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert (decode_image(content) == (255, 0, 0)).all()


def test_the_content_decides_and_not_the_name(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(NOISE, "PNG"))
    np.testing.assert_array_equal(read_image(path), NOISE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just a letter, dear reader", "not a picture"),
        (encoded(NOISE, "JPEG")[:300], "damaged"),
        (encoded(NOISE, "PNG")[:300], "damaged"),
        (encoded(NOISE, "PNG")[:20], "."),
        (encoded(Image.new("RGB", (4, 4)), "PCX"), "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (png_header(50_000, 50_000), "pixels"),
        (png_header(12_000, 12_000), f"{MAX_PIXELS:,}"),
        (png_header(0, 7), "."),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(content, reason):
    with pytest.raises(UnreadableImage, match=reason):
        decode_image(content)


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_grey_is_read_by_the_range_that_it_fills(white):
    values = np.array([[0, 0.5, 1]], np.float32) * white
    image = decode_image(encoded(values, "TIFF"))
    assert image[0, :, 0].tolist() in ([0, 127, 255], [0, 128, 255])


def test_grey_without_a_known_range_is_refused():
    with pytest.raises(UnreadableImage, match="what white is"):
        decode_image(encoded(np.full((2, 2), 1e6, np.float32), "TIFF"))


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UnreadableImage, match=r"\w"):
            read_image(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF"])
def test_damage_never_raises_anything_else_and_never_warns(form):
    dice = random.Random(form)
    options = {} if form in ("BMP", "GIF") else {"exif": exif(6)}
    whole = encoded(NOISE, form, **options)
    refused = 0
    for _ in range(250):
        content = bytearray(whole)
        kind = dice.random()
        if kind < 0.2:
            del content[dice.randrange(len(content)) :]
        elif kind < 0.4:
            at = dice.randrange(len(content))
            del content[at : at + dice.randrange(1, 50)]
        else:
            reach = dice.choice((len(content), min(len(content), 200)))
            for _ in range(dice.choice((1, 2, 4, 16))):
                content[dice.randrange(reach)] = dice.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                image = decode_image(bytes(content))
            except UnreadableImage as error:
                refused += 1
                assert str(error)
            else:
                assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert refused > 10


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_refused_or_read(content):
    try:
        assert decode_image(content).shape[2] == 3
    except UnreadableImage as error:
        assert str(error)


# -------------------------------------------------------------------------------- encoder


def test_png_round_trip(tmp_path):
    write_image(tmp_path / "deep" / "face.png", NOISE)
    np.testing.assert_array_equal(read_image(tmp_path / "deep" / "face.png"), NOISE)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["face.png"]


def test_jpeg_is_good_and_keeps_its_colour_resolution(astronaut):
    content = encode_image(astronaut, ".jpg")
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "JPEG"
        assert {layer[1:3] for layer in picture.layer} == {(1, 1)}
    error = np.abs(decode_image(content).astype(int) - astronaut)
    assert error.mean() < 2


def test_other_suffixes_are_refused():
    with pytest.raises(ValueError, match="webp"):
        encode_image(NOISE, ".webp")


# ------------------------------------------------------------------------------- detector


def test_mtcnn_finds_the_face_and_its_points(mtcnn, astronaut):
    (face,) = mtcnn(astronaut)
    assert overlap(face.box, FACE) > 0.8
    assert face.confidence > 0.99
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert (face.landmarks > FACE[:2]).all() and (face.landmarks < FACE[2:]).all()


def test_haar_finds_the_face(astronaut):
    (face,) = make_detector(Face(detector="haar", select="all"))(astronaut)
    assert overlap(face.box, FACE) > 0.5
    assert face.landmarks is None and face.confidence is None


def test_all_faces_come_largest_first_and_largest_is_one(mtcnn, astronaut):
    half = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    canvas = np.full((512, 800, 3), 127, np.uint8)
    canvas[:256, :256], canvas[:, 288:] = half, astronaut
    both = mtcnn(canvas)
    assert len(both) == 2
    assert overlap(both[0].box, FACE + np.array([288, 0, 288, 0])) > 0.8
    assert overlap(both[1].box, FACE / 2) > 0.7
    (one,) = make_detector(Face(select="largest"))(canvas)
    np.testing.assert_allclose(one.box, both[0].box)


@pytest.mark.parametrize("detector", ["mtcnn", "haar"])
def test_no_face_where_there_is_none(detector):
    assert make_detector(Face(detector=detector))(skimage.data.coffee()) == []


@pytest.mark.parametrize("detector", ["mtcnn", "haar"])
def test_tiny_and_thin_pictures_have_no_face(detector):
    detect = make_detector(Face(detector=detector))
    for shape in ((1, 1), (19, 19), (20, 20), (21, 20), (20, 3000), (5000, 30)):
        assert detect(np.full((*shape, 3), 90, np.uint8)) == []


@pytest.mark.parametrize("detector", ["mtcnn", "haar"])
def test_boxes_are_in_the_pictures_pixels_where_the_search_shrank_it(detector, astronaut):
    large = cv2.resize(astronaut, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    (face,) = make_detector(Face(detector=detector, detect_size=384))(large)
    assert overlap(face.box, FACE * 3) > 0.5
    if face.landmarks is not None:
        assert (face.landmarks > FACE[:2] * 3).all() and (face.landmarks < FACE[2:] * 3).all()


def test_making_a_detector_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    make_detector(Face())
    assert torch.equal(torch.get_rng_state(), before)


def test_confidence_and_smallest_face_are_heeded(astronaut):
    assert make_detector(Face(confidence=1.0))(astronaut) == []
    assert make_detector(Face(detector="haar", min_size=200))(astronaut) == []


# ---------------------------------------------------------------------------------- crops

sides = st.integers(1, 600)
boxes = st.tuples(
    st.floats(-300, 900), st.floats(-300, 900), st.floats(0.01, 900), st.floats(0.01, 900)
).map(lambda b: np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]]))


@given(sides, sides, boxes, st.floats(1, 4), st.floats(0, 200))
def test_the_square_is_inside_and_square(width, height, box, grow, extra):
    left, top, right, bottom = square_inside(box, grow, extra, (height, width, 3))
    assert all(isinstance(v, int) for v in (left, top, right, bottom))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert right - left == bottom - top
    longest = max(box[2] - box[0], box[3] - box[1])
    wanted = min(max(grow * longest + extra, 1), width, height)
    assert abs(right - left - wanted) <= 0.5


@given(
    st.floats(0, 0.7),
    st.floats(0, 0.7),
    st.floats(0.05, 0.3),
    st.floats(0.05, 0.3),
    st.floats(1, 4),
)
def test_a_face_inside_the_picture_is_inside_its_square(x, y, w, h, grow):
    box = np.array([x, y, x + w, y + h]) * 400
    left, top, right, bottom = square_inside(box, grow, 0, (400, 400, 3))
    assert left <= box[0] + 1 and top <= box[1] + 1
    assert right >= box[2] - 1 and bottom >= box[3] - 1


@given(sides, sides, boxes, st.floats(1, 4), st.integers(64, 256))
@settings(deadline=None, max_examples=60)
def test_a_stored_face_holds_its_box(width, height, box, grow, max_size):
    points = np.stack([box[[0, 2, 0, 2, 0]], box[[1, 1, 3, 3, 1]]], 1)
    image = np.zeros((height, width, 3), np.uint8)
    face = store(image, Detection(box, points, 0.9), grow, max_size)
    side = face.image.shape[0]
    assert face.image.shape == (side, side, 3) and 1 <= side <= max_size
    assert (face.box >= 0).all() and (face.box <= side).all()
    assert face.box[0] <= face.box[2] and face.box[1] <= face.box[3]
    assert face.landmarks.shape == (5, 2)


def test_box_and_points_move_with_the_stored_crop():
    image = np.zeros((400, 400, 3), np.uint8)
    image[180:220, 160:200] = 255
    points = np.array([[165, 185], [195, 185], [180, 200], [165, 215], [195, 215]], float)
    face = store(image, Detection(np.array([160.0, 180, 200, 220]), points, 0.9), 2, 512)
    assert face.image.shape == (80, 80, 3)
    left, top, right, bottom = face.box.astype(int)
    assert (face.image[top:bottom, left:right] == 255).all()
    assert (face.image > 0).sum() == 40 * 40 * 3
    np.testing.assert_allclose(face.landmarks - face.box[:2], points - [160, 180])


def test_a_large_stored_crop_is_shrunk_with_its_box():
    image = np.zeros((1000, 1000, 3), np.uint8)
    face = store(image, Detection(np.array([300.0, 300, 700, 700]), None, None), 2, 200)
    assert face.image.shape == (200, 200, 3)
    np.testing.assert_allclose(face.box, [50, 50, 150, 150])
    assert face.landmarks is None and face.confidence is None


@given(sides, sides, st.none() | boxes, st.integers(16, 80), st.integers(16, 80), st.booleans())
@example(1, 1, np.array([0, 0, 1, 0.01]), 16, 16, False)
@example(9, 9, np.array([0, 0, 1, 0.02]), 16, 16, False)
@settings(deadline=None, max_examples=60)
def test_the_networks_crop_has_the_asked_shape(width, height, box, rows, columns, percent):
    image = np.full((height, width, 3), 77, np.uint8)
    margin = "30%" if percent else "20px"
    least = 0.01  # px of the face in the picture; manifests round to that
    edges = np.array([width, height]) - least
    if box is not None and ((box[2:] <= least).any() or (box[:2] >= edges).any()):
        with pytest.raises(BoxBeside, match=f"picture of {width}x{height} px"):
            network_crop(image, box, margin, rows, columns)
        return
    crop = network_crop(image, box, margin, rows, columns)
    assert crop.shape == (rows, columns, 3) and crop.dtype == np.uint8
    assert (crop == 77).all()  # nothing was padded


@pytest.mark.parametrize(
    ("margin", "first", "side"),
    [("50%", 30, 40), ("10px", 30, 40), ("0%", 40, 20), ("2.5px", 38, 25)],
)
def test_margin_in_per_cent_of_the_box_and_in_pixels(margin, first, side):
    places = np.zeros((100, 100, 3), np.uint8)
    places[..., 0], places[..., 1] = np.arange(100), np.arange(100)[:, None]
    crop = network_crop(places, np.array([40.0, 40, 60, 60]), margin, side, side)
    assert crop[0, 0].tolist() == [first, first, 0]
    assert crop[-1, -1].tolist() == [first + side - 1, first + side - 1, 0]


def test_a_margin_of_its_own_on_each_side():
    places = np.zeros((100, 100, 3), np.uint8)
    places[..., 0], places[..., 1] = np.arange(100), np.arange(100)[:, None]
    box = np.array([42.0, 40, 58, 60])  # 20 px long: the square is 40..60
    crop = network_crop(places, box, np.array([0.5, 0, 0.25, 1]), 40, 35)
    assert crop[0, 0].tolist() == [30, 40, 0]
    assert crop[-1, -1].tolist() == [64, 79, 0]
    with pytest.raises(ValueError, match="one margin"):
        network_crop(places, box, np.zeros(4), 9, 9, np.zeros((5, 2)), True)


@given(sides, sides, boxes, st.lists(st.floats(0, 1), min_size=4, max_size=4))
@settings(deadline=None, max_examples=60)
def test_a_crop_with_four_margins_stays_inside(width, height, box, margins):
    left, top, right, bottom = rectangle(box, np.array(margins), (height, width))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    free = rectangle(box, np.array(margins), None)
    assert right - left == min(free[2] - free[0], width)  # as large as asked for, or the picture
    assert bottom - top == min(free[3] - free[1], height)
    if free[0] >= 0 and free[1] >= 0 and free[2] <= width and free[3] <= height:
        assert (left, top, right, bottom) == free


def test_a_detector_keeps_no_box_beside_its_picture():
    """Neither of a search, whose picture may be shrunk, nor of a look around where a face was."""
    boxes = [[10, 10, 40, 40], [-30, 10, -1, 40], [10, 99.999, 40, 130], [-5, -5, 10, 10]]
    found = [Detection(np.array(box, float), None, 0.99) for box in boxes]

    class Cascade:
        def near(self, image, boxes):
            points = np.zeros((len(boxes), 5, 2))
            return faces.mtcnn.Faces(np.asarray(boxes), points, np.full(len(boxes), 0.99))

    recipe = Face(detect_size=64)
    detector = Detector(recipe, lambda images: [found for _ in images], Cascade(), "cpu")
    wide = np.zeros((60, 80, 3), np.uint8)  # searched at 64 px, so that boxes grow by 1.25
    assert [face.box[0] for face in detector.search([wide])[0]] == [12.5, -6.25]
    image = np.zeros((100, 100, 3), np.uint8)
    near = detector.near(image, [np.array(box, float) for box in boxes])
    assert [face is not None for face in near] == [True, False, False, True]


def test_a_face_that_stands_in_a_trimmed_edge_alone_is_not_kept():
    boxes = [[0, 0, 9, 9], [0, 0, 11, 11], [50, 91, 60, 100], [40, 40, 60, 60]]
    found = [Detection(np.array(box, float), None, 0.99) for box in boxes]
    image = np.zeros((100, 100, 3), np.uint8)
    for trim, kept in ((0.1, [False, True, False, True]), (0.0, [True] * 4)):
        detector = Detector(Face(trim=trim), lambda images: [found for _ in images], None, "cpu")
        names = [tuple(face.box) for face in detector.search([image])[0]]
        assert [tuple(face.box) in names for face in found] == kept


def test_a_box_at_the_edge_of_its_picture_shows_more_than_one_colour():
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    crop = network_crop(image, np.array([118.0, 118, 178, 178]), np.full(4, 0.2), 48, 48)
    assert len(np.unique(crop.reshape(-1, 3), axis=0)) > 100


@given(st.floats(4, 60), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_a_face_shows_no_more_than_one_of_that_side(side, seed):
    """Beyond the box's own side nothing changes; below, the same picture as one shrunk before."""
    image = np.random.default_rng(seed).integers(0, 256, (80, 80, 3), np.uint8)
    box = np.array([20.0, 20, 60, 60])
    crop = network_crop(image, box, "0%", 48, 48, side=side)
    if side >= 40:
        np.testing.assert_array_equal(crop, network_crop(image, box, "0%", 48, 48))
    else:
        small = cv2.resize(image[20:60, 20:60], (round(side),) * 2, interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(crop, cv2.resize(small, (48, 48)))


def numbered(width: int, height: int) -> np.ndarray:
    """A picture whose every pixel says where it is."""
    rows, columns = np.indices((height, width))
    return np.dstack([columns, rows, np.full_like(rows, 7)]).astype(np.uint8)


@given(st.integers(40, 200), st.integers(40, 200), boxes, st.floats(0, 0.25), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_trimmed_edge_is_in_no_stored_face(width, height, box, trim, mirrored):
    edge = round(trim * min(width, height))
    inside = [edge, edge, width - edge, height - edge]
    box = np.add(box.clip(0, [width - 1, height - 1, width, height]), [0, 0, 1, 1])
    face, pad = (
        Detection(box, box.reshape(2, 2)[[0, 0, 1, 1, 0]], 0.9),
        ("none", "reflect")[mirrored],
    )
    stored = store(numbered(width, height), face, 2.0, 512, pad, trim)
    places = stored.image.reshape(-1, 3)[:, :2]
    assert (places >= inside[:2]).all() and (places < inside[2:]).all()
    if pad == "none":  # the face is where it was
        corner = stored.image[0, 0, :2].astype(float)
        seen = np.clip(box.reshape(2, 2) - corner, 0, stored.image.shape[1::-1])
        np.testing.assert_allclose(stored.box.reshape(2, 2), seen)
        np.testing.assert_allclose(stored.landmarks, face.landmarks - corner)


def test_without_a_box_the_whole_picture_is_taken():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 255
    crop = network_crop(image, None, "30%", 20, 20)
    assert (crop[:, :10] == 0).all() and (crop[:, 10:] == 255).all()


@pytest.mark.parametrize("pad", ["reflect", "black"])
@given(sides, sides, boxes, st.floats(1, 2))
@settings(deadline=None, max_examples=40)
def test_a_padded_stored_face_is_square_around_its_face(pad, width, height, box, grow):
    image = np.full((height, width, 3), 77, np.uint8)
    face = store(image, Detection(box, box[[0, 1] * 5].reshape(5, 2), 0.9), grow, 4000, pad)
    side = max(1, round(grow * max(box[2] - box[0], box[3] - box[1])))
    assert face.image.shape == (side, side, 3)
    middle = (face.box[:2] + face.box[2:]) / 2
    assert np.abs(middle - side / 2).max() <= 1
    inside = np.prod(
        np.clip(np.minimum(box[2:], [width, height]) - np.maximum(box[:2], 0), 0, None)
    )
    assert (face.image == 77).all() if pad == "reflect" else set(face.image.ravel()) <= {0, 77}
    if inside > 4 * side:
        assert (face.image == 77).any()


def test_what_a_crop_is_filled_up_with():
    image = np.arange(1, 101, dtype=np.uint8).reshape(10, 10, 1).repeat(3, 2)
    corner = Detection(np.array([0.0, 0, 4, 4]), None, None)
    mirrored = store(image, corner, 2, 512, "reflect").image[..., 0]
    black = store(image, corner, 2, 512, "black").image[..., 0]
    np.testing.assert_array_equal(mirrored[2:, 2:], image[:6, :6, 0])
    np.testing.assert_array_equal(mirrored[2:, :2], image[:6, [2, 1], 0])
    assert (black[:2] == 0).all() and (black[:, :2] == 0).all()
    np.testing.assert_array_equal(black[2:, 2:], image[:6, :6, 0])
    inside = store(image, corner, 2, 512).image[..., 0]
    np.testing.assert_array_equal(inside, image[:8, :8, 0])
    # The network's crop of a picture is the same as of the stored crop.
    np.testing.assert_array_equal(
        network_crop(image, corner.box, "50%", 8, 8, pad="reflect")[..., 0], mirrored
    )


turns = st.floats(-180, 180)


def turned_face(angle: float, centre: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """A box around five points that are turned by an angle, in degrees."""
    points = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0], [-0.15, 0.2], [0.15, 0.2]]) * size
    a = np.deg2rad(angle)
    points = points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + centre
    return np.concatenate([centre - size / 2, centre + size / 2]), points


@given(
    st.integers(40, 600), st.integers(40, 600), turns,
    st.tuples(st.floats(0, 1), st.floats(0, 1)), st.floats(20, 300),
    st.sampled_from(["none", "reflect", "black"]),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_an_aligned_face_has_level_eyes_and_stays_inside(width, height, angle, place, size, pad):
    box, points = turned_face(angle, np.array(place) * [width, height], size)
    matrix, side = upright((height, width), box, points, "30%", pad)
    here = points @ matrix[:, :2].T + matrix[:, 2]
    assert here[0, 1] == pytest.approx(here[1, 1], abs=0.01) and here[0, 0] < here[1, 0]
    assert here[0, 1] < here[3, 1]  # the mouth is below
    lengths = [np.linalg.norm(p[1] - p[0]) for p in (points, here)]
    assert lengths[0] == pytest.approx(lengths[1])  # turned, not stretched
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ back.T
    if pad == "none":
        assert (corners[:, :2] >= -1e-6).all()
        assert (corners[:, :2] <= np.array([width, height]) + 1e-6).all()
    else:
        middle = matrix[:, :2] @ ((box[:2] + box[2:]) / 2) + matrix[:, 2]
        np.testing.assert_allclose(middle, side / 2, atol=0.01)
        assert 1.6 * size - 1 - 1e-6 < side <= 1.6 * size + 1e-6  # whole pixels of it


@given(turns)
@settings(deadline=None, max_examples=20)
def test_a_turned_face_is_cut_like_one_that_was_upright(angle):
    """Shown turned by any angle, its crop is that of the upright picture."""
    places = np.indices((300, 300)).astype(float) + 0.5
    a = np.deg2rad(angle)
    x, y = places[1] - 150, places[0] - 150
    upright_x = np.cos(a) * x + np.sin(a) * y
    upright_y = -np.sin(a) * x + np.cos(a) * y
    pattern = 128 + 60 * np.sin(upright_x / 9) + 60 * np.cos(upright_y / 7)
    image = pattern.round().astype(np.uint8)[..., None].repeat(3, 2)
    box, points = turned_face(angle, np.array([150.0, 150]), 80)
    crop = network_crop(image, box, "0%", 80, 80, points, align=True)
    xs = np.arange(80) + 0.5 - 40
    wanted = 128 + 60 * np.sin(xs / 9)[None] + 60 * np.cos(xs / 7)[:, None]
    assert np.abs(crop[..., 0] - wanted).max() < 4


def test_a_real_and_its_fake_are_aligned_alike_and_without_points_it_is_refused(astronaut):
    box, points = turned_face(20, np.array([225.0, 120]), 100)
    real = network_crop(astronaut, box, "30%", 64, 64, points, align=True)
    fake = network_crop(255 - astronaut, box, "30%", 64, 64, points, align=True)
    assert np.abs(255 - fake.astype(int) - real).max() <= 2
    plain = network_crop(astronaut, box, "30%", 64, 64, points)
    np.testing.assert_array_equal(plain, network_crop(astronaut, box, "30%", 64, 64))
    assert np.abs(plain.astype(int) - real).mean() > 5
    for wrong in ((box, None), (None, points), (box, points * np.nan), (box, points * 0)):
        with pytest.raises(NoLandmarks, match=r"five points|eyes"):
            network_crop(astronaut, wrong[0], "30%", 64, 64, wrong[1], align=True)


@pytest.mark.parametrize("other", [{"detector": "haar"}, {"no_face": "whole"}])
def test_no_alignment_without_points(other):
    with pytest.raises(ValueError, match="needs the five points"):
        Face(align=True, **other)


# ---------------------------------------------------------------------------------- cache


@pytest.fixture
def album(tmp_path, astronaut) -> list[str]:
    """A face, a picture without one, and one that is no picture."""
    folder = tmp_path / "album"
    write_image(folder / "face.png", astronaut)
    write_image(folder / "wall.png", np.full((64, 64, 3), 128, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no picture")
    return [str(folder / name) for name in ("face.png", "wall.png", "broken.jpg")]


@pytest.fixture
def no_detector(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a face was searched again")

    return lambda: monkeypatch.setattr(faces.cache, "make_detector", refuse)


def test_what_stands_at_a_trimmed_edge_is_seen_by_nobody(tmp_path, astronaut):
    """A green frame around a face that fills most of its picture; the face keeps its place."""
    picture, green = astronaut[20:260, 100:340].copy(), [0, 255, 0]
    picture[:8], picture[-8:], picture[:, :8], picture[:, -8:] = (green,) * 4
    write_image(tmp_path / "framed.png", picture)
    path, seen = str(tmp_path / "framed.png"), {}
    for trim in (0.0, 0.05):
        recipe = Face(detector="haar", format="png", grow=4, trim=trim)
        (face,) = find_faces([path], recipe, tmp_path / "cache", progress=False)[path].faces
        crop = read_image(face["file"])
        seen[trim] = (crop == green).all(axis=2).sum(), crop.shape, face["media_box"]
    assert seen[0.0][0] > 1000 and seen[0.05][0] == 0
    assert seen[0.05][1] == (216, 216, 3) and seen[0.0][2] == seen[0.05][2]


def test_faces_are_found_stored_and_reported(tmp_path, album):
    face, wall, broken, missing = (*album, str(tmp_path / "missing.png"))
    found = find_faces([*album, missing], Face(), tmp_path / "cache", progress=False)
    assert set(found) == {face, wall, broken, missing}
    (one,) = found[face].faces
    crop = read_image(one["file"])
    left, top, right, bottom = one["box"]
    assert 0 < left < right < crop.shape[1] and 0 < top < bottom < crop.shape[0]
    assert crop.shape[0] == pytest.approx(2 * (bottom - top), abs=2)
    assert len(one["landmarks"]) == 10 and one["confidence"] > 0.99
    assert set(one) == {
        "file", "box", "landmarks", "confidence", "media_box", "media_landmarks", "media_size",
    }  # fmt: skip
    assert found[wall].faces == () and not found[wall].failure
    assert "not a picture" in found[broken].failure and found[broken].faces == ()
    assert "No such file" in found[missing].failure


@pytest.mark.parametrize("detector", ["mtcnn", "haar"])
def test_a_record_says_where_the_face_was_in_the_picture(tmp_path, album, detector):
    recipe = Face(detector=detector)
    ((one,),) = [f.faces for f in find_faces(album[:1], recipe, tmp_path / "cache").values()]
    (face,) = make_detector(recipe)(read_image(album[0]))
    np.testing.assert_allclose(one["media_box"], face.box, atol=0.01)
    assert one["media_size"] == [512, 512]
    corners = [np.array(one[name][:2]) for name in ("media_box", "box")]
    if detector == "haar":
        assert one["media_landmarks"] is None is one["landmarks"]
        return
    np.testing.assert_allclose(one["media_landmarks"], face.landmarks.ravel(), atol=0.01)
    points = [np.reshape(one[name], (5, 2)) for name in ("media_landmarks", "landmarks")]
    np.testing.assert_allclose(points[0] - corners[0], points[1] - corners[1], atol=0.03)


def test_the_size_of_a_picture_is_width_and_height(tmp_path, astronaut):
    path = str(tmp_path / "high.png")
    write_image(path, np.ascontiguousarray(astronaut[:, 100:400]))
    found = find_faces([path], Face(detector="haar"), tmp_path / "cache", progress=False)
    assert found[path].faces[0]["media_size"] == [300, 512]


def test_a_second_call_searches_nothing(tmp_path, album, no_detector):
    first = find_faces(album[:2], Face(), tmp_path / "cache", progress=False)
    no_detector()
    # Margin and no_face are applied later and ask for no other crops.
    recipe = Face(margin="10%", no_face="whole")
    assert find_faces(album[:2], recipe, tmp_path / "cache", progress=False) == first


def test_the_cache_is_keyed_by_content(tmp_path, album, astronaut, no_detector):
    recipe, cache = Face(detector="haar"), tmp_path / "cache"
    first = find_faces(album[:1], recipe, cache, progress=False)[album[0]]
    write_image(album[0], astronaut[:, ::-1])
    second = find_faces(album[:1], recipe, cache, progress=False)[album[0]]
    assert second.content != first.content
    assert second.faces[0]["media_box"] != first.faces[0]["media_box"]
    no_detector()
    copy = str(shutil.copy(album[0], tmp_path / "another name.png"))
    assert find_faces([copy], recipe, cache, progress=False)[copy].faces == second.faces


def test_the_cache_is_keyed_by_recipe(tmp_path, album):
    sizes = set()
    for grow in (2.0, 3.0):
        found = find_faces(
            album[:1], Face(detector="haar", grow=grow), tmp_path / "cache", progress=False
        )
        sizes.add(read_image(found[album[0]].faces[0]["file"]).shape)
    assert len(sizes) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"detector": "haar"},
        {"confidence": 0.9},
        {"min_size": 30},
        {"select": "all"},
        {"grow": 2.5},
        {"max_size": 256},
        {"format": "png" if Face().format == "jpg" else "jpg"},
        {"thresholds": [0.5, 0.7, 0.7]},
        {"detect_size": 512},
        {"smallest": 0.05},
        {"pad": "reflect"},
        {"trim": 0.05},
    ],
)
def test_whatever_changes_a_stored_crop_changes_the_recipe(change):
    assert recipe_key(Face(**change)) != recipe_key(Face())


def test_every_setting_of_a_face_decides_the_crop_or_is_applied_later():
    assert {*faces.cache.DECIDING, "margin", "align", "no_face"} == set(Face.model_fields)
    assert recipe_key(Face(margin="10%", no_face="whole")) == recipe_key(Face())
    assert recipe_key(Face(align=True)) == recipe_key(Face())


def test_records_of_the_first_version_are_not_taken_for_todays():
    """They do not say where the face was in the picture."""
    first = Face().model_dump(exclude={"margin", "no_face"})
    old_key = hashlib.sha256(json.dumps(first, sort_keys=True).encode()).hexdigest()[:16]
    assert recipe_key(Face()) != old_key


@pytest.mark.parametrize("lost", ["*/*.json", "*/*.png"])
def test_an_entry_that_lost_a_file_is_made_again(tmp_path, album, lost):
    recipe, cache = Face(detector="haar", format="png"), tmp_path / "cache"
    first = find_faces(album[:1], recipe, cache, progress=False)
    for file in (cache / recipe_key(recipe)).glob(lost):
        file.unlink()
    assert find_faces(album[:1], recipe, cache, progress=False) == first
    assert Path(first[album[0]].faces[0]["file"]).is_file()


def test_an_interrupted_write_is_made_again(tmp_path, album, monkeypatch):
    recipe, cache = Face(detector="haar"), tmp_path / "cache"
    with monkeypatch.context() as patch:

        def interrupted(*_):
            raise KeyboardInterrupt

        patch.setattr(faces.cache, "write_atomic", interrupted)
        with pytest.raises(KeyboardInterrupt):
            find_faces(album[:1], recipe, cache, progress=False)
    crops = list(cache.rglob(f"*.{recipe.format}"))
    assert crops and not list(cache.rglob("*.json"))
    found = find_faces(album[:1], recipe, cache, progress=False)
    assert len(found[album[0]].faces) == 1
    assert not [p for p in cache.rglob("*") if p.suffix == ".part"]


def test_many_pictures_are_searched_in_processes_with_the_same_result(
    tmp_path, album, astronaut, monkeypatch
):
    for number in range(3):
        path = tmp_path / f"turned{number}.png"
        write_image(path, np.ascontiguousarray(np.roll(astronaut, 40 * number, axis=1)))
        album.append(str(path))
    here = find_faces(album, Face(), tmp_path / "here", progress=False)
    monkeypatch.setattr(faces.cache, "FEW", 0)
    there = find_faces(album, Face(), tmp_path / "there", progress=False)
    assert set(here) == set(there)
    for path in album:
        mine, theirs = here[path], there[path]
        assert (mine.content, mine.failure) == (theirs.content, theirs.failure)
        for one, other in zip(mine.faces, theirs.faces, strict=True):
            np.testing.assert_allclose(one["media_box"], other["media_box"], atol=0.05)
            np.testing.assert_array_equal(read_image(one["file"]), read_image(other["file"]))
