"""faces/tracks.py: who is who from frame to frame."""

import av
import cv2
import numpy as np
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from faces.clips import search_clip
from faces.detector import Detection, make_detector
from faces.tracks import FAR, Track, link
from flags import Face, Frames
from tests.judges import face_of


def face(x: float, y: float, side: float = 100) -> Detection:
    return Detection(np.array([x, y, x + side, y + side], float), None, 0.99)


def test_two_people_who_move_are_two_tracks_and_the_larger_comes_first():
    frames = [[face(500 - 5 * n, 100), face(20 * n, 90, 150)] for n in range(10)]
    tracks = link(frames)
    assert [len(track.faces) for track in tracks] == [10, 10]
    assert [f.box[2] - f.box[0] for f in (tracks[0].faces[0][1], tracks[1].faces[0][1])] == [
        150,
        100,
    ]
    for track in tracks:
        assert [number for number, _ in track.faces] == list(range(10))


def test_a_lone_false_alarm_is_nobody():
    frames = [[face(100, 100)] + ([face(700, 20, 60)] if n == 4 else []) for n in range(12)]
    assert [len(track.faces) for track in link(frames)] == [12]


def test_a_face_that_is_lost_for_a_moment_is_the_same_person():
    frames = [[] if n in (4, 5) else [face(100 + 3 * n, 100)] for n in range(12)]
    assert [len(track.faces) for track in link(frames)] == [10]


def test_after_a_cut_there_is_somebody_else():
    frames = [[face(100, 100)]] * 6 + [[face(800, 300, 300)]] * 6
    assert [len(track.faces) for track in link(frames)] == [6, 6]


def test_a_photograph_s_worth_of_frames_keeps_single_faces():
    assert len(link([[face(0, 0)]])) == 1
    assert link([]) == [] and link([[], []]) == []


def alone(*places: float, step: float = 1.0) -> tuple:
    """What `link` is given of one face of 100 px that is at these places, `step` seconds apart."""
    frames = [[face(x, 100)] for x in places]
    return frames, [n * step for n in range(len(frames))], [False] + [True] * (len(frames) - 1)


def lengths(tracks: list[Track]) -> list[int]:
    return [len(track.faces) for track in tracks]


def test_someone_who_walks_through_a_scene_alone_is_one_person():
    frames, seconds, goes_on = alone(*(120 * n for n in range(10)))
    assert lengths(link(frames, seconds, goes_on)) == [10]
    assert lengths(link(frames)) == []  # without times nobody can know how fast that is
    assert lengths(link(frames, [n / 25 for n in range(10)], goes_on)) == []  # nobody is so fast
    assert lengths(link(frames, [60.0 * n for n in range(10)], goes_on)) == []  # a minute apart


def test_a_lone_face_moves_no_further_than_it_can():
    frames, seconds, goes_on = alone(*[100] * 6, *[100 + 100 * (FAR + 0.1)] * 6)
    assert lengths(link(frames, seconds, goes_on)) == [6, 6]
    frames, seconds, goes_on = alone(*[100] * 6, *[100 + 100 * 1.2] * 6, step=0.5)
    assert lengths(link(frames, seconds, goes_on)) == [6, 6]  # .75 sides in half a second: NEAR


def test_behind_a_cut_a_face_next_to_the_last_one_s_place_is_somebody_else():
    frames, seconds, goes_on = alone(*[100] * 6, *[220] * 6)
    assert lengths(link(frames, seconds, goes_on)) == [12]
    goes_on[6] = False
    assert lengths(link(frames, seconds, goes_on)) == [6, 6]


def test_who_could_be_either_of_two_moves_no_further():
    """Two who pass one another stay two, and one who leaves does not become the other."""
    rows = [[face(60 * n, 100), face(900 - 60 * n, 220)] for n in range(14)]
    seconds, goes_on = [float(n) for n in range(14)], [False] + [True] * 13
    for tracks in (link(rows), link(rows, seconds, goes_on)):
        assert lengths(tracks) == [14, 14]
        for track in tracks:
            assert len({one.box[1] for _, one in track.faces}) == 1
    leaves = [[face(100, 100), face(230, 100)]] * 6 + [[face(230, 100)]] * 6
    assert lengths(link(leaves, seconds[:12], goes_on[:12])) == [12, 6]
    instead = [[face(100, 100), face(400, 100)]] * 6 + [[face(230, 100)]] * 6
    assert lengths(link(instead, seconds[:12], goes_on[:12])) == [6, 6, 6]


def test_a_false_alarm_in_a_moving_person_s_film_is_nobody():
    frames, seconds, goes_on = alone(*(90 * n for n in range(12)))
    frames[4] = [*frames[4], face(2000, 20, 60)]
    (track,) = link(frames, seconds, goes_on)
    assert [one.box[0] for _, one in track.faces] == [90 * n for n in range(12)]


def test_who_walks_fast_through_a_film_is_one_person_and_nobody_behind_a_cut(tmp_path):
    portrait = cv2.resize(face_of(skimage.data.astronaut()), (120, 120), None, 0, 0, 3)
    film = tmp_path / "walk.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 640, 240, "yuv420p"
        for number in range(16):
            image = np.full((240, 640, 3), 128 if number < 8 else 30, np.uint8)
            left = 55 * number if number < 8 else 440  # its face is about 46 px wide
            image[40:160, left : left + 120] = portrait
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    recipe = Face(select="all")
    found = search_clip(str(film), make_detector(recipe), recipe, Frames(count=16), tmp_path)
    tracks = [[one["frame"] for one in found.faces if one["track"] == n] for n in range(2)]
    assert sorted(tracks) == [list(range(8)), list(range(8, 16))]
    assert len(found.faces) == 16


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900), st.floats(20, 300)), max_size=4),
        max_size=12,
    )
)
def test_every_face_is_in_one_track_at_most_and_a_track_has_one_a_frame(frames):
    made = [[face(*one) for one in faces] for faces in frames]
    tracks = link(made, [1.0 * n for n in range(len(made))], [n % 3 > 0 for n in range(len(made))])
    seen = [id(one) for track in tracks for _, one in track.faces]
    assert len(seen) == len(set(seen))
    everybody = {id(one) for faces in made for one in faces}
    assert set(seen) <= everybody
    for track in tracks:
        numbers = [number for number, _ in track.faces]
        assert numbers == sorted(set(numbers))
    if len(made) < 8:  # nobody is left out of a few looks
        assert set(seen) == everybody
