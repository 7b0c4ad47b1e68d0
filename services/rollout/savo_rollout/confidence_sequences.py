"""Confidence sequences: bounds for the mean of values in 0…1 that are valid at every moment.

Evaluating the bounds after every scan does not increase the error probability.

Method: testing by betting. A gambler who believes "the mean is above m" stakes a fraction c of the wealth on every
subject. If the mean is m or less, the probability that the wealth ever reaches 1/α is at most α (Ville's inequality).
No single stake is best for every true mean, so the wealth is divided over a few stakes that are fixed in advance; a sum
of fair games is again a fair game. All means m that the wealth has not refuted form the confidence sequence.

    I. Waudby-Smith, A. Ramdas: Estimating means of bounded random variables by betting. JRSS B 86(1), 2024 (capital
    process; several fixed stakes at once is its "diversified Kelly betting"). J. Ville: Étude critique de la notion de
    collectif, 1939.

**Values.** Each subject contributes one value to a sequence, because scans of one kitchen are alike and must not count
as independent. The value is that of the subject's *first* scan in the sequence: the first confirmed scan for accuracy
and corrections, the first ended scan for latency, cost and failures. The mean over a subject's scans would not do: it
changes after the bet, but a stake must be laid before the value is known. Subjects are ordered by their first scan,
and the bucket (a hash of experiment and subject) makes each further subject an independent draw.

**Order.** Stakes are fixed, so the wealth is a product with one factor for each subject. It depends on the values, not
on their order: a revised confirmation replaces one factor, a replay in another order leads to the same verdict, and an
erasure removes the subject's factor. A histogram of the values is sufficient.
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
"""Fractions of the largest stake that cannot lose the whole wealth.

Large stakes prove a clearly good model soon, small stakes detect a slightly too high rate of a rare failure.
"""

WEIGHTS = np.array([0.1, 0.1, 0.25, 0.25, 0.3])
"""Share of the starting wealth for each stake; they sum to 1."""

_HALVINGS = 30


@dataclass(frozen=True)
class Values:
    """A histogram: distinct values in 0…1 and how many subjects have each."""

    values: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, int]]) -> Self:
        """From pairs of value and number of subjects."""
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
        """Each value subtracted from 1: turns a lower bound into an upper one."""
        return Values(1.0 - self.values, self.counts)


def log_wealth_above(values: Values, mean: float) -> float:
    """Log of the wealth of a gambler who bets against "the mean is `mean` or less"; 0 < mean < 1.

    A log wealth of log(1/α) or more refutes that statement at level α.
    """
    gains = np.log1p(np.outer(STAKES, values.values / mean - 1.0)) @ values.counts + np.log(WEIGHTS)
    top = float(gains.max())
    return top + float(np.log(np.exp(gains - top).sum()))


def log_wealth_below(values: Values, mean: float) -> float:
    """Log of the wealth of a gambler who bets against "the mean is `mean` or more"."""
    return log_wealth_above(values.mirrored(), 1.0 - mean)


def log_wealth_path(sequence: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """`log_wealth_above` after each value of a sequence."""
    gains = np.cumsum(np.log1p(np.outer(STAKES, sequence / mean - 1.0)), axis=1) + np.log(WEIGHTS)[:, None]
    return np.asarray(np.logaddexp.reduce(gains, axis=0))


def lower_bound(values: Values, alpha: float) -> float:
    """A value that the mean exceeds, at every moment, with probability ≥ 1 − α.

    Found by bisection, because the wealth falls as the refuted mean grows.
    """
    needed = -np.log(alpha)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if log_wealth_above(values, middle) >= needed else (low, middle)
    return low


def upper_bound(values: Values, alpha: float) -> float:
    """A value that the mean stays below, at every moment, with probability ≥ 1 − α."""
    return 1.0 - lower_bound(values.mirrored(), alpha)
