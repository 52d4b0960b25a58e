"""How many faces of each class a manifest holds, by split and method: a plot to look at first."""

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

import utils
from curves import FAKE
from report.figure import FAKE_COLOUR, REAL_COLOUR, STYLE, WIDE, png


@matplotlib.rc_context(STYLE)
def save_classes(rows: pd.DataFrame, path: Path) -> None:
    """Write the bars as PNG: reals and each method's fakes, side by side for each split.

    rows: of a manifest, with `split`, `label` and `method`.
    """
    kinds = rows["method"].where(rows["method"] != "", "fake").where(rows["label"] == FAKE, "real")
    table = pd.crosstab(kinds, rows["split"]).reindex(columns=["train", "val", "test"])
    table = table.fillna(0).astype(int)
    order = sorted(table.index, key=lambda kind: (kind != "real", kind))
    figure = Figure(figsize=(WIDE[0], 1.2 + 0.3 * 3 * max(1, len(order))), layout="constrained")
    figure.suptitle(f"{len(rows):,} faces by class", x=0.01, ha="left", fontweight="bold")
    axes = figure.add_subplot()
    height = 0.8 / len(order)
    for number, kind in enumerate(order):
        places = [split + height * number for split in range(len(table.columns))]
        colour = REAL_COLOUR if kind == "real" else FAKE_COLOUR
        bars = axes.barh(places, table.loc[kind], 0.9 * height, color=colour)
        names = [f"{kind} {count:,}" for count in table.loc[kind]]
        axes.bar_label(bars, names, padding=3, fontsize=8)
    axes.set_yticks([split + 0.4 - height / 2 for split in range(3)], list(table.columns))
    axes.set(xlabel="faces", xmargin=0.2)
    axes.invert_yaxis()
    utils.write_atomic(path, png(figure))
