"""PURE: medians, ranges, percentiles and slopes of a few measured numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, median


@dataclass(frozen=True)
class Summary:
    """The median of some rounds, and the range they span."""

    median: float
    low: float
    high: float


def summary(values: Sequence[float]) -> Summary:
    """Summarise one value a round; raise ValueError when there is none."""
    if not values:
        raise ValueError("nothing was measured")
    return Summary(median(values), min(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours / theirs, round by round, so that what slowed down a whole round cancels."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that is not exceeded by `percent` of all (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return how much a value grows per unit of time (least squares); 0 for a single point."""
    return linear_regression(times, values).slope if len(times) > 1 else 0.0
