"""The page of one verdict, for somebody who knows no statistics: HTML that needs nothing else.

html = verdict_page.page(result, model, verdict_page.cams(result, model))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import checkpoint
from faces.image import encode_image
from faces.media import FILM
from judging import NOT_ENOUGH, Person, ScoredFace, Verdict
from metrics import THRESHOLD
from report import heatmaps
from report.page import rendered
from report.verdict_text import (
    MEANINGS,
    WORDS,
    clock,
    count,
    limits_words,
    looked_at,
    person_score,
    score_words,
    shown,
)
from rules import BY_FRAME
from verdict import Model

SHOWN = 6
"""So many persons are shown with their pictures; the others are in the table alone."""

COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66))
"""Okabe and Ito's, of persons: none of them the colour of real or fake."""

CARD = 200_000
"""Characters of a model card that a page holds."""

WIDTH, HEIGHT = 720, 150
"""Of the timeline, in its own units."""


@dataclass(frozen=True)
class Cam:
    """What the network looked at in one face: JPEGs of the face and of the map over it."""

    face: bytes
    overlay: bytes
    caption: str


@dataclass(frozen=True)
class Dot:
    """A face in the timeline; link: the name of its picture on the page, empty for none."""

    x: float
    y: float
    title: str
    link: str


@dataclass(frozen=True)
class ShownPerson:
    name: str
    colour: str
    score: str
    state: str
    faces: Sequence[tuple[str, ScoredFace, str]] = ()
    """Name on the page, face, caption."""
    dots: Sequence[Dot] = ()
    count: int = 0


@dataclass(frozen=True)
class VerdictPage:
    """What the template shows."""

    title: str
    state: str
    verdict: str
    meaning: str
    reason: str
    score: float | None = None
    score_words: str = ""
    limits: str = ""
    low: float = 0.0
    high: float = 0.0
    cautions: Sequence[str] = ()
    examined: Sequence[str] = ()
    not_examined: Sequence[str] = ()
    persons: Sequence[ShownPerson] = ()
    more_persons: int = 0
    length: str = ""
    cams: Sequence[Cam] = ()
    errors: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    card: str = ""
    video: str = ""
    width: int = WIDTH
    height: int = HEIGHT


def page(
    verdict: Verdict, model: Model, drawn: Sequence[Cam] = (), video: str = "", card: str = ""
) -> str:
    """One verdict as HTML text. video: name of the annotated copy beside the page, if any."""
    return rendered("verdict.html.jinja", content(verdict, model, drawn, video, card))


def content(
    verdict: Verdict, model: Model, drawn: Sequence[Cam] = (), video: str = "", card: str = ""
) -> VerdictPage:
    limits, film = verdict.limits, bool(verdict.media and verdict.media.kind == FILM)
    persons = verdict.persons
    return VerdictPage(
        title=shown(Path(verdict.path).name),
        state=verdict.state,
        verdict=WORDS[verdict.state],
        meaning=MEANINGS[verdict.state],
        reason=verdict.reason,
        score=verdict.score,
        score_words=score_words(verdict),
        limits=limits_words(limits) if limits else "",
        low=limits.low if limits else 0.0,
        high=limits.high if limits else 0.0,
        cautions=[caution.text for caution in verdict.cautions],
        examined=examined(verdict),
        not_examined=not_examined(verdict),
        persons=[_person(n, p, verdict, film) for n, p in enumerate(persons[:SHOWN])],
        more_persons=max(0, len(persons) - SHOWN),
        length=clock(_length(verdict)) if film else "",
        cams=drawn,
        errors=errors(verdict),
        facts=facts(verdict, model),
        card=card or model_card(model),
        video=video,
    )


def cams(verdict: Verdict, model: Model, method: str = heatmaps.METHOD) -> list[Cam]:
    """Heatmaps of the faces that the verdict kept as the network saw them."""
    kept = verdict.suspicious
    if not kept:
        return []
    pictures = torch.stack([torch.from_numpy(one.picture).permute(2, 0, 1) for one in kept])
    values = np.array([one.face.score or 0.0 for one in kept])
    maps = heatmaps.heatmaps(model.network, pictures.to(model.device), values, method)
    unjudged = {person.number for person in verdict.persons if person.state == NOT_ENOUGH}
    found = []
    for one, value, heatmap in zip(kept, values, maps, strict=True):
        face = np.ascontiguousarray(np.broadcast_to(one.picture, (*one.picture.shape[:2], 3)))
        when = f" at {clock(one.face.seconds)}" if one.face.seconds is not None else ""
        who = f"person {one.person + 1}{when}, " if len(verdict.persons) > 1 or when else ""
        seen = "not judged" if one.person in unjudged else f"score {value:.3f}"
        caption = f"{who}{seen}. {_legend(value, method)}"
        over = encode_image(heatmaps.overlay(face, heatmap), ".jpg")
        found.append(Cam(encode_image(face, ".jpg"), over, caption))
    return found


def _legend(score: float, method: str) -> str:
    if method in heatmaps.NOT_ABOUT_A_CLASS:
        return heatmaps.legend(score, method)
    which = "a higher" if score >= THRESHOLD else "a lower"
    return f"{method}: bright parts spoke for {which} score"


# ---------------------------------------------------------------------------------- words


def examined(verdict: Verdict) -> list[str]:
    """What was looked at, a line each."""
    if not verdict.searched or not verdict.media:
        return []
    lines = [looked_at(verdict)]
    if verdict.faces:
        sizes = sorted(face.size for face in verdict.faces)
        smallest, largest = f"{sizes[0]:.0f}", f"{sizes[-1]:.0f}"
        several = f"{smallest} to {largest}" if smallest != largest else smallest
        lines.append(f"{'faces' if len(sizes) > 1 else 'a face'} of {several} pixels")
    return lines


def not_examined(verdict: Verdict) -> list[str]:
    """What was not looked at, so that nobody takes it for checked."""
    media, searched = verdict.media, verdict.searched
    if not media or not searched:
        return ["anything: the file could not be read"]
    lines = []
    if media.kind == FILM:
        left = max(0, searched.total - searched.frames)
        lines += [f"{count(left, 'frame')} between those that were looked at"] if left else []
        lines.append("the sound" if media.sound else "sound: the file has none")
        lines.append("whether the film was cut, slowed down or put together from others")
    lines += [
        "the background, bodies, hands, objects and writing",
        "faces that are turned away, covered, very small or very dark, which are often not found",
        "where the file comes from, who made it, and what its metadata say",
    ]
    return lines


def errors(verdict: Verdict) -> list[str]:
    """How often it is wrong, as validation measured it, in words."""
    limits = verdict.limits
    if not limits:
        return []
    what = "films" if limits.unit == "video" else "faces"
    lines = [
        f"The upper limit is set so that of 100 real {what} of the validation data at most "
        f"{100 * limits.alarms:.3g} score above it: such a false alarm is part of the method. The "
        f"lower limit is set so that of 100 manipulated {what} at most {100 * limits.misses:.3g} "
        "score below it: so many may be missed even of the kinds that the network knows."
    ]
    if np.isfinite(limits.auc):
        one = what.removesuffix("s")
        lines.append(
            f"Of a real and a manipulated {one} of these data, drawn at random, the manipulated "
            f"one has the higher score in {limits.auc:.1%} of the cases (AUC)."
        )
    return [
        *lines,
        f"This was measured on {limits.data}. On files from other cameras, other people and "
        "other kinds of manipulation it is wrong more often, and how often nobody has measured "
        "here.",
    ]


def facts(verdict: Verdict, model: Model) -> list[tuple[str, str]]:
    """For the record: names, hashes, versions."""
    state, media = model.state, verdict.media
    network = f"{state['network']['name']} {state['network']['variant']}".strip()
    found = [("File", shown(verdict.path)), ("SHA-256 of the file", verdict.sha256 or "not known")]
    if media:
        found.append(("Bytes", f"{media.bytes:,}"))
        if media.quality:
            found.append(("JPEG quality", f"about {media.quality}, from its tables"))
        if media.bits_per_pixel:
            rate = f"{media.bit_rate / 1000:,.0f} kbit/s at {media.rate:.3g} frames a second"
            found.append(("Compression", f"{rate}, {media.bits_per_pixel:.3f} bits a pixel"))
    found += [
        ("Network", f"{network}, epoch {checkpoint.epochs(state)}"),
        ("Good for", model.good_for),
        ("Weights", str(model.file)),
        ("SHA-256 of the weights", model.sha256),
        ("From frames to a film", _rule_words(state["rule"])),
        ("Written with", ", ".join(f"{k} {v}" for k, v in state["versions"].items())),
        ("Time taken", f"{verdict.took:.1f} seconds"),
    ]
    return found


def _rule_words(rule: str) -> str:
    if rule in BY_FRAME:
        return f"rule {rule}: each frame by its highest face, of all of whom enough was seen"
    return f"rule {rule}, then the most suspicious person"


def model_card(model: Model) -> str:
    """The text about the weights: README.md of the released ones, NAME.md beside others."""
    file = model.file.resolve()
    card = file.with_name("README.md") if model.released else file.with_suffix(".md")
    if not card.is_file():
        return ""
    with card.open(encoding="utf-8", errors="replace") as text:
        whole = text.read(CARD + 1)
    return whole if len(whole) <= CARD else f"{whole[:CARD]}\n... (longer than is shown here)"


# -------------------------------------------------------------------------------- persons


def _length(verdict: Verdict) -> float:
    """Seconds that the timeline spans."""
    last = max((face.seconds or 0.0 for face in verdict.faces), default=0.0)
    return max(verdict.searched.seconds if verdict.searched else 0.0, last, 1e-6)


def _person(place: int, person: Person, verdict: Verdict, film: bool) -> ShownPerson:
    length, faces, dots = _length(verdict), [], []
    enough = person.state != NOT_ENOUGH
    for number, face in enumerate(person.faces):
        name = f"person{person.number + 1}-{number + 1}"
        value = f"{face.score:.3f}" if enough and face.score is not None else "no score"
        when = clock(face.seconds) if face.seconds is not None else f"{face.size:.0f} px"
        if face.picture:
            faces.append((name, face, f"{when}, {value}"))
        if face.score is not None and film and enough:
            x = 6 + (WIDTH - 12) * (face.seconds or 0.0) / length
            link = f"#{name}" if face.picture else ""
            dots.append(Dot(x, 4 + (HEIGHT - 8) * (1 - face.score), f"{when}: {value}", link))
    colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[place % len(COLOURS)])
    words = WORDS[person.state].lower()
    title = f"Person {person.number + 1}"
    return ShownPerson(title, colour, person_score(person), words, faces, dots, len(person.faces))
