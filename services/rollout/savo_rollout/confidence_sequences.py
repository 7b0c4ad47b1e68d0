"""Anytime-valid bounds for the mean of values in 0…1: looking after every scan costs nothing.

Method: testing by betting. A gambler who believes "the mean is above m" stakes a fraction c of the wealth on every
subject; if the mean is m or less, no strategy makes the wealth reach 1/α with probability above α, at whatever moment
one looks (Ville's inequality). One stake is not best for every truth, so the wealth is spread over a few stakes that
are fixed in advance; the sum of fair games is again a fair game. All means m that the wealth has not refuted form the
confidence sequence.

    I. Waudby-Smith, A. Ramdas: Estimating means of bounded random variables by betting. JRSS B 86(1), 2024 (capital
    process; several fixed stakes at once is its "diversified Kelly betting"). J. Ville: Étude critique de la notion de
    collectif, 1939.

**What is a value.** One subject gives one value to a sequence, so that subjects are the unit: scans of one kitchen
resemble one another and must not count as independent. The value is that of the subject's *first* scan in the sequence
(first confirmed one for accuracy and corrections, first ended one for latency, cost and failures), not the mean over
the subject's scans: a mean that goes on changing after it was bet on would break the rule that a stake is laid before
the value is known. Subjects come in the order of their first scan, and the bucket (a hash of experiment and subject)
makes each next one a fresh draw.

**Order.** Stakes are fixed, so the wealth is a product with one factor for each subject: it depends on the values, not
on their order. A revised confirmation replaces one factor, a replay in another order gives the same verdict, and an
erased subject's factor goes with its data. A histogram of values is all that has to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "STAKES",
    "WEIGHTS",
    "Values",
    "log_wealth_above",
    "log_wealth_below",
    "log_wealth_path",
    "lower_bound",
    "upper_bound",
]

STAKES = np.array([0.04, 0.12, 0.35, 0.65, 0.98])
"""Fractions of the most that may be staked without ruin.

Large ones pass a clearly good model soon, small ones notice a slight breach of a rare fault.
"""

WEIGHTS = np.array([0.1, 0.1, 0.25, 0.25, 0.3])
"""Share of the starting wealth that plays each stake; they sum to 1."""

_HALVINGS = 30


@dataclass(frozen=True)
class Values:
    """A histogram: distinct values in 0…1 and how many subjects have each."""

    values: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, int]]) -> Self:
        listed = list(pairs)
        return cls(
            np.array([value for value, _ in listed], dtype=np.float64),
            np.array([count for _, count in listed], dtype=np.float64),
        )

    @property
    def subjects(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """None without subjects."""
        return float(self.values @ self.counts / self.counts.sum()) if self.counts.size else None

    def mirrored(self) -> Values:
        return Values(1.0 - self.values, self.counts)


def log_wealth_above(values: Values, mean: float) -> float:
    """Log of the wealth of a gambler against "the mean is `mean` or less"; 0 < mean < 1.

    A log wealth of log(1/α) or more refutes it at level α.
    """
    gains = np.log1p(np.outer(STAKES, values.values / mean - 1.0)) @ values.counts + np.log(WEIGHTS)
    top = float(gains.max())
    return top + float(np.log(np.exp(gains - top).sum()))


def log_wealth_below(values: Values, mean: float) -> float:
    """The same against "the mean is `mean` or more"."""
    return log_wealth_above(values.mirrored(), 1.0 - mean)


def log_wealth_path(sequence: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """`log_wealth_above` after each value of a sequence, as someone sees it who looks every time."""
    gains = np.cumsum(np.log1p(np.outer(STAKES, sequence / mean - 1.0)), axis=1) + np.log(WEIGHTS)[:, None]
    return np.asarray(np.logaddexp.reduce(gains, axis=0))


def lower_bound(values: Values, alpha: float) -> float:
    """The mean is above this, at any moment, with probability ≥ 1 − α.

    Found by bisection: the wealth falls as the refuted mean grows.
    """
    needed = -np.log(alpha)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if log_wealth_above(values, middle) >= needed else (low, middle)
    return low


def upper_bound(values: Values, alpha: float) -> float:
    """The mean is below this, at any moment, with probability ≥ 1 − α."""
    return 1.0 - lower_bound(values.mirrored(), alpha)
