"""The mean of ratios with its confidence interval: how far the ratio of another run of the same bench may lie away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

# Student's t for 95 %, both sides, from 1 degree of freedom on; any table of the distribution has them. For more than
# 30 the last is taken: the true value is up to 4 % smaller, so the interval is a little too wide.
T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class Interval:
    """A ratio, and between which two it lies with a confidence of 95 %, from a number of rounds."""

    middle: float
    low: float
    high: float
    rounds: int

    def contains(self, bound: float) -> bool:
        """Say whether `bound` lies inside: then the rounds do not show on which side of it the ratio is."""
        return self.low < bound < self.high


def of_ratios(ratios: Sequence[float]) -> Interval:
    """Return the geometric mean of `ratios`, each above 0, and its interval by Student's t on their logarithms.

    Twice as fast and half as fast cancel each other out, as they should, which the arithmetic mean of ratios misses.
    One ratio shows nothing about the next: its interval has no bounds.
    """
    logarithms = [math.log(ratio) for ratio in ratios]
    middle, count = fmean(logarithms), len(logarithms)
    if count < 2:
        return Interval(math.exp(middle), 0.0, math.inf, count)
    margin = T[min(count - 1, len(T)) - 1] * stdev(logarithms) / math.sqrt(count)
    return Interval(math.exp(middle), math.exp(middle - margin), math.exp(middle + margin), count)
