"""Any text of a provider is parsed or refused, and the prompt has a version."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import StorageLocation
from savo_detection.detector import Alternative as ClassAlternative
from savo_detection.detector import DetectedBox
from savo_providers.errors import ProviderAnswerError
from savo_providers.storable_text import storable
from savo_vision.adapters.prompt import PROMPT, PROMPT_VERSION, SeenItem
from savo_vision.answer_parser import parse_answer
from savo_vision.detections import MAX_ITEMS, Answer, RawAnswer, from_boxes, parse_items

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters())
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
boxes = anything | st.lists(leaves, min_size=4, max_size=4) | st.lists(st.integers(-10, 1010), min_size=4, max_size=4)
rows = st.fixed_dictionaries(
    {},
    optional={
        "label": anything | st.just("Eggs"),
        "box_2d": boxes,
        "confidence": anything,
        "quantity": anything,
        "alternatives": leaves | st.lists(st.fixed_dictionaries({"label": leaves, "likelihood": leaves}), max_size=2),
    },
)


def raw_answer(text: str) -> RawAnswer:
    return RawAnswer("Google", "gemini-test", PROMPT_VERSION, text)


def outcome(text: str) -> tuple[Answer | None, str]:
    try:
        return parse_answer(raw_answer(text)), ""
    except ProviderAnswerError as error:
        return None, str(error)


@given(st.lists(rows | anything, max_size=5) | anything)
def test_any_json_is_parsed_or_refused_with_a_reason(document: Any) -> None:
    answer, reason = outcome(json.dumps(document))
    assert reason in ("", "Google gave JSON that is not a list of items")
    for item in answer.items if answer else ():
        assert item.model_dump_json()
        assert 0 <= item.confidence <= 1


@given(st.text())
def test_any_text_is_parsed_or_refused_with_a_reason(text: str) -> None:
    answer, reason = outcome(text)
    assert answer or reason.startswith("Google gave")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, '[{"label": "egg"', ""])
def test_text_that_is_not_complete_json_is_refused(text: str) -> None:
    with pytest.raises(ProviderAnswerError, match="Google gave an answer that is not complete JSON"):
        parse_answer(raw_answer(text))


def test_items_above_the_limit_are_dropped_and_counted() -> None:
    items, problems = parse_items([{"label": "egg", "box_2d": [0, 0, 10, 10]}] * (MAX_ITEMS + 7))
    assert (len(items), problems) == (MAX_ITEMS, {"too-many": 7})


def test_an_item_keeps_confidence_and_quantity_and_gets_its_storage_from_the_catalogue() -> None:
    items, problems = parse_items(
        [{"label": "Cherry Tomatoes", "confidence": 0.4, "quantity": 3}, {"label": "Zorgle", "box_2d": None}]
    )
    known, unknown = items
    assert (known.label, known.confidence, known.quantity_estimate) == ("cherry_tomato", 0.4, 3)
    assert isinstance(known.storage_hint, StorageLocation)
    assert (unknown.confidence, unknown.quantity_estimate, unknown.storage_hint) == (1.0, None, None)
    assert not problems


def test_alternatives_of_an_answer_are_sorted_limited_and_named_by_the_catalogue() -> None:
    alternatives = [
        {"label": "Eggs", "likelihood": 0.9},
        {"label": "Onion", "likelihood": 0.1},
        {"label": "Potatoes", "likelihood": 0.4},
        {"label": "potato", "likelihood": 0.3},
        {"label": "garlic", "likelihood": 0.01},
        {"label": "apple", "likelihood": 0.2},
        {"label": "pear", "likelihood": 0.06},
    ]
    (item,), problems = parse_items([{"label": "egg", "alternatives": alternatives}])
    assert [(other.label, other.likelihood) for other in item.alternatives] == [
        ("potato", 0.4),
        ("apple", 0.2),
        ("onion", 0.1),
    ]
    assert item.alternatives[0].name == "potato"
    assert not problems


@pytest.mark.parametrize(
    "wrong", ["kale", {"label": "kale"}, {"label": "", "likelihood": 0.5}, {"label": "kale", "likelihood": 40}]
)
def test_an_invalid_alternative_is_dropped_and_counted(wrong: Any) -> None:
    (item,), problems = parse_items([{"label": "egg", "alternatives": [wrong, {"label": "leek", "likelihood": 0.3}]}])
    assert [other.label for other in item.alternatives] == ["leek"]
    assert problems == {"impossible-alternative": 1}


def test_the_alternatives_of_a_box_are_named_like_its_item() -> None:
    box = DetectedBox(
        0,
        "tomato",
        0.6,
        BoundingBox(x=0.1, y=0.1, width=0.2, height=0.2),
        (ClassAlternative("cherry_tomato", 0.4), ClassAlternative("77", 0.1)),
    )
    (item,) = from_boxes([box])
    assert [other.model_dump() for other in item.alternatives] == [
        {"label": "cherry_tomato", "name": "cherry tomato", "likelihood": 0.4},
        {"label": "77", "name": "77", "likelihood": 0.1},
    ]


@given(st.text(alphabet=st.characters()))
def test_storable_text_has_no_nul_and_is_utf_8(text: str) -> None:
    assert "\0" not in storable(text)
    assert storable(text).encode().decode() == storable(text)


VERSIONS = {"1": "b1360da35e2e2d1bd99678a9cae361c30ddcddfa9cbeac25eb0272f47fecd145"}
"""Prompt version → sha256 of prompt and schema."""


def test_another_prompt_has_another_version() -> None:
    """A replay parses recorded answers by the prompt's version. A new prompt needs a new one here and in prompt.py."""
    schema = json.dumps(SeenItem.model_json_schema(), sort_keys=True)
    digest = hashlib.sha256(f"{PROMPT}\n{schema}".encode()).hexdigest()
    assert VERSIONS[PROMPT_VERSION] == digest
