"""Verdicts as JSON for programs and CSV for spreadsheets (frozen in CONTRIBUTING.md)."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import utils
from judging import Person, ScoredFace, Verdict
from verdict import Model

FORMAT = 1
"""Version of the JSON; a later one may add keys, and renames none."""

COLUMNS = (
    "path", "state", "score", "limit_low", "limit_high", "persons", "faces", "frames", "seconds",
    "cautions", "reason", "sha256", "checkpoint_sha256",
)  # fmt: skip

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What begins a formula in a spreadsheet (OWASP, CSV injection)."""


def as_json(verdicts: Sequence[Verdict], model: Model) -> str:
    """All verdicts of one call with the checkpoint that gave them."""
    state = model.state
    content = {
        "format": FORMAT,
        "checkpoint": {
            "path": str(model.file),
            "sha256": model.sha256,
            "good_for": model.good_for,
            "network": state["network"]["name"],
            "variant": state["network"]["variant"],
            "epoch": state["epoch"],
            "rule": state["rule"],
            "data": state["data"],
        },
        "files": [of_verdict(verdict) for verdict in verdicts],
    }
    return json.dumps(utils.without_nan(content), indent=2, ensure_ascii=True) + "\n"


def of_verdict(verdict: Verdict) -> dict[str, Any]:
    media, searched, limits = verdict.media, verdict.searched, verdict.limits
    return {
        "path": verdict.path,
        "sha256": verdict.sha256 or None,
        "state": verdict.state,
        "reason": verdict.reason,
        "score": verdict.score,
        "probability": verdict.probability,
        "limits": None if limits is None else vars(limits),
        "rule": verdict.rule or None,
        "persons": [_person(person) for person in verdict.persons],
        "cautions": [vars(caution) for caution in verdict.cautions],
        "media": None if media is None else vars(media),
        "searched": None if searched is None else vars(searched) | {"size": list(searched.size)},
        "took": round(verdict.took, 3),
    }


def _person(person: Person) -> dict[str, Any]:
    faces = [_face(face) for face in person.faces]
    return {"person": person.number, "state": person.state, "score": person.score, "faces": faces}


def _face(face: ScoredFace) -> dict[str, Any]:
    return {
        "frame": face.frame,
        "seconds": face.seconds,
        "box": list(face.box),
        "size": round(face.size, 2),
        "score": face.score,
        "confidence": face.confidence,
        "distance": face.distance,
    }


def as_csv(verdicts: Sequence[Verdict], model: Model) -> str:
    """One line a file; no cell is a formula, whatever a file is called."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for one in verdicts:
        limits, searched = one.limits, one.searched
        cells = (
            one.path, one.state, one.score, limits and limits.low, limits and limits.high,
            len(one.persons), len(one.faces), searched and searched.frames,
            searched and searched.seconds, " ".join(c.kind for c in one.cautions), one.reason,
            one.sha256, model.sha256,
        )  # fmt: skip
        table.writerow([_harmless(cell) for cell in cells])
    return text.getvalue()


def _harmless(cell: Any) -> Any:
    """A cell that a spreadsheet shows and does not compute: numbers stay, texts get a quote."""
    if cell is None or isinstance(cell, (int, float)):
        return "" if cell is None else cell
    text = str(cell).replace("\x00", "")
    # After spaces too: some programs trim a cell before they look at it.
    risky = text.lstrip(" \n").startswith(FORMULA)
    return f"'{text}" if risky else text


def write(verdicts: Sequence[Verdict], model: Model, json_file: str, csv_file: str) -> None:
    """Write what was asked for, each beside and renamed."""
    if json_file:
        utils.write_atomic(Path(json_file), as_json(verdicts, model))
    if csv_file:
        utils.write_atomic(Path(csv_file), as_csv(verdicts, model))
