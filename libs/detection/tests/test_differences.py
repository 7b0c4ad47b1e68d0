"""Changes between two answers for a photo."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as some

from savo_contracts.geometry import BoundingBox
from savo_detection.differences.comparison import Change, ChangeKind, count_changes, diff_boxes


@dataclass(frozen=True)
class Thing:
    label: str
    bbox: BoundingBox | None
    confidence: float = 0.9


def thing(label: str, x: float | None = 0.1, width: float = 0.2) -> Thing:
    return Thing(label, None if x is None else BoundingBox(x=x, y=0.1, width=width, height=0.2))


def kinds(before: list[Thing], after: list[Thing]) -> list[str]:
    return sorted(change.kind.value for change in diff_boxes(before, after))


def test_the_five_kinds_by_example() -> None:
    assert kinds([thing("egg")], [thing("egg", 0.105)]) == ["same"]
    assert kinds([thing("egg")], [thing("egg", 0.18)]) == ["moved"]
    assert kinds([thing("egg")], [thing("egg", 0.7)]) == ["gained", "lost"]
    assert kinds([thing("egg")], [thing("milk", 0.11)]) == ["relabelled"]
    assert kinds([thing("egg")], [thing("milk", 0.25)]) == ["gained", "lost"]
    assert kinds([], [thing("egg")]) == ["gained"]
    assert kinds([thing("egg")], []) == ["lost"]


def test_the_same_label_comes_before_a_greater_overlap_with_another() -> None:
    before, after = [thing("egg", 0.1)], [thing("milk", 0.1), thing("egg", 0.15)]
    (moved, gained) = sorted(diff_boxes(before, after), key=lambda change: change.kind, reverse=True)
    assert (moved.kind, moved.after) == (ChangeKind.MOVED, after[1])
    assert (gained.kind, gained.after) == (ChangeKind.GAINED, after[0])


def test_an_item_without_a_box_is_paired_with_an_item_of_its_label() -> None:
    assert kinds([thing("egg", None)], [thing("egg")]) == ["same"]
    assert kinds([thing("egg", None), thing("egg", None)], [thing("egg")]) == ["lost", "same"]


def test_all_kinds_are_counted() -> None:
    assert count_changes(diff_boxes([thing("egg")], [])) == {
        "same": 0,
        "moved": 0,
        "relabelled": 0,
        "gained": 0,
        "lost": 1,
    }


boxes = some.builds(
    lambda x, y, width, height: BoundingBox(
        x=x / 20, y=y / 20, width=min(width / 20, 1 - x / 20), height=min(height / 20, 1 - y / 20)
    ),
    *(some.integers(0, 19), some.integers(0, 19), some.integers(1, 20), some.integers(1, 20)),
)
answers = some.lists(
    some.builds(
        Thing,
        some.sampled_from(["egg", "milk", "leek"]),
        some.one_of(some.none(), boxes),
        some.sampled_from([0.3, 0.9]),
    ),
    max_size=7,
)


@given(answers, answers)
def test_each_item_is_in_exactly_one_change(before: list[Thing], after: list[Thing]) -> None:
    changes = diff_boxes(before, after)
    assert Counter(change.before for change in changes if change.before) == Counter(before)
    assert Counter(change.after for change in changes if change.after) == Counter(after)


@given(answers)
def test_an_answer_does_not_differ_from_itself(answer: list[Thing]) -> None:
    assert all(change.kind is ChangeKind.SAME for change in diff_boxes(answer, answer))


@given(answers, answers)
def test_gained_items_are_lost_when_the_answers_are_exchanged(before: list[Thing], after: list[Thing]) -> None:
    forward, backward = count_changes(diff_boxes(before, after)), count_changes(diff_boxes(after, before))
    inverse = {ChangeKind.GAINED: ChangeKind.LOST, ChangeKind.LOST: ChangeKind.GAINED}
    assert {inverse.get(kind, kind): count for kind, count in backward.items()} == forward


@given(answers, answers)
def test_each_change_has_the_kind_of_its_labels_and_overlap(before: list[Thing], after: list[Thing]) -> None:
    assert all(map(_has_correct_kind, diff_boxes(before, after)))


def _has_correct_kind(change: Change) -> bool:
    if change.before is None or change.after is None:
        return change.kind is (ChangeKind.GAINED if change.before is None else ChangeKind.LOST)
    relabelled = change.before.label != change.after.label
    if change.iou is None:
        return change.kind is ChangeKind.SAME and not relabelled
    if relabelled:
        return change.kind is ChangeKind.RELABELLED and change.iou >= 0.5
    return change.kind is (ChangeKind.SAME if change.iou >= 0.8 else ChangeKind.MOVED) and change.iou >= 0.3
