"""Split of a sample: train, val or test, assigned once and never changed.

A subject's photos, and their near-duplicates, share one split: otherwise the model would be measured on photos that it
was trained on. The first photo decides, by the hash of its subject.
"""

from __future__ import annotations

from collections.abc import Iterable

import xxhash

from savo_collector.errors import RejectedError
from savo_contracts.samples import RejectionReason, Split

__all__ = ["SHARES", "choose_split", "split_of_subject"]

SHARES = ((Split.TRAIN, 70), (Split.VAL, 20), (Split.TEST, 10))
"""Percent of the subjects."""


def split_of_subject(subject: str) -> Split:
    """The split by the hash (xxh64) of the subject, in the proportions of SHARES."""
    # With the prefix, splits are independent of the experiment's buckets, which hash the same subjects.
    point = xxhash.xxh64_intdigest(f"split/{subject}".encode()) % 100
    for split, share in SHARES:
        if point < share:
            return split
        point -= share
    raise AssertionError("the shares add up to 100")


def choose_split(subject: str, given: Iterable[Split], *, train_only: bool) -> Split:
    """The split of a photo. `given`: splits of the subject's samples and of near-duplicates.

    Raises `RejectedError(split-conflict)` when these, or `train_only`, ask for more than one split.
    """
    splits = set(given) | ({Split.TRAIN} if train_only else set())
    if len(splits) > 1:
        names = " and ".join(sorted(split.value for split in splits))
        raise RejectedError(
            RejectionReason.SPLIT_CONFLICT,
            f"the photo belongs to {names}: by its subject's samples, its near-duplicates, or because it is anonymous "
            "or not fully labelled, which allows train only",
        )
    return splits.pop() if splits else split_of_subject(subject)
