from __future__ import annotations

import pytest

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Action
from savo_datasets.labels import TruthBox
from savo_demo.corrections import Answered, Edit, corrections


def box(x: float, y: float = 0.1, width: float = 0.2, height: float = 0.2) -> BoundingBox:
    return BoundingBox(x=x, y=y, width=width, height=height)


TRUE = box(0.1)
NEAR = box(0.12)  # IoU 0.82 with TRUE
SLIPPED = box(0.19)  # IoU 0.38
AWAY = box(0.6)

EGG = TruthBox("egg", TRUE)

TABLE = [
    (
        "right name, good box: kept, with the detector's box",
        [Answered("egg", NEAR)],
        [EGG],
        [Edit("egg", Action.KEPT, NEAR)],
    ),
    (
        "wrong name, good box: renamed",
        [Answered("lemon", NEAR)],
        [EGG],
        [Edit("egg", Action.RENAMED, NEAR, from_label="lemon")],
    ),
    (
        "right name, box slipped: moved to the true box",
        [Answered("egg", SLIPPED)],
        [EGG],
        [Edit("egg", Action.MOVED, TRUE)],
    ),
    (
        "right name, somewhere else: removed and added",
        [Answered("egg", AWAY)],
        [EGG],
        [Edit("egg", Action.REMOVED, AWAY), Edit("egg", Action.ADDED, TRUE)],
    ),
    (
        "wrong name, box slipped: removed and added",
        [Answered("lemon", SLIPPED)],
        [EGG],
        [Edit("lemon", Action.REMOVED, SLIPPED), Edit("egg", Action.ADDED, TRUE)],
    ),
    ("missed: added with its box", [], [EGG], [Edit("egg", Action.ADDED, TRUE)]),
    ("nothing there: removed", [Answered("egg", NEAR)], [], [Edit("egg", Action.REMOVED, NEAR)]),
    (
        "seen twice: one kept, one removed",
        [Answered("egg", NEAR), Answered("egg", TRUE)],
        [EGG],
        [Edit("egg", Action.REMOVED, NEAR), Edit("egg", Action.KEPT, TRUE)],
    ),
    (
        "a name without a box is taken at its word: moved to the true box",
        [Answered("egg")],
        [EGG],
        [Edit("egg", Action.MOVED, TRUE)],
    ),
    ("nothing at all", [], [], []),
]


@pytest.mark.parametrize(("answer", "truth", "edits"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_people_correct_from_the_truth(answer: list[Answered], truth: list[TruthBox], edits: list[Edit]) -> None:
    assert list(corrections(answer, truth)) == edits


def test_of_two_true_things_under_one_box_the_one_with_the_right_name_is_meant() -> None:
    lemon = TruthBox("lemon", box(0.11))
    edits = corrections([Answered("lemon", TRUE)], [EGG, lemon])
    assert [(edit.label, edit.action) for edit in edits] == [("lemon", Action.KEPT), ("egg", Action.ADDED)]


def test_every_item_of_the_answer_and_every_true_one_is_spoken_of_once() -> None:
    truth = [EGG, TruthBox("milk", box(0.5)), TruthBox("milk", box(0.75))]
    answer = [
        Answered("milk", box(0.51)),
        Answered("bread", box(0.1, 0.7)),
        Answered("egg", SLIPPED),
        Answered("cheese", box(0.74)),
    ]
    edits = corrections(answer, truth)
    assert [edit.action for edit in edits] == [Action.KEPT, Action.REMOVED, Action.MOVED, Action.RENAMED]


def test_an_edit_reads_as_the_gateway_takes_it() -> None:
    assert Edit("egg", Action.RENAMED, TRUE, from_label="lemon").as_json() == {
        "label": "egg",
        "action": "renamed",
        "bbox": {"x": 0.1, "y": 0.1, "width": 0.2, "height": 0.2},
        "from_label": "lemon",
    }
