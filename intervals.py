"""Numbers -> 95 % intervals: whole groups drawn with replacement, and where that is blind."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

AT_ONCE = 2**14
"""So many weights are computed together: few enough for a processor's cache."""

NONE = (float("nan"), float("nan"))
"""No interval."""

Interval = tuple[float, float]


def draws(groups: np.ndarray, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each row counts in the draws of a bootstrap: weights [some, n], some at a time.

    groups: [n]; each draw takes as many groups as there are, with replacement. Rows of one person
    are alike, so drawing rows would promise more certainty than there is (Field & Welsh 2007).
    """
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1 if len(codes) else 0
    random = np.random.default_rng(seed)
    some = max(1, AT_ONCE // max(1, len(codes)))
    for start in range(0, resamples, some):
        drawn = random.integers(0, count, (min(some, resamples - start), count))
        first = count * np.arange(len(drawn))[:, None]
        times = np.bincount((first + drawn).ravel(), minlength=drawn.size)
        yield np.take(times.reshape(drawn.shape).astype(float), codes, axis=1)


def bootstrap(
    measure: Callable[[np.ndarray], dict[str, np.ndarray]],
    groups: np.ndarray,
    resamples: int,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Numbers in each of the draws, [resamples]; `measure` takes weights [some, n]."""
    return joined([measure(weights) for weights in draws(groups, resamples, seed)])


def joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What was measured some draws at a time, of all draws, [resamples]."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def percentile(values: np.ndarray) -> Interval:
    """The middle 95 % of the draws in which a number is defined; NaN where it is in none."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        return NONE
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


def are_equal(values: np.ndarray) -> bool:
    """Whether the middle 95 % of the draws say the same, but for the order of summation."""
    low, high = percentile(values)
    return high - low < 1e-12


def exact(among: np.ndarray, hit: np.ndarray, groups: np.ndarray) -> Interval:
    """Clopper and Pearson's interval (1934) of a rate that is 0 or 1, counting groups, not rows.

    among: [n] bool, the rows that the rate is a share of. hit: [n] bool. NaN for other rates.
    """
    count = len(np.unique(groups[among]))
    if not count or (hit[among].any() and not hit[among].all()):
        return NONE
    bound = 0.025 ** (1 / count)
    return (bound, 1.0) if hit[among].all() else (0.0, 1 - bound)
