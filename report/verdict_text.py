"""A verdict in words: the block of one file, the table of many."""

from collections.abc import Sequence

from judging import (
    INCONCLUSIVE,
    NO_FACE,
    NO_SIGNS,
    NOT_ENOUGH,
    SIGNS,
    UNREADABLE,
    Limits,
    Person,
    Verdict,
)
from verdict import Model

WORDS = {
    UNREADABLE: "Cannot be read",
    NO_FACE: "No face found",
    NOT_ENOUGH: "Not enough evidence",
    INCONCLUSIVE: "Inconclusive",
    SIGNS: "Signs of manipulation",
    NO_SIGNS: "No signs found",
}
"""State -> what people read."""

MEANINGS = {
    UNREADABLE: "This says nothing about whether it was manipulated.",
    NO_FACE: "Only faces are examined: this says nothing about the rest of the picture.",
    NOT_ENOUGH: "Too little was seen for a judgement, in one way or the other.",
    INCONCLUSIVE: "The network cannot tell: real and manipulated faces both score like this.",
    SIGNS: "The face looks to the network like the manipulated ones it learned from. That is a "
    "reason to look further, and no proof.",
    NO_SIGNS: "The network saw nothing of what it learned to find. That does not show that the "
    "file is genuine: other kinds of manipulation leave other signs.",
}
"""State -> what follows from it, and what does not."""


def block(verdict: Verdict, model: Model) -> str:
    """Everything about one file, for the terminal."""
    lines = [f"{shown(verdict.path)}", f" Verdict    : {WORDS[verdict.state]} ({verdict.reason})"]
    if verdict.score is not None and verdict.limits:
        lines.append(f" Score      : {verdict.score:.4f} of 0..1, {score_words(verdict)}")
    if verdict.limits:
        lines.append(f" Limits     : {limits_words(verdict.limits)}")
    if verdict.media and verdict.searched:
        lines.append(f" Looked at  : {looked_at(verdict)}")
    for person in verdict.persons[:10] if len(verdict.persons) > 1 else ():
        score = person_score(person)
        sizes = sorted(face.size for face in person.faces)
        lines.append(
            f"   person {person.number + 1:<3}: {score}, {count(len(person.faces), 'face')}, "
            f"{sizes[0]:.0f} to {sizes[-1]:.0f} px: {WORDS[person.state].lower()}"
        )
    if len(verdict.persons) > 10:
        lines.append(f"   and {len(verdict.persons) - 10} persons more")
    if verdict.decisive and verdict.decisive.faces[0].seconds is not None:
        lines += [f" In time    : {in_time(verdict.decisive)}"]
    lines += [f" Caution    : {caution.text}" for caution in verdict.cautions]
    if verdict.sha256:
        lines.append(f" SHA-256    : {verdict.sha256}")
    return "\n".join([*lines, *of_model(model), "", f" {MEANINGS[verdict.state]}"])


def of_model(model: Model) -> list[str]:
    """Which weights judged, and what they are good for."""
    return [f" Weights    : {model.file}: {model.good_for}", f"              {model.sha256}"]


def table(verdicts: Sequence[Verdict]) -> str:
    """One line a file."""
    rows = [("Verdict", "Score", "Faces", "File")]
    for verdict in verdicts:
        score = "" if verdict.score is None else f"{verdict.score:.4f}"
        failed = verdict.state == UNREADABLE
        name = shown(verdict.path) + (f"  ({verdict.reason})" if failed else "")
        rows.append((WORDS[verdict.state], score, str(len(verdict.faces) or ""), name))
    counts = {s: sum(v.state == s for v in verdicts) for s in WORDS}
    total = ", ".join(f"{n} {WORDS[s].lower()}" for s, n in counts.items() if n)
    lines = [
        f" {verdict:<22} {score:>7} {faces:>6}  {name}" for verdict, score, faces, name in rows
    ]
    return "\n".join([*lines, f" {count(len(verdicts), 'file')}: {total}"])


# --------------------------------------------------------------------------- small pieces


def score_words(verdict: Verdict) -> str:
    """What the number is worth by the temperature, where one was fitted, and among what."""
    if verdict.probability is not None and verdict.limits:
        share, data = f"{verdict.probability:.1%}", verdict.limits.data
        return f"as calibrated {share} of such are fakes among {data}"
    return "higher is more like a fake; not a probability"


def limits_words(limits: Limits) -> str:
    note = f"; {limits.note}" if limits.note else ""
    return (
        f"below {limits.low:.4f} no signs, above {limits.high:.4f} signs (from {limits.data}{note})"
    )


def looked_at(verdict: Verdict) -> str:
    """What was examined, in numbers."""
    media, searched = verdict.media, verdict.searched
    assert media and searched
    people = count(len(verdict.persons), "person")
    faces = f"{count(len(verdict.faces), 'face')} of {people}"
    size = f"{searched.size[0]} x {searched.size[1]}"
    if media.kind == "photo":
        return f"a photo of {size} pixels ({media.format}): {faces}"
    # How long an animated picture lasts only decoding all of it would tell.
    length = f", {clock(searched.seconds)}" if searched.seconds or searched.total < 2 else ""
    return (
        f"{searched.frames} of {count(searched.total, 'frame')}{length} of {size} pixels "
        f"({media.format}): {faces}"
    )


def person_score(person: Person) -> str:
    """A number only where there is a verdict: that of too little is read as one all the same."""
    known = person.score is not None and person.state != NOT_ENOUGH
    return f"score {person.score:.4f}" if known else "no score"


def in_time(person: Person) -> str:
    """The scores of one person, face by face in the order of time, and the highest."""
    scored = [face for face in person.faces if face.score is not None]
    highest = max(scored, key=lambda face: face.score or 0.0)
    bars = "▁▂▃▄▅▆▇█"
    line = "".join(bars[min(7, int(8 * (face.score or 0.0)))] for face in scored)
    return f"{line}  highest {highest.score:.4f} at {clock(highest.seconds or 0.0)}"


def clock(seconds: float) -> str:
    """Seconds as 1:02:03.4, without what is not there."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def shown(path: str) -> str:
    """A name that cannot move the terminal's cursor or break its lines."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in path)
