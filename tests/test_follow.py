"""faces/follow.py and faces/mtcnn.py: a search now and then, looks around known faces between."""

from collections.abc import Iterable

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st

from faces import mtcnn_networks
from faces.detector import Detection, Detector, make_detector
from faces.follow import TOGETHER, Follower, faces_of
from faces.mtcnn import BLOCK, alone, apart, load, sizes
from faces.video import Frame
from flags import Face

EVERY = 6


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector(Face(select="all"))


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """The astronaut's head and shoulders, [120, 120, 3]."""
    return cv2.resize(skimage.data.astronaut()[:256, 96:352], (120, 120), None, 0, 0, 3)


def scene(portrait: np.ndarray, *corners: tuple[int, int], grey: int = 128) -> np.ndarray:
    """A wall of 300 x 200 with the portrait at each left top corner, every second mirrored."""
    image = np.full((200, 300, 3), grey, np.uint8)
    for number, (x, y) in enumerate(corners):
        image[y : y + 120, x : x + 120] = portrait[:, :: -1 if number % 2 else 1]
    return image


def clip(images: Iterable[np.ndarray], rate: float = 25) -> list[Frame]:
    return [Frame(image, number, number / rate) for number, image in enumerate(images)]


@pytest.fixture
def searches(monkeypatch) -> list[int]:
    """How many pictures each search looked through."""
    counted: list[int] = []
    real = Detector.search

    def search(self, images):
        counted.append(len(images))
        return real(self, images)

    monkeypatch.setattr(Detector, "search", search)
    return counted


def iou(one: Detection, other: Detection) -> float:
    low, high = np.maximum(one.box[:2], other.box[:2]), np.minimum(one.box[2:], other.box[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    return float(shared / (one.area + other.area - shared))


def counts(frames: list[Frame], detector: Detector, every: int = EVERY) -> list[int]:
    return [len(faces) for _, faces in faces_of(frames, detector, every)]


# ------------------------------------------------------------------------------- follower


def test_a_face_that_wanders_is_found_where_a_search_finds_it(detector, portrait, searches):
    frames = clip(scene(portrait, (20 + 6 * n, 20 + 2 * n)) for n in range(20))
    followed = [faces for _, faces in faces_of(frames, detector, EVERY)]
    assert sum(searches) == 4  # frames 0, 6, 12, 18
    searched = [detector(frame.image) for frame in frames]
    assert [len(faces) for faces in followed] == [1] * 20 == [len(f) for f in searched]
    overlaps = [iou(one[0], other[0]) for one, other in zip(followed, searched, strict=True)]
    assert np.mean(overlaps) > 0.9 and min(overlaps) > 0.75
    for (one,), (other,) in zip(followed, searched, strict=True):
        side = other.box[2] - other.box[0]
        assert np.abs(one.landmarks - other.landmarks).max() < 0.15 * side


def test_with_one_every_frame_is_searched(detector, portrait):
    frames = clip(scene(portrait, (20 + 9 * n, 30)) for n in range(5))
    for frame, faces in faces_of(frames, detector, 1):
        (face,), (other,) = faces, detector(frame.image)
        np.testing.assert_array_equal(face.box, other.box)
        assert face.confidence == other.confidence


@pytest.mark.parametrize("begins", [1, 4, 7])
def test_somebody_who_comes_later_is_found_within_every_frames(detector, portrait, begins):
    # A pale wall on which a mirrored portrait appears: too small a change to be a cut.
    alone, both = scene(portrait, (0, 40)), scene(portrait, (0, 40))
    both[40:100, 200:260] = cv2.resize(portrait[:, ::-1], (60, 60), interpolation=cv2.INTER_AREA)
    frames = clip([alone] * begins + [both] * 14)
    found = counts(frames, detector)
    assert found[:begins] == [1] * begins
    first = found.index(2)
    assert begins <= first < begins + EVERY
    assert found[first:] == [2] * (len(found) - first)


def test_a_face_that_leaves_is_gone_at_once(detector, portrait):
    frames = clip([scene(portrait, (20, 40))] * 4 + [scene(portrait, grey=128)] * 4)
    assert counts(frames, detector) == [1] * 4 + [0] * 4


def test_a_cut_is_searched_at_once(detector, portrait, searches):
    wall = [scene(portrait)] * 3
    elsewhere = [scene(portrait, (170, 70), grey=20)] * 3
    assert counts(clip([*wall, *elsewhere]), detector) == [0, 0, 0, 1, 1, 1]
    assert len(searches) == 2


def test_frames_far_apart_in_time_are_all_searched(detector, portrait, searches):
    frames = clip((scene(portrait, (20 + 20 * n, 40)) for n in range(4)), rate=2)
    assert counts(frames, detector) == [1] * 4
    assert len(searches) == 4


def test_a_face_hidden_for_a_moment_comes_back_without_waiting(detector, portrait):
    shown, hidden = scene(portrait, (100, 40)), scene(portrait, (100, 40))
    hidden[60:150, 120:200] = 128
    found = counts(clip([shown, shown, hidden, shown, shown, shown]), detector, every=20)
    assert found == [1, 1, 0, 1, 1, 1]


def test_walls_and_tiny_frames_hold_nobody(detector):
    for shape in ((200, 300), (1, 1), (19, 19), (20, 20), (3, 200)):
        frames = clip([np.full((*shape, 3), 90, np.uint8)] * 10)
        assert counts(frames, detector) == [0] * 10
    assert counts([], detector) == []


def test_only_the_largest_is_kept_and_the_others_are_known_all_the_same(portrait):
    largest = make_detector(Face(select="largest"))
    image = scene(portrait, (0, 40))
    image[40:100, 200:260] = cv2.resize(portrait[:, ::-1], (60, 60), interpolation=cv2.INTER_AREA)
    look = Follower(largest, EVERY)
    for frame in clip([image] * 4):
        (face,) = look(frame)
        assert face.box[2] < 150


def test_threads_give_the_same_faces_in_the_same_order(detector, portrait):
    frames = clip((scene(portrait, (10 + 4 * n, 40), (170, 60)) for n in range(7)), rate=2)
    alone = list(faces_of(iter(frames), detector, 1))
    by_two = list(faces_of(iter(frames), detector, 1, threads=2))
    assert [frame.index for frame, _ in by_two] == [*range(7)]
    for (_, one), (_, other) in zip(alone, by_two, strict=True):
        assert len(one) == 2
        assert np.array_equal([face.box for face in one], [face.box for face in other])


def test_a_detector_without_looks_searches_each_frame(portrait, searches):
    haar = make_detector(Face(detector="haar", select="all"))
    frames = clip([scene(portrait, (20, 40))] * 3)
    assert counts(frames, haar) == [1] * 3 and len(searches) == 3
    with pytest.raises(ValueError, match="haar cannot look"):
        haar.near(frames[0].image, [np.array([0, 0, 9, 9])])


def test_a_gpu_s_way_gives_the_same_faces(detector, portrait, searches):
    """Several frames at once; the road is a GPU's, the arithmetic this processor's."""
    other = Detector(detector.recipe, detector.search_small, detector.cascade, torch.device("meta"))
    corners = [[(20 + 6 * n, 30)] if n % 5 else [] for n in range(TOGETHER + 3)]
    frames = clip(scene(portrait, *some) for some in corners)
    at_once = list(faces_of(frames, other, EVERY))
    assert searches == [TOGETHER, 3]
    for frame, faces in at_once:
        alone = detector(frame.image)
        assert len(faces) == len(alone)
        for one, two in zip(faces, alone, strict=True):
            np.testing.assert_allclose(one.box, two.box, atol=0.1)
    mixed = [frames[1], Frame(frames[1].image[:150], 1, 0.04)]
    assert [len(faces) for _, faces in faces_of(mixed, other, EVERY)] == [1, 1]


# -------------------------------------------------------------------------------- cascade


def test_the_cascade_finds_what_facenet_pytorch_finds(portrait):
    from facenet_pytorch import MTCNN

    theirs, ours = MTCNN(keep_all=True), load((0.6, 0.7, 0.7), torch.device("cpu"))
    for image in (skimage.data.astronaut(), scene(portrait, (10, 50), (160, 60))):
        boxes, sure, points = theirs.detect(image, landmarks=True)
        (faces,) = ours.search([image], 20)
        assert len(faces.boxes) == len(boxes)
        for box, confidence, marks in zip(boxes, sure, points, strict=True):
            there = Detection(np.asarray(box, float), None, None)
            overlaps = [iou(there, Detection(mine, None, None)) for mine in faces.boxes]
            nearest = int(np.argmax(overlaps))
            assert overlaps[nearest] > 0.85
            assert abs(faces.confidences[nearest] - confidence) < 0.02
            side = there.box[2] - there.box[0]
            assert np.abs(faces.points[nearest] - marks).max() < 0.1 * side


@pytest.mark.parametrize(
    ("name", "shape"),
    [("PNet", (2, 3, 61, 40)), ("RNet", (7, 3, 24, 24)), ("ONet", (7, 3, 48, 48))],
)
def test_the_networks_answer_as_facenet_pytorchs(name, shape):
    import facenet_pytorch

    before = torch.get_rng_state()
    ours = dict(zip(("PNet", "RNet", "ONet"), mtcnn_networks.load(), strict=True))[name]
    assert torch.equal(torch.get_rng_state(), before)  # no run draws otherwise for a detector
    theirs = getattr(facenet_pytorch, name)()
    pictures = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        for mine, other in zip(ours(pictures), theirs(pictures), strict=True):
            assert torch.equal(mine, other)
    assert not ours.training


def test_a_detector_without_the_package_of_its_weights_says_so(monkeypatch):
    monkeypatch.setattr(mtcnn_networks, "PACKAGE", "no_such_package")
    with pytest.raises(ImportError, match="no_such_package is not installed"):
        load((0.6, 0.7, 0.7), torch.device("cpu"))


def boxes_of(random: np.random.Generator, count: int, whole: bool) -> torch.Tensor:
    """Boxes in a crowd, some of them the same, some without an inside."""
    corner = random.uniform(-20, 120, (count, 2))
    boxes = np.hstack([corner, corner + random.uniform(0, 60, (count, 2))])
    boxes = boxes.round() if whole else boxes
    boxes[: count // 8] = boxes[count // 8 : 2 * (count // 8)]
    return torch.tensor(boxes, dtype=torch.float32)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 3 * BLOCK), st.sampled_from([0.3, 0.5, 0.7]),
    st.booleans(),
)  # fmt: skip
def test_the_boxes_that_stay_are_torchvisions(seed, count, most, whole):
    from torchvision.ops import nms

    random = np.random.default_rng(seed)
    boxes = boxes_of(random, count, whole)
    scores = torch.tensor(random.uniform(size=count).round(2), dtype=torch.float32)  # with ties
    of = torch.zeros(count, dtype=torch.long)
    assert torch.equal(alone(boxes, scores, of, most), nms(boxes, scores, most))


@given(st.integers(0, 2**32 - 1), st.integers(1, 2 * BLOCK))
def test_boxes_of_different_pictures_leave_one_another_alone(seed, count):
    from torchvision.ops import batched_nms

    random = np.random.default_rng(seed)
    boxes = boxes_of(random, count, whole=True)  # torchvision moves pictures apart, and rounds
    scores = torch.tensor(random.permutation(count) / count, dtype=torch.float32)
    of = torch.tensor(random.integers(0, 3, count))
    assert torch.equal(alone(boxes, scores, of, 0.5), batched_nms(boxes, scores, of, 0.5))


def test_a_look_at_no_face_has_no_confidence(detector, portrait):
    image = scene(portrait, (10, 50))
    face, wall, outside = detector.near(
        image,
        [np.array(b, float) for b in ([40, 65, 100, 140], [200, 20, 280, 120], [-90, 0, -9, 60])],
    )
    assert face.confidence > 0.95 and wall is None and outside is None
    assert detector.near(image, []) == []


def test_the_pyramid_begins_at_the_smallest_face_and_ends_in_the_picture():
    levels = list(sizes(640, 360, 24))
    assert levels[0] == (320, 180)
    assert all(min(one) >= 12 for one in levels) and min(levels[-1]) * 0.709 < 12
    assert list(sizes(10, 400, 20)) == []


def test_of_a_face_and_a_part_of_it_the_surer_one_stays():
    boxes = np.array([[0, 0, 100, 100], [20, 20, 80, 80], [90, 90, 190, 190]], float)
    assert apart(boxes, np.array([0.9, 0.99, 0.8])) == [1, 2]
    assert apart(boxes[:0], np.zeros(0)) == []


def test_a_share_of_the_picture_says_what_is_the_smallest_face(portrait):
    image = np.full((600, 1000, 3), 128, np.uint8)
    image[100:220, 100:220] = portrait  # its face is 45 px wide
    assert len(make_detector(Face(smallest=0.03))(image)) == 1
    assert make_detector(Face(smallest=0.1))(image) == []
