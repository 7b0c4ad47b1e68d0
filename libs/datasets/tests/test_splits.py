"""Assignment of groups to splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savo_datasets.class_table import ClassTable, class_table, read_same_session
from savo_datasets.groups import Groups
from savo_datasets.splits import SPLITS, assign_splits

SHARES = (0.7, 0.2, 0.1)


@settings(max_examples=25)
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


def divide(
    groups: list[str], boxes: list[Counter[int]], seed: int = 0, **train_only: Any
) -> tuple[list[str], ClassTable]:
    splits = assign_splits(groups, SHARES, seed, boxes, **train_only)
    names = [f"class {number}" for number in range(1 + max(key for photo in boxes for key in photo))]
    return splits, class_table(names, boxes, splits, Groups(groups, groups), **train_only)


def share_error(table: ClassTable) -> float:
    """Mean over classes and splits, in points."""
    errors = []
    for boxes in table.boxes.values():
        total = sum(boxes.values())
        errors += [abs(boxes[split] / total - share) for split, share in zip(SPLITS, SHARES, strict=True) if total]
    return 100 * sum(errors) / len(errors)


def generated(seed: int, groups: int, classes: int) -> tuple[list[str], list[Counter[int]]]:
    """Groups of 1 to 8 photos with 1 to 4 of their group's own classes. Later classes are rarer."""
    random = Random(seed)
    names, boxes = [], []
    for group in range(groups):
        own = {min(int(random.expovariate(4 / classes)), classes - 1) for _ in range(4)}
        for _ in range(random.randint(1, 8)):
            names.append(f"group {group}")
            boxes.append(Counter({class_id: random.randint(1, 4) for class_id in own if random.random() < 0.7}))
    return names, boxes


@pytest.mark.parametrize("seed", range(10))
def test_generated_sets_have_each_class_where_it_can_be_and_close_to_its_share(seed: int) -> None:
    groups, boxes = generated(seed, groups=120, classes=16)
    splits, table = divide(groups, boxes, seed)
    assert not any(table.gaps.values()), table.gaps
    assert table.missing["train"] == []
    assert share_error(table) <= 10
    assert len({(group, split) for group, split in zip(groups, splits, strict=True)}) == len(set(groups))


def test_rare_classes_are_taught_first_and_then_measured() -> None:
    boxes = [*(Counter({0: 3}) for _ in range(40)), Counter({1: 1}), *(Counter({2: 1}) for _ in range(2))]
    _, table = divide([str(number) for number in range(len(boxes))], boxes)
    assert table.boxes["class 1"] == {"train": 1, "val": 0, "test": 0}
    assert table.boxes["class 2"]["train"] == 1
    assert sum(table.boxes["class 2"].values()) == 2
    assert table.gaps == {"train": [], "val": [], "test": []}
    assert table.missing["train"] == []


def test_groups_for_train_alone_stay_there_and_their_classes_are_no_gap() -> None:
    boxes = [*(Counter({0: 1}) for _ in range(30)), Counter({1: 1}), Counter({1: 1})]
    groups = [str(number) for number in range(len(boxes))]
    splits, table = divide(groups, boxes, train_only={"30", "31"})
    assert splits[30:] == ["train", "train"]
    assert table.missing["val"] == ["class 1"]
    assert not any(table.gaps.values())


def test_one_group_goes_to_train_with_a_warning() -> None:
    splits, table = divide(["fridge"] * 5, [Counter({0: 1})] * 5)
    assert set(splits) == {"train"}
    assert table.warnings == [
        "val has no photo: train needs each group that is left: label more",
        "test has no photo: train needs each group that is left: label more",
        "the group of fridge has 100% of the photos and stays in one split",
    ]


def test_a_class_that_train_lacks_or_a_split_could_have_is_a_gap() -> None:
    boxes = [Counter({0: 1}), Counter({0: 1}), Counter({0: 1}), Counter({1: 1})]
    groups = Groups(["a", "b", "c", "d"], ["a", "b", "c", "d"])
    table = class_table(["egg", "milk"], boxes, ["train", "train", "val", "test"], groups)
    assert table.gaps == {"train": ["milk"], "val": [], "test": ["egg"]}
    fixed = class_table(["egg", "milk"], boxes, ["train", "train", "val", "test"], groups, is_fixed=True)
    assert fixed.gaps == {"train": ["milk"], "val": [], "test": []}


def test_a_group_that_train_cannot_do_without_makes_no_gap() -> None:
    boxes = [Counter({0: 1, 1: 1}), Counter({0: 1, 2: 1}), Counter({0: 1})]
    splits, table = divide(["ann", "bob", "eve"], boxes)
    assert splits == ["train", "train", "val"], "ann alone has class 1, bob alone has class 2"
    assert table.missing["test"] == ["class 0", "class 1", "class 2"]
    assert not any(table.gaps.values()), table.gaps
    assert table.warnings == ["test has no photo: train needs each group that is left: label more"]


def test_a_class_measured_on_a_session_of_train_alone_is_marked(tmp_path: Path) -> None:
    boxes = [Counter({0: 1, 1: 1}), Counter({0: 1, 1: 1}), Counter({1: 1})]
    groups = Groups(["a", "b", "c"], ["a", "a", "c"])
    table = class_table(["egg", "milk"], boxes, ["train", "val", "val"], groups)
    assert table.same_session == ["egg"]
    assert read_same_session(tmp_path) == ()
    table.write(tmp_path)
    assert read_same_session(tmp_path) == ("egg",)
