"""What a provider's text may be, and what it was asked."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.scans import StorageLocation
from savo_providers.errors import ProviderAnswerError
from savo_providers.text import storable
from savo_vision.adapters.prompt import PROMPT, PROMPT_VERSION, SeenItem
from savo_vision.answer_parser import read
from savo_vision.detections import MAX_ITEMS, Answer, RawAnswer, read_items

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters())
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
boxes = anything | st.lists(leaves, min_size=4, max_size=4) | st.lists(st.integers(-10, 1010), min_size=4, max_size=4)
rows = st.fixed_dictionaries(
    {}, optional={"label": anything | st.just("Eggs"), "box_2d": boxes, "confidence": anything, "quantity": anything}
)


def reading(text: str) -> RawAnswer:
    return RawAnswer("Google", "gemini-test", PROMPT_VERSION, text)


def outcome(text: str) -> tuple[Answer | None, str]:
    try:
        return read(reading(text)), ""
    except ProviderAnswerError as flaw:
        return None, str(flaw)


@given(st.lists(rows | anything, max_size=5) | anything)
def test_any_json_is_read_or_refused_with_words_and_never_anything_else(document: Any) -> None:
    answer, words = outcome(json.dumps(document))
    assert words in ("", "Google gave JSON that is no list of items")
    for item in answer.items if answer else ():
        assert item.model_dump_json()
        assert 0 <= item.confidence <= 1


@given(st.text())
def test_any_text_is_read_or_refused_with_words(text: str) -> None:
    answer, words = outcome(text)
    assert answer or words.startswith("Google gave")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, '[{"label": "egg"', ""])
def test_text_that_is_no_whole_json_is_said_to_be_that(text: str) -> None:
    with pytest.raises(ProviderAnswerError, match="Google gave an answer that is no whole JSON"):
        read(reading(text))


def test_an_answer_that_repeats_itself_is_cut_and_counted() -> None:
    items, flaws = read_items([{"label": "egg", "box_2d": [0, 0, 10, 10]}] * (MAX_ITEMS + 7))
    assert (len(items), flaws) == (MAX_ITEMS, {"too-many": 7})


def test_an_item_keeps_its_confidence_and_its_quantity_and_the_catalogue_says_where_it_is_kept() -> None:
    items, flaws = read_items(
        [{"label": "Cherry Tomatoes", "confidence": 0.4, "quantity": 3}, {"label": "Zorgle", "box_2d": None}]
    )
    known, unknown = items
    assert (known.label, known.confidence, known.quantity_estimate) == ("cherry_tomato", 0.4, 3)
    assert isinstance(known.storage_hint, StorageLocation)
    assert (unknown.confidence, unknown.quantity_estimate, unknown.storage_hint) == (1.0, None, None)
    assert not flaws


@given(st.text(alphabet=st.characters()))
def test_storable_words_have_no_nul_and_are_utf_8(text: str) -> None:
    assert "\0" not in storable(text)
    assert storable(text).encode().decode() == storable(text)


VERSIONS = {"1": "b1360da35e2e2d1bd99678a9cae361c30ddcddfa9cbeac25eb0272f47fecd145"}
"""Prompt version → sha256 of what is asked."""


def test_another_prompt_has_another_version() -> None:
    """A replay reads recorded words by the prompt that they answer: change a word, and give the new words a new number here and in prompt.py."""
    asked = hashlib.sha256(f"{PROMPT}\n{json.dumps(SeenItem.model_json_schema(), sort_keys=True)}".encode()).hexdigest()
    assert VERSIONS[PROMPT_VERSION] == asked
