"""Folds of a data set: photos of a group are in the same fold, so that no model sees a look-alike of what it judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from savo_datasets.formats.samples import Sample

__all__ = ["fold_of_samples"]


def fold_of_samples(samples: Sequence[Sample], folds: int) -> list[int]:
    """The fold of each sample. Groups go, the largest first, to the fold with the fewest photos.

    A sample without a group is a group of its own.
    """
    groups = [sample.group or f"photo {sample.name}" for sample in samples]
    sizes: Counter[int] = Counter(dict.fromkeys(range(folds), 0))
    fold_of: dict[str, int] = {}
    for group, count in sorted(Counter(groups).items(), key=lambda entry: (-entry[1], entry[0])):
        fold_of[group] = min(range(folds), key=lambda fold: sizes[fold])
        sizes[fold_of[group]] += count
    return [fold_of[group] for group in groups]
