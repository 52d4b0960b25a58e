"""The page of a test: one HTML file that needs nothing else, neither network nor script.

    page.write_page("log/run/test/report.html", Page(title="ResNet on my faces", verdict=(...,)))

Other pages share its look: write(path, "compare.html.jinja", page) fills a template of this folder.
"""

import base64
import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import utils
from report import tables
from report.tables import Table, Value

LIMITS = (
    "These numbers hold for these pictures. A detector finds the kinds of fakes that it was "
    "trained on and often misses others; compression, small faces, make-up, filters and unusual "
    "light can make a real face look fake to it. A score is the network's opinion, not the "
    "probability that somebody forged a picture, and no single score is proof about a person. "
    "The 95 % intervals cover the luck of the draw among faces like these, not a change of "
    "camera, people or forger."
)

LARGEST_PICTURE = 4 * 2**20
"""Bytes; larger pictures are named and not copied into the page."""

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
}


@dataclass(frozen=True)
class Number:
    """One row of the table; NaN or None is shown as undefined, never as a number."""

    name: str
    value: float | int | None
    low: float | None = None
    high: float | None = None
    at_stored: float | int | None = None
    """The same number at the threshold that is stored in the checkpoint; `stored_low` and
    `stored_high` are its interval."""
    meaning: str = ""
    stored_low: float | None = None
    stored_high: float | None = None

    @property
    def stored(self) -> Value:
        """The number at the stored threshold with its interval."""
        ends = (self.stored_low, self.stored_high)
        low, high = (math.nan if end is None else end for end in ends)
        return Value(math.nan if self.at_stored is None else self.at_stored, low, high)


@dataclass(frozen=True)
class Heatmap:
    """One drawn explanation."""

    picture: Path | str
    caption: str
    group: str = ""
    """Such as "most wrong"; neighbours of one group stand under one heading."""


@dataclass(frozen=True)
class Mistake:
    """A face that was called wrongly."""

    picture: Path | str
    path: str
    """The name that is shown; `picture` may be a smaller copy."""
    label: int
    """What is true: 0 real, 1 fake."""
    score: float


@dataclass(frozen=True)
class Failure:
    """A picture that got no score, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Checkpoint:
    """Which weights were tested."""

    name: str
    epoch: str = ""
    sha256: str = ""
    threshold: float | None = None
    """The threshold fitted on validation scores, 0..1."""
    threshold_data: str = ""
    """Name of the validation data that the threshold comes from."""


@dataclass(frozen=True)
class Videos:
    """What the faces say of the videos that they come from; plots as in Page."""

    n: int
    rule: str
    faces: int
    """How many of `faces_in_all` belong to a video."""
    faces_in_all: int
    numbers: Sequence[Number] = ()
    threshold: float = 0.5
    intervals: str = ""
    stored: str = ""
    """The stored threshold of videos and where it comes from; empty: the checkpoint has none."""
    roc: str = ""
    histogram: str = ""
    calibration: Table | None = None
    states: Table | None = None
    """How often each verdict."""
    by_rule: Table | None = None
    failures: Sequence[Failure] = ()


@dataclass(frozen=True)
class Page:
    """What the page shows; a part that is left out becomes a sentence that says so.

    The six plots are SVG text, as report.plots returns it.
    """

    title: str
    verdict: Sequence[str] = ()
    unit: str = "faces"
    """What n, real and fake count."""
    n: int = 0
    real: int = 0
    fake: int = 0
    persons: int | None = None
    threshold: float = 0.5
    """The headline numbers are at this threshold."""
    intervals: str = ""
    """How the intervals were made, such as "bootstrap over 16 persons, 2000 resamples"."""
    numbers: Sequence[Number] = ()
    confusion: str = ""
    histogram: str = ""
    roc: str = ""
    precision_recall: str = ""
    reliability: str = ""
    bins: Table | None = None
    """The numbers of the reliability plot."""
    calibration: Table | None = None
    """What the scores are worth as probabilities, before and after the stored temperature."""
    states: Table | None = None
    """How often each verdict."""
    videos: Videos | None = None
    subgroups: Sequence[Table] = ()
    robustness: str = ""
    robustness_table: Table | None = None
    """What worse pictures cost: the plot and its numbers."""
    learning_curves: str = ""
    mistakes: Sequence[Mistake] = ()
    heatmaps: Sequence[Heatmap] = ()
    failures: Sequence[Failure] = ()
    data: str = ""
    """The manifest that was tested, and which of its rows."""
    checkpoint: Checkpoint | None = None
    configuration: str = ""
    """YAML text."""
    commands: Sequence[str] = ()
    limits: str = LIMITS


def write_page(path: Path | str, page: Page) -> None:
    """Write `page` to `path` as one self-contained HTML file, whole or not at all.

    A picture that is missing, too large or no picture is named in its place; nothing is raised.
    """
    write(path, "page.html.jinja", page)


def write(path: Path | str, template: str, page: Any) -> None:
    """Write what a template of this folder makes of `page`."""
    text = rendered(template, page)
    # A file name may hold bytes that are no UTF-8: shown as \udcff, they cost nobody the page.
    utils.write_atomic(path, text.encode("utf-8", "backslashreplace"))


def rendered(template: str, page: Any) -> str:
    """What a template of this folder makes of `page`, as HTML."""
    return _environment().get_template(template).render(page=page)


def headline(
    tn: int, fp: int, fn: int, tp: int, unit: str = "faces", persons: int | None = None
) -> str:
    """The outcome in one plain sentence, from the counts at the headline threshold.

    "On 32 faces of 16 people the detector found 14 of 16 fakes and raised 1 false alarm on
    16 reals."
    """
    real, fake = tn + fp, fn + tp
    people = "" if persons is None else f" of {_plural(persons, 'person', 'people')}"
    total = real + fake
    start = f"On {total:,} {unit.removesuffix('s') if total == 1 else unit}{people} the detector"
    found = f"found {tp:,} of {_plural(fake, 'fake')}" if fake else "had no fakes to find"
    alarms = f"raised {_plural(fp, 'false alarm')} on {_plural(real, 'real')}"
    return f"{start} {found} and {alarms if real else 'met no reals'}."


# --------------------------------------------------------------------------- small pieces


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": tables.number,
        "plain": tables.plain,
        "plural": _plural,
        "plot": _plot,
        "picture": _picture,
        "groups": _groups,
        "image": lambda content: _data_uri("image/jpeg", content),
    }
    return environment


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _plot(svg: str) -> dict[str, str]:
    """An SVG as a data URI, with its own title as alternative text.

    As an image and not inline: its ids then stay its own, and no text in it becomes markup.
    """
    title = re.search(r"<title>(.*?)</title>", svg, re.DOTALL)
    return {
        "uri": _data_uri("image/svg+xml", svg.encode()),
        "alt": html.unescape(title.group(1)) if title else "plot",
    }


def _picture(path: Path | str) -> dict[str, str]:
    """A picture file as a data URI, or the reason why there is none."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_PICTURE + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or "not a file name"
        return {"uri": "", "reason": f"Not shown: {reason.lower()}."}
    if len(content) > LARGEST_PICTURE:
        return {"uri": "", "reason": f"Not shown: larger than {LARGEST_PICTURE // 2**20} MiB."}
    for signature, kind in SIGNATURES.items():
        if content.startswith(signature):
            return {"uri": _data_uri(kind, content), "reason": ""}
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return {"uri": _data_uri("image/webp", content), "reason": ""}
    return {"uri": "", "reason": "Not shown: no picture that a browser can read."}


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _groups(heatmaps: Sequence[Heatmap]) -> list[tuple[str, list[Any]]]:
    return [(name, list(group)) for name, group in groupby(heatmaps, key=lambda item: item.group)]
