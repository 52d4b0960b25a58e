"""From frames to videos: each rule by hand, in any order, within its scores; what has no score."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rules
from failures import NO_SCORE
from flags import Rule
from rules import NoScore

RULES = sorted(rules.RULES)
many_scores = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def table(*rows: tuple, **columns) -> pd.DataFrame:
    """Rows of video, track, label and score."""
    frame = pd.DataFrame(rows, columns=["video", "track", "label", "score"])
    paths = [f"{i}.png" for i in range(len(frame))]
    return frame.assign(path=paths, frame=[*map(str, range(len(frame)))], **columns)


def test_the_configuration_names_the_rules():
    assert set(get_args(Rule)) == set(rules.RULES)


@pytest.mark.parametrize(
    ("rule", "scores", "expected"),
    [
        ("mean", [0.1, 0.2, 0.9], 0.4),
        ("median", [0.1, 0.2, 0.9], 0.2),
        ("trimmed", [0, 0, 0, 0, 0, 0.2, 0.4, 1, 1, 1, 1, 1], 0.3),
        ("top_third", [0.9, 0.1, 0.3], 0.9),
        ("top_third", [0.9, 0.1, 0.3, 0.7], 0.8),  # a third of four is two, rounded up
        ("top_third", [0.4], 0.4),
        # 12 of 29 above .8 are more than 29 / 2.5 = 11.6, and more than 11.
        ("dfdc", [0.9] * 12 + [0.3] * 17, 0.9),
        ("dfdc", [0.9] * 12 + [0.3] * 18, (12 * 0.9 + 18 * 0.3) / 30),  # 12 of 30 are not
        ("highest_frame", [0.1, 0.2, 0.9], 0.4),  # one track: every face is its frame's highest
        ("highest_third", [0.1, 0.2, 0.9], 0.9),
        ("dfdc", [0.9] * 11, 0.9),  # 11 are too few to be sure, and the mean of all
        ("dfdc", [0.9] * 11 + [0.5], (11 * 0.9 + 0.5) / 12),
        ("dfdc", [0.1] * 19 + [0.7], 0.1),
        ("dfdc", [0.1] * 18 + [0.7] * 2, (18 * 0.1 + 2 * 0.7) / 20),  # 90 % are not more than 90 %
    ],
)
def test_each_rule_by_hand(rule, scores, expected):
    assert rules.of_track(np.array(scores), rule) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(scores=many_scores, seed=st.integers(0, 99))
def test_no_order_matters_and_no_rule_leaves_its_scores(rule, scores, seed):
    values = np.array(scores)
    if rule == "trimmed" and len(values) <= 11:
        with pytest.raises(NoScore, match=rf"{len(values)} faces, and trimmed needs more than 11"):
            rules.of_track(values, rule)
        return
    score = rules.of_track(values, rule)
    assert rules.of_track(np.random.default_rng(seed).permutation(values), rule) == score
    assert 0 <= score <= 1 and values.min() - 1e-12 <= score <= values.max() + 1e-12
    assert rules.of_track(np.full(len(values), 0.25), rule) == 0.25


def test_nothing_has_no_score():
    for rule in RULES:
        with pytest.raises(NoScore, match="no faces"):
            rules.of_track(np.array([]), rule)
        with pytest.raises(NoScore, match="no faces"):
            rules.of_video([], rule)


def test_the_highest_track_is_the_video():
    tracks = [np.full(3, 0.2), np.full(14, 0.6), np.full(13, 0.4)]
    assert rules.of_video(tracks, "mean") == (pytest.approx(0.6), 3)
    # A track that is too short for the rule counts as none; the others still judge the video.
    assert rules.of_video(tracks, "trimmed") == (pytest.approx(0.6), 2)
    with pytest.raises(NoScore, match="5 faces"):  # of the longest
        rules.of_video([np.ones(5), np.ones(2)], "trimmed")


def test_faces_become_videos():
    faces = table(
        ("v", "0", 0, 0.1), ("v", "0", 0, 0.3), ("v", "1", 1, 0.9), ("w", "", 0, 0.4),
        ("", "", 1, 1.0),
        identity=["p", "p", "q", "r", "s"], method=["", "", "swap", "", "swap"],
    )  # fmt: skip
    videos, failures = rules.to_videos(faces, "mean")
    assert failures == []
    assert videos["video"].tolist() == ["v", "w"]  # the photograph is no video
    assert videos["score"].tolist() == pytest.approx([0.9, 0.4])  # the highest track
    assert videos["label"].tolist() == [1, 0]  # one forged face makes a fake
    assert videos["frames"].tolist() == [3, 1] and videos["tracks"].tolist() == [2, 1]
    assert videos["identity"].tolist() == ["", "r"]  # two people: nobody's
    assert videos["method"].tolist() == ["swap", ""]
    assert "path" not in videos and "frame" not in videos


def test_equal_names_of_two_sources_are_two_videos():
    faces = table(("v", "", 0, 0.1), ("v", "", 1, 0.9), source=["a", "b"])
    videos, _ = rules.to_videos(faces, "mean")
    assert videos[["source", "label"]].to_numpy().tolist() == [["a", 0], ["b", 1]]


def test_a_video_without_a_score_is_named():
    rows = [("long", "", 0, 0.2)] * 12 + [("short", "", 1, 0.8)] * 11
    rows += [("mixed", "0", 1, 0.7)] * 12 + [("mixed", "1", 1, 0.9)] * 3
    videos, failures = rules.to_videos(table(*rows, source="set"), "trimmed")
    assert videos["video"].tolist() == ["long", "mixed"]
    assert videos["tracks_left_out"].tolist() == [0, 1]
    ((path, kind, reason),) = [(f.path, f.kind, f.reason) for f in failures]
    assert (path, kind) == ("set/short", NO_SCORE) and "11 faces" in reason


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("uvw"),
            st.sampled_from(["", "0", "1"]),
            st.integers(0, 1),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=40,
    ),
    seed=st.integers(0, 99),
)
def test_the_order_of_the_rows_says_nothing(rule, rows, seed):
    faces = table(*rows)
    mixed = faces.sample(frac=1, random_state=seed)
    one, other = (rules.to_videos(f, rule) for f in (faces, mixed))
    by_name = [v.sort_values("video").reset_index(drop=True) for v, _ in (one, other)]
    pd.testing.assert_frame_equal(*by_name, check_exact=True)
    assert {f.path for f in one[1]} == {f.path for f in other[1]}
    assert set(one[0]["video"]) | {f.path for f in one[1]} == set(faces["video"])


def test_without_videos_there_are_none():
    faces = table(("", "", 0, 0.5))
    for rows in (faces, faces.drop(columns=["video", "track"])):
        videos, failures = rules.to_videos(rows, "mean")
        assert len(videos) == 0 and failures == []
        assert {"video", "label", "score", "frames", "tracks"} <= set(videos)


def test_the_highest_face_of_each_frame_counts():
    tracks = [np.array([0.2, 0.9, 0.4]), np.array([0.6, 0.1])]
    frames = [np.array([0, 10, 20]), np.array([0, 20])]
    # Frame 0: .6, frame 10: .9, frame 20: .4.
    score, count = rules.of_video(tracks, "highest_frame", frames)
    assert (score, count) == (pytest.approx((0.6 + 0.9 + 0.4) / 3), 2)
    swapped = rules.of_video(tracks[::-1], "highest_frame", frames[::-1])
    assert swapped == (pytest.approx(score), 2)
    assert rules.of_video(tracks, "highest_third", frames) == (0.9, 2)
    for rule in rules.BY_FRAME:
        with pytest.raises(NoScore, match=f"no frame number, which {rule} needs"):
            rules.of_video(tracks, rule)


def test_the_highest_third_is_of_frames_and_not_of_a_track():
    """Li & Lyu: two frames of the one and a third of the other are a third of nine frames."""
    tracks = [np.array([0.9, 0.9, *[0.1] * 7]), np.array([*[0.1] * 8, 0.9])]
    frames = [np.arange(9), np.arange(9)]
    assert rules.of_video(tracks, "highest_third", frames)[0] == pytest.approx(0.9)
    assert rules.of_video(tracks, "top_third", frames)[0] == pytest.approx((0.9 + 0.9 + 0.1) / 3)


def test_frames_of_a_table_meet_across_tracks():
    rows = [("v", "0", 1, 0.2), ("v", "0", 1, 0.9), ("v", "1", 1, 0.6), ("w", "0", 0, 0.3)]
    frame = table(*rows).assign(frame=["0", "1", "0", ""])
    videos, failures = rules.to_videos(frame, "highest_frame")
    assert videos["score"].tolist() == pytest.approx([(0.6 + 0.9) / 2, 0.3]) and not failures
    videos, failures = rules.to_videos(frame.assign(frame=""), "highest_frame")
    assert videos["video"].tolist() == ["w"]
    assert [f.path for f in failures] == ["v"] and "no frame number" in failures[0].reason
