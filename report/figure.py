"""What all plots share: ink and paper, axes from 0 to 100 %, SVG text that says its numbers.

Colours are Okabe and Ito's, which the colour-blind can tell apart
(https://jfly.uni-koeln.de/color/).
"""

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

REAL_COLOUR, FAKE_COLOUR = "#0072B2", "#D55E00"
TRAIN_COLOUR, VALID_COLOUR = "#666666", "#009E73"
INK, GREY, FAINT = "#222222", "#666666", "#999999"
DASHES = (0, (4, 3))
LINES = ("#222222", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of several lines in one plot; their dashes differ too, for a black-and-white print."""

LINE_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1.2, 2)))
SQUARE, WIDE = (4.6, 4.6), (8.5, 3.5)
"""Sizes in inches."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",  # looks the same on a machine without the font
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
}


class Plot(str):
    """A plot as SVG text, which can also be drawn as a picture."""

    figure: Figure

    def png(self) -> bytes:
        """The plot as PNG."""
        return png(self.figure)


def panel(heading: str, room: float = 0.0) -> tuple[Figure, Axes]:
    """Axes under a heading. room: inches more of height, for a legend of many lines."""
    figure = Figure(figsize=(SQUARE[0], SQUARE[1] + room), layout="constrained")
    figure.suptitle(heading, x=0.02, ha="left", fontsize=11, fontweight="bold")
    axes = figure.add_subplot()
    axes.set_title(" ", fontsize=7.5, pad=12)  # room for subtitle()
    return figure, axes


def subtitle(figure: Figure, numbers: str) -> None:
    """The line below the heading; from the figure's edge on, for it may be wider than the axes."""
    below_heading = 1 - 0.345 / figure.get_figheight()
    figure.text(0.02, below_heading, numbers, fontsize=7.5, color=GREY, va="center")


def square(heading: str, numbers: str, room: float = 0.0) -> tuple[Figure, Axes]:
    """Axes from 0 to 100 % both ways."""
    figure, axes = panel(heading, room)
    subtitle(figure, numbers)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, 0, ""))
    axes.grid()
    return figure, axes


def in_words(heading: str, sentence: str) -> Plot:
    """A plot that cannot be drawn says why, as SVG text."""
    return svg(figure_of_words(heading, sentence, SQUARE[0]), f"{heading}: {sentence}")


def figure_of_words(heading: str, sentence: str, width: float) -> Figure:
    figure = Figure(figsize=(width, 0.9))
    figure.text(0.02, 0.9, heading, fontsize=11, fontweight="bold", va="top")
    figure.text(0.02, 0.35, sentence, fontsize=8, va="center")
    return figure


def svg(figure: Figure, words: str) -> Plot:
    """The figure as SVG text, titled with `words` for those who cannot see it."""
    text = io.StringIO()
    # The salt names the SVG's inner ids: by the words, so that two plots in one page differ.
    with matplotlib.rc_context({"svg.hashsalt": words}):
        metadata = {"Date": None, "Creator": None, "Title": words}
        figure.savefig(text, format="svg", metadata=metadata)
    plot = Plot(text.getvalue())
    plot.figure = figure
    return plot


@matplotlib.rc_context(STYLE)
def png(figure: Figure) -> bytes:
    """The figure as PNG, 160 dots an inch; the same figure gives the same bytes."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=160, metadata={"Software": None})
    return picture.getvalue()
