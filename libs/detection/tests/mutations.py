"""Hypothesis strategy for damaged files: a few bytes changed, inserted or removed."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["Edit", "edits", "mutated"]

Edit = tuple[float, bytes, int]
"""Position (share of the length), inserted bytes, and number of removed bytes."""

# Squared: most edits are in the header, where parsers are most fragile.
edits = st.lists(
    st.tuples(st.floats(0, 1).map(lambda share: share**2), st.binary(max_size=8), st.integers(0, 8)),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, changes: list[Edit]) -> bytes:
    for share, new, removed in changes:
        at = int(share * len(data))
        data = data[:at] + new + data[at + removed :]
    return data
