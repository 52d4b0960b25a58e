"""Scores of the persons in a photo or film -> one of six states, and what must be said beside it.

    judging.concluded([[.9, .8, ...], [.1, ...]], limits, least=12, rule="mean")

It never says "real": where nothing was found, it says that no signs were found.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import rules
from faces.media import FILM, Media
from flags import Evidence
from thresholds import Thresholds

UNREADABLE, NO_FACE = "unreadable", "no_face"
NOT_ENOUGH, INCONCLUSIVE = "not_enough_evidence", "inconclusive"
SIGNS, NO_SIGNS = "signs_of_manipulation", "no_signs_found"
STATES = (UNREADABLE, NO_FACE, NOT_ENOUGH, INCONCLUSIVE, SIGNS, NO_SIGNS)


# --------------------------------------------------------------------------------- values


@dataclass(frozen=True)
class Limits:
    """A score below `low` shows no signs, one above `high` does; between them nobody can tell.

    unit: what they were fitted on, `face` or `video`. data: its name. note: what is odd about them.
    auc: of the scores that fitted them, NaN where it is not known. alarms, misses: of their reals
    at most such a share above `high`, of their fakes below `low`.
    """

    low: float
    high: float
    unit: str
    data: str
    temperature: float = 1.0
    note: str = ""
    auc: float = float("nan")
    alarms: float = 0.05
    misses: float = 0.05

    @classmethod
    def of(cls, thresholds: Thresholds, note: str = "") -> "Limits":
        """A checkpoint's thresholds; where its two cross, between them is still inconclusive."""
        low, high = sorted((thresholds.t_low, thresholds.t_high))
        of = thresholds
        about = of.unit, of.data, of.temperature, note, of.auc, of.alarms, of.misses
        return cls(low, high, *about)

    @property
    def defined(self) -> bool:
        """Whether both are numbers: one class alone fits none."""
        return bool(np.isfinite((self.low, self.high)).all())

    def state(self, score: float) -> str:
        if score < self.low:
            return NO_SIGNS
        return SIGNS if score > self.high else INCONCLUSIVE


def limits_of(state: dict[str, Any], film: bool) -> Limits:
    """Of a checkpoint: for films those of films, of validation or made of it, else of faces."""
    stored = state.get("video_thresholds")
    films = Thresholds.of(stored) if stored else None
    faces = Thresholds.of(state["thresholds"])
    if not film:
        return Limits.of(faces)
    if films and films.defined:
        return Limits.of(films)
    return Limits.of(faces, "fitted on single faces, since no films fitted any")


@dataclass(frozen=True)
class ScoredFace:
    """One face. box: left, top, right, bottom in pixels of the upright picture. score: 0..1, None
    where the network gave none. distance: from the usual, in parts of the limit (above 1: unlike
    99 % of validation reals). picture: a small JPEG. frame, seconds: of a film.
    """

    box: tuple[float, ...]
    score: float | None
    frame: int | None = None
    seconds: float | None = None
    confidence: float | None = None
    distance: float | None = None
    picture: bytes = b""

    @property
    def size(self) -> float:
        """The shorter side in pixels."""
        left, top, right, bottom = self.box
        return min(right - left, bottom - top)


@dataclass(frozen=True)
class Person:
    """One person's faces in the order of time, their score by the rule, and what that says.

    lack: why there is not enough evidence, where there is not.
    """

    number: int
    faces: tuple[ScoredFace, ...]
    score: float | None
    state: str
    lack: str = ""


@dataclass(frozen=True)
class Caution:
    """Something that makes the verdict weaker. kind: a name for programs."""

    kind: str
    text: str


@dataclass(frozen=True)
class Searched:
    """How much was looked at. wanted, found: frames asked for and decoded; a photo has one.

    total: frames of the film. cut: frames that a file which was cut off promises. seconds: its
    length. size: width and height of the upright picture.
    """

    frames: int = 1
    missing: int = 0
    cut: int = 0
    total: int = 1
    seconds: float = 0.0
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Suspicious:
    """A face as the network saw it: uint8 RGB [height, width, 3], for heatmaps."""

    person: int
    face: ScoredFace
    picture: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """What is known of one file. score: None unless the state rests on it.

    reason: one sentence of why the state is what it is. probability: where the checkpoint is
    calibrated. took: seconds.
    """

    path: str
    state: str
    reason: str
    score: float | None = None
    probability: float | None = None
    limits: Limits | None = None
    rule: str = ""
    persons: tuple[Person, ...] = ()
    cautions: tuple[Caution, ...] = ()
    media: Media | None = None
    searched: Searched | None = None
    suspicious: tuple[Suspicious, ...] = ()
    sha256: str = ""
    took: float = 0.0

    @property
    def faces(self) -> list[ScoredFace]:
        return [face for person in self.persons for face in person.faces]

    @property
    def decisive(self) -> Person | None:
        """The most suspicious person of whom enough was seen, whose score is the file's where its
        rule is no one of frames; None where the state rests on no score.
        """
        known = (person for person in self.persons if person.state != NOT_ENOUGH)
        return None if self.score is None else next(known, None)


# -------------------------------------------------------------------------------- judging


def judged(
    faces: dict[int, list[ScoredFace]], limits: Limits, rule: str, evidence: Evidence, film: bool
) -> tuple[Person, ...]:
    """Each person's score and state: of whom enough was seen first, then the most suspicious first.

    A film needs `min_faces` of a person, a photo a face of `min_face` pixels.
    """
    persons = []
    for number, own in faces.items():
        values = np.array([face.score for face in own if face.score is not None])
        lack = _lack(own, len(values), evidence, film)
        score = None
        with contextlib.suppress(rules.NoScore, ValueError):
            score = rules.of_track(values, rule) if film else float(values.max())
        if score is None and not lack:
            lack = f"{len(values)} faces of a person are too few for the rule {rule}"
        state = NOT_ENOUGH if lack or score is None else limits.state(score)
        persons.append(Person(number, tuple(own), score, state, lack))
    # A face that is too small to count must not lend the file its score.
    return tuple(sorted(persons, key=lambda p: (p.state == NOT_ENOUGH, -(p.score or 0.0))))


def _lack(faces: Sequence[ScoredFace], scored: int, evidence: Evidence, film: bool) -> str:
    """What there is too little of to judge a person, in words; empty: there is enough."""
    if not scored:
        return "the network gave no number for any face of a person"
    if film and scored < evidence.min_faces:
        some = "1 face" if scored == 1 else f"{scored} faces"
        return f"{some} of a person could be used, and a film needs {evidence.min_faces} faces"
    if not film and faces[0].size < evidence.min_face:
        needed = f"a photo needs a face of {evidence.min_face} px"
        return f"the face has {faces[0].size:.0f} px, and {needed}"
    return ""


def by_frames(persons: Sequence[Person], rule: str) -> float | None:
    """The score of a film by a rule that looks at frames over all persons of whom enough was seen;
    None of other rules, and where that is not two at least.
    """
    known = [person for person in persons if person.state != NOT_ENOUGH]
    tracks = [[face for face in person.faces if face.score is not None] for person in known]
    if rule not in rules.BY_FRAME or len(tracks) < 2:
        return None
    scores = [np.array([face.score for face in own]) for own in tracks]
    return rules.of_video(scores, rule, [np.array([f.frame for f in own]) for own in tracks])[0]


def concluded(persons: Sequence[Person], limits: Limits, together: float | None = None) -> str:
    """The state of the whole, of one person at least. together: as `by_frames` gives it.

    That of the most suspicious person of whom enough was seen. Someone who might be suspicious,
    but of whom too little was seen, keeps it from being "no signs".
    """
    known = [person for person in persons if person.state != NOT_ENOUGH]
    states = {person.state for person in known} if together is None else {limits.state(together)}
    for state in (SIGNS, INCONCLUSIVE):
        if state in states:
            return state
    unknown = [person for person in persons if person.state == NOT_ENOUGH]
    harmless = all(p.score is not None and limits.state(p.score) == NO_SIGNS for p in unknown)
    return NO_SIGNS if known and harmless else NOT_ENOUGH


def why(state: str, persons: Sequence[Person]) -> str:
    """The reason of a state that rests on faces, in one sentence."""
    if state != NOT_ENOUGH:
        return {
            SIGNS: "the score is above the upper limit",
            INCONCLUSIVE: "the score lies between the two limits",
            NO_SIGNS: "the score is below the lower limit",
        }[state]
    few = [person for person in persons if person.state == NOT_ENOUGH]
    return max(few, key=lambda person: (len(person.faces), person.faces[0].size)).lack


def calibrated(score: float, limits: Limits) -> float | None:
    """The score as a probability, where the checkpoint's temperature was fitted."""
    if limits.temperature == 1 or not 0 < score < 1:
        return None
    logit = math.log(score / (1 - score)) / limits.temperature
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, logit))))


# ------------------------------------------------------------------------------- cautions


def cautions_of(
    persons: Sequence[Person],
    media: Media,
    searched: Searched,
    evidence: Evidence,
    familiar: str,
) -> tuple[Caution, ...]:
    """What weakens a verdict, in words. familiar: why nobody can tell whether a face is unlike
    those of validation; empty where it was checked.
    """
    found, film = [], media.kind == FILM
    sizes = [face.size for person in persons[:1] for face in person.faces]
    if sizes and float(np.median(sizes)) < evidence.small_face:
        text = f"the face is small ({np.median(sizes):.0f} px): traces of editing may be lost"
        found.append(Caution("small_face", text))
    if 0 < media.quality < evidence.jpeg_quality:
        text = f"heavily compressed (JPEG quality about {media.quality}): traces may be lost"
        found.append(Caution("compression", text))
    # Of a file that is cut off it is reckoned by the length that it should have had.
    if 0 < media.bits_per_pixel < evidence.bits_per_pixel and not searched.cut:
        text = f"heavily compressed ({media.bits_per_pixel:.3f} bits a pixel): traces may be lost"
        found.append(Caution("compression", text))
    if film and searched.frames < 2 * evidence.min_faces:
        found.append(Caution("few_frames", f"only {searched.frames} frames could be looked at"))
    if searched.cut:
        text = f"the file is cut off: its last {searched.cut} frames are missing"
        found.append(Caution("cut", text))
    if searched.missing:
        text = f"{searched.missing} of the frames that were looked for are damaged"
        found.append(Caution("damaged", text))
    far = [f.distance for p in persons[:1] for f in p.faces if f.distance is not None]
    if far and float(np.median(far)) > 1:
        text = "the face is unlike 99 % of the faces that the network was checked on: trust it less"
        found.append(Caution("unfamiliar", text))
    few = sum(person.state == NOT_ENOUGH for person in persons)
    if 0 < few < len(persons):
        text = f"of {few} of the {len(persons)} persons too little was seen for a judgement"
        found.append(Caution("not_judged", text))
    if persons and familiar:
        found.append(Caution("familiarity_unknown", familiar))
    return tuple(found)
