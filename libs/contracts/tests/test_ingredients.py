"""Catalogue of ingredients: its rows are valid, and every spelling gets a label or a candidate label."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.ingredients import CATALOGUE, MAX_LABEL_LENGTH, Ingredient, normalise


def test_the_catalogue_is_large_enough_and_well_formed() -> None:
    assert len(CATALOGUE) >= 150
    for label, ingredient in CATALOGUE.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", label), label
        assert ingredient.plural, label
        assert ingredient.category, label
        assert set(ingredient.names) >= {"de", "fr"}, label


def test_no_english_spelling_has_two_meanings() -> None:
    meanings = defaultdict(set)
    for ingredient in CATALOGUE.values():
        for spelling in (ingredient.name, ingredient.plural, *ingredient.synonyms):
            meanings[spelling.lower()].add(ingredient.label)
    assert {spelling: labels for spelling, labels in meanings.items() if len(labels) > 1} == {}


@pytest.mark.parametrize("ingredient", CATALOGUE.values(), ids=lambda ingredient: ingredient.label)
def test_every_english_spelling_gets_its_label(ingredient: Ingredient) -> None:
    for spelling in (ingredient.label, ingredient.name, ingredient.plural, *ingredient.synonyms):
        for written in (spelling, spelling.upper(), f"  {spelling.title()}! "):
            assert normalise(written).label == ingredient.label, written


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("cherry tomatoes", "cherry_tomato"),
        ("Fresh Red Tomatoes", "tomato"),
        ("zucchini", "courgette"),
        ("a bag of carrots", "carrot"),
        ("red onions", "red_onion"),
        ("jalapeño", "chili"),
        ("Süßkartoffel", "sweet_potato"),
        ("œuf", "egg"),
        ("crème fraîche", "creme_fraiche"),
        ("raisin", "raisin"),
        ("goat's cheese", "goat_cheese"),
        ("Granny-Smith", "apple"),
    ],
)
def test_spellings_of_people_and_providers_get_their_label(text: str, label: str) -> None:
    found = normalise(text)
    assert (found.label, found.known) == (label, True)
    assert found.storage is CATALOGUE[label].storage


@pytest.mark.parametrize(
    ("text", "label"), [("dragon fruits", "dragon_fruit"), ("Wasabi Paste", "wasabi_paste"), ("青菜", "青菜")]
)
def test_an_unknown_name_becomes_a_candidate_label(text: str, label: str) -> None:
    found = normalise(text)
    assert (found.label, found.known, found.storage) == (label, False, None)


@pytest.mark.parametrize("text", ["", "  ", "123", "!?", "🙂"])
def test_a_text_without_letters_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no letters"):
        normalise(text)


@given(
    st.text(min_size=1, max_size=200).filter(lambda text: any(letter.isalpha() and letter.isascii() for letter in text))
)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert 0 < len(once.label) <= MAX_LABEL_LENGTH
    assert normalise(once.name).label == normalise(normalise(once.name).name).label
    assert once.label == once.name.replace(" ", "_")


def test_the_classes_of_the_real_photos_are_known() -> None:
    names = (
        "almond_milk avocado banana carrot courgette cured_goat_cheese egg milk oat_milk oats olive_oil potato quinoa "
        "rice salmon spaghetti sweet_potato tomato"
    ).split()
    assert [normalise(name).label for name in names] == names
