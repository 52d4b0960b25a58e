"""One row a change: its numbers on sources left out, and how they differ from the first row's."""

import math
from collections.abc import Mapping
from pathlib import Path

import utils
from flags import Ablation
from metrics import NAMES
from report import compare, page, plots, tables
from report.cross import CrossPage, Link
from report.result import Result
from report.tables import Table, Value
from utils import UserError

STORED = ("false_positive_rate", "recall")
"""Metrics at the threshold that each run's validation fitted."""

FILES = ("ablation.csv", "ablation.tex", "ablation.html")


def write(
    out: Path,
    about: Mapping[str, str],
    results: Mapping[str, Mapping[str, Result]],
    failed: Mapping[str, Mapping[str, str]],
    config: Ablation,
) -> tuple[str, list[Table]]:
    """Write FILES into `out`; returns the console's text and the tables.

    about: folder of a row -> what it changes. results, failed: folder of a row -> of each of its
    runs, by the source that was left out.
    """
    every = (*results.values(), *failed.values())
    sources = list(dict.fromkeys(source for runs in every for source in runs))
    found = [table_of(out, source, about, results, failed, config) for source in sources]
    rows = [
        {"left_out": source, **row}
        for source, table in zip(sources, found, strict=True)
        for row in tables.records(table)
    ]
    curves = [
        (
            spoken(row) if len(sources) == 1 else f"{spoken(row)}, {source}",
            runs[source].faces.labels,
            runs[source].faces.scores,
        )
        for source in sources[:1]  # of more, the lines could not be told apart
        for row, runs in results.items()
        if source in runs
    ]
    title = f"{config.network}, one change at a time"
    links = [Link(spoken(row), f"{row}/leave_one_out.html", what) for row, what in about.items()]
    shown = CrossPage(title, "Rows", links, found, plots.rocs(curves))
    csv, tex, html = (out / name for name in FILES)
    utils.write_atomic(csv, tables.csv(rows))
    utils.write_atomic(tex, "\n".join(map(tables.latex, found)))
    page.write(html, "cross.html.jinja", shown)
    files = f" Together : {', '.join(str(out / name) for name in FILES)}"
    return "\n\n".join([*map(tables.console, found), files]), found


def table_of(
    out: Path,
    source: str,
    about: Mapping[str, str],
    results: Mapping[str, Mapping[str, Result]],
    failed: Mapping[str, Mapping[str, str]],
    config: Ablation,
) -> Table:
    """All rows on one source that was left out."""
    first, *_ = results
    rows: list[tuple[tables.Cell, ...]] = []
    of_pairs: list[str] = []
    for name, runs in results.items():
        if source not in runs:
            continue
        level = runs[source].faces
        stored = [
            tables.of(level.stored, key) if level.stored else Value(math.nan) for key in STORED
        ]
        alone = name == first or source not in results[first]
        less: tables.Cell = ""
        if not alone:
            less, note = difference(out, first, name, source, config)
            of_pairs += [note] if note else []
        auc = tables.of(level.summary, "auc")
        rows.append((spoken(name), auc, less, *stored, about[name]))
    columns = {"row": "Row", "auc": NAMES["auc"][0]}
    columns |= {"difference": f"Less that of {spoken(first)}"}
    columns |= {key: f"{NAMES[key][0]} at the stored threshold" for key in STORED}
    columns |= {"changes": "Changes"}
    epochs = f"{config.num_epochs} epoch{'s' if config.num_epochs > 1 else ''}"
    if config.same_steps:
        epochs = f"about as many steps as {epochs} of all rows"
    notes = [
        f"Seed {config.seed}, {epochs}. Differences: paired bootstrap over the "
        "same faces; they are those of one training each, and another seed would move every row.",
        *of_pairs,
        *(
            f"{spoken(name)} has no row: {reasons[source]}"
            for name, reasons in failed.items()
            if source in reasons
        ),
    ]
    return Table(columns, rows, f"One change at a time, tested on {source}, not trained on", notes)


def spoken(folder: str) -> str:
    """What a row is called, of the name of its folder."""
    return folder.replace("_", " ")


def difference(
    out: Path, first: str, other: str, source: str, config: Ablation
) -> tuple[Value, str]:
    """AUC of a row less that of the first, over the faces that both scored; and a note where those
    are not all, as where a row finds faces by other rules.
    """
    runs = [compare.read_run(str(out / name / source)) for name in (first, other)]
    try:
        (one, two), _ = compare.in_common(runs)
    except UserError as error:
        return Value(math.nan), f"{spoken(other)} is not compared: {error}"
    table = compare.differences(one, two, config.bootstrap)
    (cell,) = (row[3] for row in table.rows if row[0] == NAMES["auc"][0])
    assert isinstance(cell, Value)
    most = max(len(run.frame) for run in runs)
    few = (
        f"{spoken(other)} is compared over the {len(one.frame):,} of {most:,} faces that both have"
    )
    return cell, "" if len(one.frame) == most else f"{few}."
