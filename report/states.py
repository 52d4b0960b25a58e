"""How often each verdict: scores against the two limits by which predict.py and demo.py judge."""

import numpy as np
import pandas as pd

import intervals
import metrics
from curves import ratio
from judging import INCONCLUSIVE, NO_SIGNS, SIGNS, Limits
from manifest import FAKE, REAL
from report.subgroups import SMALL
from report.tables import Cell, Table, Value
from report.verdict_text import WORDS

STATES = (SIGNS, INCONCLUSIVE, NO_SIGNS)
"""From fake to real."""


def table(frame: pd.DataFrame, limits: Limits, resamples: int, unit: str) -> Table | None:
    """Shares of the reals and of the fakes, and of each source's where there are several; None
    where the checkpoint holds no limits.

    frame: `label`, `score`, and what metrics.grouping reads. Of a picture or film with several
    persons the verdict is that of the most suspicious; and whoever shows too little gets none.
    """
    if not limits.defined or len(frame) == 0:
        return None
    classes = {"Real": frame[frame["label"] == REAL], "Fake": frame[frame["label"] == FAKE]}
    parts = {name: rows for name, rows in classes.items() if len(rows)}
    if "source" in frame and frame["source"].nunique() > 1:
        for name, rows in classes.items():
            by_source = rows.groupby(rows["source"].astype(str))
            parts |= {
                f"{name}, {source}": own
                for source, own in by_source
                if source and len(own) >= SMALL
            }
    rows = [(name, len(own), *shares(own, limits, resamples)) for name, own in parts.items()]
    columns = {"part": "", "n": "n"} | {state: WORDS[state] for state in STATES}
    odd = f" ({limits.note})" if limits.note else ""
    note = (
        f"Above {limits.high:.4f}, between, below {limits.low:.4f}; limits from "
        f"{limits.data}{odd}, where at most {100 * limits.alarms:.3g} % of the reals lie above and "
        f"{100 * limits.misses:.3g} % of the fakes below."
    )
    return Table(columns, rows, f"How often each verdict: {unit}", (note,))


def shares(frame: pd.DataFrame, limits: Limits, resamples: int) -> list[Cell]:
    """The share of rows in each of STATES with its interval."""
    groups, _ = metrics.grouping(frame)
    found = np.array([limits.state(score) for score in frame["score"]])
    hits = {state: found == state for state in STATES}
    values = {state: float(hit.mean()) for state, hit in hits.items()}
    if resamples == 0 or len(np.unique(groups)) < 2:
        return [Value(value) for value in values.values()]
    drawn = intervals.bootstrap(
        lambda weights: {
            state: ratio(weights @ hit, weights.sum(axis=-1)) for state, hit in hits.items()
        },
        groups,
        resamples,
    )
    everyone = np.ones(len(frame), bool)
    return [
        Value(
            values[state],
            *(
                intervals.exact(everyone, hits[state], groups)
                if intervals.are_equal(drawn[state])
                else intervals.percentile(drawn[state])
            ),
        )
        for state in STATES
    ]
