"""Assignment of groups of photos to train, val and test. All photos of a group go to the same split."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["SPLITS", "assign_splits"]

SPLITS = ("train", "val", "test")


def assign_splits(groups: Sequence[str], shares: Sequence[float], seed: int) -> list[str]:
    """The split of each photo. `groups`: the group of each photo. `shares`: fractions of train, val and test.

    In order of size, each group goes to the split that is furthest below its share; the seed breaks ties.
    Raises `ValueError` with fewer groups than splits.
    """
    sizes = Counter(groups)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)  # noqa: S311 reproducible, not secret
    order.sort(key=lambda group: -sizes[group])
    missing = {split: share * len(groups) for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    if len(order) < len(missing):
        raise ValueError(f"{len(groups)} photos form {len(sizes)} group(s), too few for {len(missing)} splits")
    assigned: dict[str, str] = {}
    for group in order:
        split = max(missing, key=lambda name: missing[name])
        assigned[group] = split
        missing[split] -= sizes[group]
    _fill_empty(assigned, order, missing)
    return [assigned[group] for group in groups]


def _fill_empty(assigned: dict[str, str], order: Sequence[str], splits: Iterable[str]) -> None:
    """Give each empty split the smallest group of the split with the most groups."""
    for split in splits:
        if split not in assigned.values():
            fullest = Counter(assigned.values()).most_common(1)[0][0]
            assigned[next(group for group in reversed(order) if assigned[group] == fullest)] = split
