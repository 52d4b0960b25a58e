"""faces/tracks.py: who is who from frame to frame."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from faces.detector import Detection
from faces.tracks import link


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


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900), st.floats(20, 300)), max_size=4),
        max_size=12,
    )
)
def test_every_face_is_in_one_track_at_most_and_a_track_has_one_a_frame(frames):
    made = [[face(*one) for one in faces] for faces in frames]
    tracks = link(made)
    seen = [id(one) for track in tracks for _, one in track.faces]
    assert len(seen) == len(set(seen))
    everybody = {id(one) for faces in made for one in faces}
    assert set(seen) <= everybody
    for track in tracks:
        numbers = [number for number, _ in track.faces]
        assert numbers == sorted(set(numbers))
    if len(made) < 8:  # nobody is left out of a few looks
        assert set(seen) == everybody
