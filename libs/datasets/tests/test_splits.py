"""Assignment of groups to splits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from savo_datasets.splits import assign_splits


@given(st.lists(st.integers(0, 12), min_size=30, max_size=120), st.integers(0, 5))
def test_a_group_is_in_one_split_and_the_same_seed_gives_the_same_splits(groups: list[int], seed: int) -> None:
    named = [str(group) for group in groups] + ["a", "b", "c"]
    splits = assign_splits(named, (0.7, 0.2, 0.1), seed)
    for group in set(named):
        assert len({split for name, split in zip(named, splits, strict=True) if name == group}) == 1
    assert splits == assign_splits(named, (0.7, 0.2, 0.1), seed)


def test_splits_have_their_shares_when_groups_are_small() -> None:
    splits = assign_splits([str(number) for number in range(100)], (0.7, 0.2, 0.1), 0)
    assert [splits.count(split) for split in ("train", "val", "test")] == [70, 20, 10]
