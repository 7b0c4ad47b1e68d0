"""How every figure here is measured: contenders in turn, round by round, so that a drifting machine touches all alike."""

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
"""Times as many rounds in `make bench-long`: the intervals are half as wide."""
SEED = 11


@dataclass(frozen=True)
class Figure:
    """One line of the table: ours, the peer's, and how many times better ours is, with a 95 % interval."""

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
    return usual * LONG if long_run() else usual


def in_turn(contenders: dict[str, Callable[[], object]], *, rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each contender in each round; the order within a round is turned every time."""
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warm_up, rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            contenders[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def faster(name: str, ours: Sequence[float], peer_name: str, peer: Sequence[float], *, note: str = "") -> Figure:
    """From paired seconds: milliseconds at the median, and the peer's time ÷ ours (above 1: ours is faster)."""
    ratios = [theirs / mine for mine, theirs in zip(ours, peer, strict=True)]
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


def of_rounds(
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
    """A figure over all rounds together, such as a quantile. The interval draws whole rounds, ours and the peer's of one round together."""

    def ratio(drawn: Sequence[int]) -> float:
        mine, theirs = figure([ours[turn] for turn in drawn]), figure([peer[turn] for turn in drawn])
        return mine / theirs if higher_is_better else theirs / mine

    turns = range(len(ours))
    draw = random.Random(SEED)
    ratios = sorted(ratio(draw.choices(turns, k=len(turns))) for _ in range(RESAMPLES))
    return Figure(name, unit, figure(ours), peer_name, figure(peer), ratio(turns), *middle_95(ratios), note)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median, by bootstrap with a fixed seed."""
    draw = random.Random(SEED)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return middle_95(medians)


def middle_95(drawn: Sequence[float]) -> tuple[float, float]:
    return drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES) - 1]
