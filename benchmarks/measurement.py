"""Measurement: rounds in which contenders alternate, and ratios of paired results with confidence intervals.

Contenders alternate so that a change of the machine's speed affects all of them.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

T = TypeVar("T")

RESAMPLES = 2000
LONG = 4
"""Factor of rounds in a long run, which halves the width of the intervals."""
SEED = 11


@dataclass(frozen=True)
class Figure:
    """One row of the table: the product's value, the peer's, and how many times better ours is (95 % interval)."""

    name: str
    unit: str
    ours: float
    peer_name: str
    peer: float
    ratio: float
    ratio_lower: float
    ratio_upper: float
    note: str = ""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def long_run() -> bool:
    return bool(os.environ.get("BENCH_LONG"))


def rounds(usual: int) -> int:
    """The number of rounds of this run."""
    return usual * LONG if long_run() else usual


def run_interleaved(
    contenders: dict[str, Callable[[], object]], *, rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each contender in each round. The order of contenders rotates with each round."""
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            contenders[name]()
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def paired_speedup(
    name: str, ours: Sequence[float], peer_name: str, peer: Sequence[float], *, note: str = ""
) -> Figure:
    """From paired seconds: median milliseconds, and the median of the peer's time ÷ ours. Above 1, ours is faster."""
    ratios = [peer_seconds / our_seconds for our_seconds, peer_seconds in zip(ours, peer, strict=True)]
    lower, upper = interval(ratios)
    return Figure(
        name,
        "ms",
        statistics.median(ours) * 1000,
        peer_name,
        statistics.median(peer) * 1000,
        statistics.median(ratios),
        lower,
        upper,
        note,
    )


def bootstrap_ratio(
    name: str,
    unit: str,
    ours: Sequence[T],
    peer_name: str,
    peer: Sequence[T],
    figure: Callable[[Sequence[T]], float],
    *,
    higher_is_better: bool,
    note: str = "",
) -> Figure:
    """A figure over all rounds, such as a quantile. The bootstrap resamples whole rounds, paired with the peer's."""

    def ratio(drawn: Sequence[int]) -> float:
        our_figure, peer_figure = figure([ours[index] for index in drawn]), figure([peer[index] for index in drawn])
        return our_figure / peer_figure if higher_is_better else peer_figure / our_figure

    round_indexes = range(len(ours))
    draw = random.Random(SEED)
    ratios = sorted(ratio(draw.choices(round_indexes, k=len(round_indexes))) for _ in range(RESAMPLES))
    return Figure(
        name, unit, figure(ours), peer_name, figure(peer), ratio(round_indexes), *percentile_interval(ratios), note
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median, by bootstrap with a fixed seed."""
    draw = random.Random(SEED)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return percentile_interval(medians)


def percentile_interval(drawn: Sequence[float]) -> tuple[float, float]:
    """Bounds of the middle 95 % of `RESAMPLES` sorted values."""
    return drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES) - 1]
