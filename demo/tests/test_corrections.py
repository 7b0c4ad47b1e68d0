from __future__ import annotations

import pytest

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Action
from savo_datasets.labels import TruthBox
from savo_demo.corrections import AnsweredItem, Edit, corrections


def box(x: float, y: float = 0.1, width: float = 0.2, height: float = 0.2) -> BoundingBox:
    return BoundingBox(x=x, y=y, width=width, height=height)


TRUE = box(0.1)
NEAR = box(0.12)  # IoU 0.82 with TRUE
SHIFTED = box(0.19)  # IoU 0.38
AWAY = box(0.6)

EGG = TruthBox("egg", TRUE)

TABLE = [
    (
        "right name, good box: kept, with the detector's box",
        [AnsweredItem("egg", NEAR)],
        [EGG],
        [Edit("egg", Action.KEPT, NEAR)],
    ),
    (
        "wrong name, good box: renamed",
        [AnsweredItem("lemon", NEAR)],
        [EGG],
        [Edit("egg", Action.RENAMED, NEAR, from_label="lemon")],
    ),
    (
        "right name, shifted box: moved to the true box",
        [AnsweredItem("egg", SHIFTED)],
        [EGG],
        [Edit("egg", Action.MOVED, TRUE)],
    ),
    (
        "right name, somewhere else: removed and added",
        [AnsweredItem("egg", AWAY)],
        [EGG],
        [Edit("egg", Action.REMOVED, AWAY), Edit("egg", Action.ADDED, TRUE)],
    ),
    (
        "wrong name, shifted box: removed and added",
        [AnsweredItem("lemon", SHIFTED)],
        [EGG],
        [Edit("lemon", Action.REMOVED, SHIFTED), Edit("egg", Action.ADDED, TRUE)],
    ),
    ("missed: added with its box", [], [EGG], [Edit("egg", Action.ADDED, TRUE)]),
    ("nothing is there: removed", [AnsweredItem("egg", NEAR)], [], [Edit("egg", Action.REMOVED, NEAR)]),
    (
        "detected twice: one kept, one removed",
        [AnsweredItem("egg", NEAR), AnsweredItem("egg", TRUE)],
        [EGG],
        [Edit("egg", Action.REMOVED, NEAR), Edit("egg", Action.KEPT, TRUE)],
    ),
    (
        "a name without a box: moved to the true box",
        [AnsweredItem("egg")],
        [EGG],
        [Edit("egg", Action.MOVED, TRUE)],
    ),
    ("nothing at all", [], [], []),
]


@pytest.mark.parametrize(("answer", "truth", "edits"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_users_correct_an_answer_from_the_truth(
    answer: list[AnsweredItem], truth: list[TruthBox], edits: list[Edit]
) -> None:
    assert list(corrections(answer, truth)) == edits


def test_of_two_true_items_in_one_box_the_one_with_the_right_label_matches() -> None:
    lemon = TruthBox("lemon", box(0.11))
    edits = corrections([AnsweredItem("lemon", TRUE)], [EGG, lemon])
    assert [(edit.label, edit.action) for edit in edits] == [("lemon", Action.KEPT), ("egg", Action.ADDED)]


def test_every_answered_and_every_true_item_has_exactly_one_edit() -> None:
    truth = [EGG, TruthBox("milk", box(0.5)), TruthBox("milk", box(0.75))]
    answer = [
        AnsweredItem("milk", box(0.51)),
        AnsweredItem("bread", box(0.1, 0.7)),
        AnsweredItem("egg", SHIFTED),
        AnsweredItem("cheese", box(0.74)),
    ]
    edits = corrections(answer, truth)
    assert [edit.action for edit in edits] == [Action.KEPT, Action.REMOVED, Action.MOVED, Action.RENAMED]


def test_an_edit_has_the_json_form_of_the_gateway() -> None:
    assert Edit("egg", Action.RENAMED, TRUE, from_label="lemon").as_json() == {
        "label": "egg",
        "action": "renamed",
        "bbox": {"x": 0.1, "y": 0.1, "width": 0.2, "height": 0.2},
        "from_label": "lemon",
    }
