"""The folder of predict.py's `--out`: a page a file, the films with boxes, and the list of all."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import utils
from faces.annotated import Drawn, write_annotated
from faces.media import FILM
from faces.video import UnreadableVideo
from judging import NOT_ENOUGH, Verdict
from report import heatmaps
from report.page import rendered
from report.verdict_page import COLOURS, cams, page
from report.verdict_text import WORDS, count, shown
from verdict import Model


@dataclass
class Listed:
    """One line of the list of many: the verdict, its page."""

    name: str
    link: str
    verdict: str
    score: str
    state: str


@dataclass
class Folder:
    """The folder of `--out`: a page for each file, and index.html of all."""

    out: Path
    model: Model
    method: str = heatmaps.METHOD
    video: bool = False
    listed: list[Listed] = field(default_factory=list)

    def add(self, verdict: Verdict, tell: Callable[[float], object] = lambda share: None) -> Path:
        """Write the page of one verdict, and its film with boxes where that is wanted."""
        stem = f"{len(self.listed) + 1:04d}_{_safe(verdict.path)}"
        film = (
            f"{stem}.mp4"
            if self.video and annotated(verdict, self.out / f"{stem}.mp4", tell)
            else ""
        )
        text = page(verdict, self.model, cams(verdict, self.model, self.method), film)
        file = self.out / f"{stem}.html"
        utils.write_atomic(file, text.encode("utf-8", "backslashreplace"))
        score = "" if verdict.score is None else f"{verdict.score:.4f}"
        line = Listed(shown(verdict.path), file.name, WORDS[verdict.state], score, verdict.state)
        self.listed.append(line)
        return file

    def close(self) -> Path:
        """Write index.html."""
        file = self.out / "index.html"
        about = {"title": f"{count(len(self.listed), 'file')} examined", "files": self.listed}
        about["weights"] = f"{self.model.file}: {self.model.good_for}"
        text = rendered("verdicts.html.jinja", about)
        utils.write_atomic(file, text.encode("utf-8", "backslashreplace"))
        return file


def annotated(
    verdict: Verdict, target: Path, tell: Callable[[float], object] = lambda share: None
) -> bool:
    """Write the film with boxes, scores and a timeline; False where it is no film with faces."""
    if not verdict.media or verdict.media.kind != FILM or not verdict.limits:
        return False
    try:
        write_annotated(
            verdict.path, target, tracks(verdict), (verdict.limits.low, verdict.limits.high), tell
        )
    except UnreadableVideo:  # an animated picture that the film decoder does not know
        print(f"{shown(verdict.path)}: no copy with boxes of an animated picture", file=sys.stderr)
        return False
    return True


def tracks(verdict: Verdict) -> list[Drawn]:
    """The persons as they are drawn into the film: those of whom enough was seen for a score."""
    found = []
    for place, person in enumerate(verdict.persons):
        scored: Any = [f for f in person.faces if f.score is not None and f.seconds is not None]
        if scored and person.state != NOT_ENOUGH:
            found.append(
                Drawn(
                    f"person {person.number + 1}",
                    COLOURS[place % len(COLOURS)],
                    [face.seconds for face in scored],
                    [face.box for face in scored],
                    [face.score for face in scored],
                )
            )
    return found


def _safe(path: str) -> str:
    kept = "".join(
        c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in Path(path).stem
    )
    return kept[:60] or "file"
