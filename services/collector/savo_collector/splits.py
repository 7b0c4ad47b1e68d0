"""Which side a sample stands on: train, val or test; given once, for ever.

A person's photos, and photos that look alike, stand on one side together, or the holdout would be known from training.
The first of them decides by the hash of its subject; the others follow it.
"""

from __future__ import annotations

from collections.abc import Iterable

import xxhash

from savo_collector.errors import RefusedError
from savo_contracts.samples import RejectionReason, Split

__all__ = ["SHARES", "choose_split", "split_of_subject"]

SHARES = ((Split.TRAIN, 70), (Split.VAL, 20), (Split.TEST, 10))
"""Percent of the subjects."""


def split_of_subject(subject: str) -> Split:
    # The prefix keeps this draw apart from the experiment's buckets, which hash the same subjects.
    point = xxhash.xxh64_intdigest(f"split/{subject}".encode()) % 100
    for split, share in SHARES:
        if point < share:
            return split
        point -= share
    raise AssertionError("the shares add up to 100")


def choose_split(subject: str, given: Iterable[Split], *, train_only: bool) -> Split:
    """`given` holds the splits of the subject's and the look-alikes' samples. Raises `RefusedError` when the photo would link two sides."""
    sides = set(given) | ({Split.TRAIN} if train_only else set())
    if len(sides) > 1:
        names = " and ".join(sorted(side.value for side in sides))
        raise RefusedError(
            RejectionReason.SPLIT_CONFLICT,
            f"the photo links {names}: its subject, its look-alikes or its own limits stand on both sides",
        )
    return sides.pop() if sides else split_of_subject(subject)
