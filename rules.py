"""From faces to videos: scores of frames -> one of each track by a named rule -> the highest track.

    rules.of_video([frames_of_one_face, frames_of_another], "trimmed")

test.py, and whoever else judges a video, walks through here. A score says how fake, 0..1.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from failures import NO_SCORE, Failure

OF_A_FACE = (
    "path", "label", "score", "track", "frame", "timestamp", "box", "landmarks", "confidence",
    "source_path", "media", "media_box", "media_size",
)  # fmt: skip
"""Columns that say something of one face and nothing of its video."""

ENDS = 5
"""So many scores are dropped at either end by `trimmed`."""


class NoScore(ValueError):
    """A track or a video that a rule gives no score; the message says why."""


# ---------------------------------------------------------------------------------- rules


def mean(scores: np.ndarray) -> float:
    return float(scores.mean())


def median(scores: np.ndarray) -> float:
    return float(np.median(scores))


def trimmed(scores: np.ndarray) -> float:
    """Mean without the 5 lowest and the 5 highest; needs more than 11 faces (KAIST CS489)."""
    if len(scores) <= 2 * ENDS + 1:
        raise NoScore(f"{len(scores)} faces, and trimmed needs more than {2 * ENDS + 1}")
    return float(scores[ENDS:-ENDS].mean())


def top_third(scores: np.ndarray) -> float:
    """Mean of the highest third of a track's frames, rounded up."""
    return float(scores[2 * len(scores) // 3 :].mean())


def dfdc(scores: np.ndarray) -> float:
    """The mean of those that are sure, where they are many: the DFDC winner's (Seferbekov 2020)."""
    fake, real = scores[scores > 0.8], scores[scores < 0.2]
    if len(fake) > len(scores) / 2.5 and len(fake) > 11:
        return float(fake.mean())
    return float((real if len(real) > 0.9 * len(scores) else scores).mean())


def highest_frame(scores: np.ndarray) -> float:
    """Mean over frames, of each frame's highest face (Shiohara & Yamasaki 2022): see of_video."""
    return mean(scores)


def highest_third(scores: np.ndarray) -> float:
    """Mean of the highest third of frames, each by its highest face (Li & Lyu 2018): of_video."""
    return top_third(scores)


RULES: dict[str, Callable[[np.ndarray], float]] = {
    "mean": mean,
    "median": median,
    "trimmed": trimmed,
    "top_third": top_third,
    "dfdc": dfdc,
    "highest_frame": highest_frame,
    "highest_third": highest_third,
}
"""Rule -> what it makes of a track's scores: [n] of at least one, rising, 0..1."""

BY_FRAME = ("highest_frame", "highest_third")
"""Rules for which a frame counts by its highest face of all tracks."""


def of_track(scores: np.ndarray, rule: str) -> float:
    """A track's score from those of its frames, [n], in any order; NoScore where there is none."""
    if len(scores) == 0:
        raise NoScore("no faces")
    return RULES[rule](np.sort(scores))


def of_video(
    tracks: Iterable[np.ndarray], rule: str, frames: Iterable[np.ndarray] | None = None
) -> tuple[float, int]:
    """The highest of the tracks' scores, and how many tracks gave one; NoScore where none did.

    frames: of each track the frames of its faces, [n], numbers or text. The rules BY_FRAME need
    them where there are several tracks: they look for a frame's highest face among them all.
    """
    tracks = list(tracks)
    if rule in BY_FRAME and len(tracks) > 1:
        return of_track(_highest(tracks, frames, rule), rule), len(tracks)
    values, reason = [], "no faces"
    for scores in sorted(tracks, key=len):
        try:
            values.append(of_track(scores, rule))
        except NoScore as none:
            reason = str(none)  # at the end that of the longest track
    if not values:
        raise NoScore(reason)
    return max(values), len(values)


def _highest(
    tracks: list[np.ndarray], frames: Iterable[np.ndarray] | None, rule: str
) -> np.ndarray:
    """The highest score of each frame."""
    numbers = np.concatenate([np.asarray(own).astype(str) for own in frames or [np.array([""])]])
    if (numbers == "").any():
        raise NoScore(f"several tracks and no frame number, which {rule} needs")
    return pd.Series(np.concatenate(tracks)).groupby(numbers).max().to_numpy()


# --------------------------------------------------------------------------------- videos


def to_videos(frame: pd.DataFrame, rule: str) -> tuple[pd.DataFrame, list[Failure]]:
    """A table of faces, as metrics.read_scores gives it, -> one row a video, and those without.

    A video is a name within its source; rows without one are photographs and stay out. A video is
    fake if any of its rows is: faces that nobody touched may stand beside the one that is forged.
    Columns: video, label, score, frames (faces of it), tracks and tracks_left_out (those too short
    for the rule), then the table's others, with the one name that the rows of a video agree on.
    """
    named = frame[_text(frame, "video") != ""]
    source, video, track, frames = (
        _text(named, column) for column in ("source", "video", "track", "frame")
    )
    code, _ = pd.factorize(source + "\x1f" + video)  # 0, 1, ... in the order of the table
    of_each = pd.DataFrame({"video": video, "label": named["label"], "frames": 1}).groupby(code)
    videos = of_each.agg({"video": "first", "label": "max", "frames": "sum"})
    tracks: list[list[np.ndarray]] = [[] for _ in range(len(videos))]
    numbers: list[list[np.ndarray]] = [[] for _ in range(len(videos))]
    faces = pd.DataFrame({"score": named["score"], "frame": frames})
    for (which, _), own in faces.groupby([code, track]):
        tracks[which].append(own["score"].to_numpy(float))
        numbers[which].append(own["frame"].to_numpy(str))
    scored, failures = {}, []
    for which, own in enumerate(tracks):
        try:
            score, count = of_video(own, rule, numbers[which])
            scored[which] = (score, count, len(own) - count)
        except NoScore as none:
            first = int(np.argmax(code == which))
            name = f"{source.iloc[first]}/{video.iloc[first]}".removeprefix("/")
            failures.append(Failure(name, NO_SCORE, f"video: {none}"))
    found = pd.DataFrame.from_dict(scored, "index", columns=["score", "tracks", "tracks_left_out"])
    videos = videos.join(found, how="right")
    for column in frame.columns.difference([*OF_A_FACE, "video"], sort=False):
        videos[column] = _agreed(named[column], code).reindex(videos.index, fill_value="")
    return videos.reset_index(drop=True), failures


def _text(frame: pd.DataFrame, column: str) -> pd.Series:
    return frame[column].astype(str) if column in frame else pd.Series("", index=frame.index)


def _agreed(names: pd.Series, code: np.ndarray) -> pd.Series:
    """Code of a video -> the one name that its rows give; not those that give several or none."""
    given = pd.DataFrame({"code": code, "name": names.astype(str).to_numpy()})
    given = given[given["name"] != ""].drop_duplicates()
    return given[~given["code"].duplicated(keep=False)].set_index("code")["name"]
