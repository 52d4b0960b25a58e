"""Validation scores -> the thresholds and the temperature that a checkpoint carries."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

import curves
from curves import FAKE, REAL

FEW = 20
"""Reals of a source below which their highest scores say little."""


@dataclass(frozen=True)
class Thresholds:
    """Thresholds fitted on validation scores, and the name of the data they come from.

    `threshold` is where false alarms and misses are equal; `t_low`: a share `misses` of the fakes
    score below; `t_high`: a share `alarms` of the reals score above, and of those of no source
    more. Between the two, or where they cross, a score is inconclusive.
    """

    threshold: float
    t_low: float
    t_high: float
    data: str
    unit: str = "face"
    """What was scored: single faces, or whole videos (`video`)."""
    temperature: float = 1.0
    """What logits are divided by before they are read as probabilities; 1: not calibrated."""
    calibration: str = "not fitted"
    """How the temperature came about, or why there is none."""
    auc: float = float("nan")
    """Of the same scores; NaN: not known."""
    alarms: float = 0.05
    misses: float = 0.05

    @property
    def defined(self) -> bool:
        """Whether both limits are numbers; one class alone fits none."""
        return bool(np.isfinite((self.t_low, self.t_high)).all())

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "Thresholds":
        """What a checkpoint stores; fields of other versions are left to their defaults."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in stored.items() if key in known})


NO_THRESHOLDS = Thresholds(float("nan"), float("nan"), float("nan"), "no validation yet")


def fit(
    labels: np.ndarray,
    scores: np.ndarray,
    data: str,
    unit: str = "face",
    sources: np.ndarray | None = None,
    alarms: float = 0.05,
    misses: float = 0.05,
) -> Thresholds:
    """Thresholds and temperature of validation scores of faces or videos; NaN, and 1, where a
    class is missing. The thresholds are of scores as they are, before the temperature.

    sources: the collection of each, [n]: `t_high` is that of the one whose reals score highest,
    of those with FEW reals or more. A large collection would hide that a small one is all alarms.
    alarms, misses: the shares beyond `t_high` and `t_low`.
    """
    fakes, reals = scores[labels == FAKE], scores[labels == REAL]
    if len(fakes) == 0 or len(reals) == 0:
        alone = "not fitted: it takes reals and fakes"
        undefined = replace(NO_THRESHOLDS, alarms=alarms, misses=misses)
        return replace(undefined, data=data, unit=unit, calibration=alone)
    fake, falling, _ = curves.ranked(labels, scores)
    curve = curves.cumulated(fake, falling, np.ones(len(falling)))
    temperature, calibration = curves.fit_temperature(labels, scores)
    of_reals = np.zeros(len(reals)) if sources is None else sources[labels == REAL]
    parts = [part for s in np.unique(of_reals) if len(part := reals[of_reals == s]) >= FEW]
    parts.append(reals)
    return Thresholds(
        threshold=float(curves.equal_error(*curve)[1]),
        t_low=-_with_at_most(misses, -fakes),
        t_high=max(_with_at_most(alarms, part) for part in parts),
        data=data,
        unit=unit,
        temperature=temperature,
        calibration=calibration,
        auc=float(curves.auc(*curve[:2])),
        alarms=alarms,
        misses=misses,
    )


def _with_at_most(share: float, values: np.ndarray) -> float:
    """The least of the values above which lies no more than a share of them: not between two, as
    interpolated quantiles do, above which there may be twice the share of few.
    """
    return float(np.quantile(values, 1 - share, method="inverted_cdf"))
