"""Assignment of groups of photos to train, val and test. All photos of a group go to the same split.

The boxes of each class are divided by the shares, not only the photos. Groups are assigned class by class, the rarest
first (iterative stratification: Sechidis et al. 2011, "On the stratification of multi-label data"). Moves and swaps of
groups then reduce the remaining error. A missing class costs more than any error of shares, most in train.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPLITS", "assign_splits"]

SPLITS = ("train", "val", "test")

_TRAIN = 0
_MISSING = {"train": 1e6, "val": 100.0, "test": 100.0}
"""Cost of a class that a split lacks. The cost of a share that is wrong by one point is 0.01."""
_PHOTO_WEIGHT = 0.25
"""Weight of the shares of photos, as a fraction of the weight of all classes."""
_STARTS, _SMALL = 8, 200
"""Number of attempts with at most `_SMALL` groups. More groups need one attempt only."""
_ROUNDS, _MOVES, _SWAPS = 300, 512, 4096
"""Most steps of the improvement, and groups and pairs that a step tries: independent of the number of groups."""

Numbers = NDArray[np.float64]


def assign_splits(
    groups: Sequence[str],
    shares: Sequence[float],
    seed: int,
    boxes: Sequence[Mapping[int, int]] = (),
    train_only: Collection[str] = (),
) -> list[str]:
    """The split of each photo.

    `groups`: the group of each photo. `shares`: fractions of train, val and test. `boxes`: number of boxes by class id
    of each photo. `train_only`: groups that go to train. A split with a share has a photo if there are enough groups.
    """
    if not groups:
        return []
    table = _table(groups, shares, boxes, train_only)
    best: _Assignment | None = None
    for attempt in range(_STARTS if len(table.counts) <= _SMALL else 1):
        assignment = _Assignment(table, np.random.default_rng((seed, attempt)))
        assignment.assign_rarest_first()
        assignment.improve()
        if best is None or assignment.cost() < best.cost() - 1e-9:
            best = assignment
    assert best is not None
    chosen = {name: SPLITS[table.active[split]] for name, split in zip(table.names, best.split.tolist(), strict=True)}
    return [chosen[group] for group in groups]


@dataclass(frozen=True)
class _Table:
    """What is to be divided: a row for each group, a column for each class, for backgrounds and for photos."""

    names: list[str]
    counts: Numbers
    active: list[int]
    """Positions in `SPLITS` of the splits with a share."""
    shares: Numbers
    weights: Numbers
    """Cost of a share error, by column."""
    missing: Numbers
    """Cost of a column that a split lacks, by split and column."""
    fixed: NDArray[np.bool_]
    """Groups that stay in train."""


def _table(
    groups: Sequence[str],
    shares: Sequence[float],
    boxes: Sequence[Mapping[int, int]],
    train_only: Collection[str],
) -> _Table:
    rows = {name: row for row, name in enumerate(dict.fromkeys(groups))}
    columns = {class_id: column for column, class_id in enumerate(sorted({key for photo in boxes for key in photo}))}
    background, photos = len(columns), len(columns) + 1
    counts = np.zeros((len(rows), len(columns) + 2))
    for index, group in enumerate(groups):
        counts[rows[group], photos] += 1
        found = boxes[index] if boxes else {}
        for class_id, count in found.items():
            counts[rows[group], columns[class_id]] += count
        counts[rows[group], background] += bool(boxes) and not found
    active = [index for index, share in enumerate(shares) if share > 0 or (index == _TRAIN and train_only)]
    weights = np.ones(photos + 1)
    weights[photos] = max(1.0, _PHOTO_WEIGHT * len(columns))
    missing = np.repeat(np.array([[_MISSING[SPLITS[index]]] for index in active]), photos + 1, axis=1)
    missing[:, background] = 0
    fixed = np.array([name in set(train_only) for name in rows]) if train_only else np.zeros(len(rows), bool)
    wanted = np.array([shares[index] for index in active], float)
    return _Table(list(rows), counts, active, wanted, weights, missing, fixed)


class _Assignment:
    """The split of each group, as a position in the table's active splits, while it is being searched."""

    def __init__(self, table: _Table, random: np.random.Generator) -> None:
        self._table, self._random = table, random
        self._totals = np.maximum(table.counts.sum(axis=0), 1)
        self.split = np.full(len(table.counts), -1)
        self._have = np.zeros((len(table.active), table.counts.shape[1]))
        for group in np.flatnonzero(table.fixed).tolist():
            self._put(group, _TRAIN)

    def cost(self) -> float:
        return float(sum(self._cost_of(self._have[split], split) for split in range(len(self._have))))

    def assign_rarest_first(self) -> None:
        """Each group goes to the split that is furthest below its share of the rarest class."""
        counts = self._table.counts
        occurrences = (counts > 0).sum(axis=0)
        rank = self._random.permutation(len(counts))
        for column in [*np.argsort(occurrences[:-1], kind="stable").tolist(), counts.shape[1] - 1]:
            open_groups = np.flatnonzero((self.split < 0) & (counts[:, column] > 0))
            order = open_groups[np.lexsort((rank[open_groups], -counts[open_groups, column]))]
            for group in order.tolist():
                self._put(group, self._furthest_below(column))

    def improve(self) -> None:
        """Apply the best move or swap of groups, until none reduces the cost."""
        free = np.flatnonzero(~self._table.fixed)
        for _ in range(_ROUNDS if len(self._have) > 1 and len(free) else 0):
            if not self._apply_best_move(free) and not self._apply_best_swap(free):
                return

    def _furthest_below(self, column: int) -> int:
        missing = self._table.shares[:, None] * self._totals - self._have
        is_absent = self._have[:, column] == 0
        order = np.lexsort((missing[:, -1], missing[:, column], is_absent * self._table.missing[:, column]))
        return int(order[-1])

    def _apply_best_move(self, free: NDArray[np.intp]) -> bool:
        groups = self._sample(free)
        rows, origin = self._table.counts[groups], self.split[groups]
        now = np.array([self._cost_of(have, split) for split, have in enumerate(self._have)])
        leave = self._cost_of(self._have[origin] - rows, origin) - now[origin]
        enter = np.stack([self._cost_of(have + rows, split) - now[split] for split, have in enumerate(self._have)])
        change = leave + enter
        change[origin, np.arange(len(groups))] = np.inf
        split, position = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[split, position] > -1e-9:
            return False
        self._move(int(groups[position]), int(split))
        return True

    def _apply_best_swap(self, free: NDArray[np.intp]) -> bool:
        one, other = self._pairs(free)
        keep = self.split[one] != self.split[other]
        one, other = one[keep], other[keep]
        if not len(one):
            return False
        first, second = self.split[one], self.split[other]
        exchanged = self._table.counts[other] - self._table.counts[one]
        now = np.array([self._cost_of(have, split) for split, have in enumerate(self._have)])
        change = self._cost_of(self._have[first] + exchanged, first) - now[first]
        change += self._cost_of(self._have[second] - exchanged, second) - now[second]
        best = int(np.argmin(change))
        if change[best] > -1e-9:
            return False
        self._move(int(one[best]), int(second[best]))
        self._move(int(other[best]), int(first[best]))
        return True

    def _cost_of(self, have: Numbers, split: int | NDArray[np.intp]) -> Numbers:
        """Cost of what a split has, for each row of `have`: its share errors, and the columns that it lacks."""
        errors = np.abs(have / self._totals - np.expand_dims(self._table.shares[split], -1)) @ self._table.weights
        absent = (have <= 0) * self._table.missing[split]
        return np.asarray(errors + absent.sum(axis=-1))

    def _sample(self, free: NDArray[np.intp]) -> NDArray[np.intp]:
        return free if len(free) <= _MOVES else self._random.choice(free, _MOVES, replace=False)

    def _pairs(self, free: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        if len(free) ** 2 <= 2 * _SWAPS:
            one, other = np.triu_indices(len(free), 1)
            return free[one], free[other]
        return self._random.choice(free, _SWAPS), self._random.choice(free, _SWAPS)

    def _move(self, group: int, split: int) -> None:
        self._have[self.split[group]] -= self._table.counts[group]
        self._put(group, split)

    def _put(self, group: int, split: int) -> None:
        self.split[group] = split
        self._have[split] += self._table.counts[group]
