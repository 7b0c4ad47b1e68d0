"""Recipes for whatever is named: plain, true to the ingredients, always the same for the same ones."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from savo_contracts.ingredients import CATALOGUE

_DISHES = (
    (
        "{first} tray bake",
        40,
        "Cut {all} into bite-sized pieces.",
        "Roast with oil and salt at 200 °C for 30 minutes.",
        "Serve warm.",
    ),
    (
        "Quick {first} pan",
        20,
        "Heat a little oil in a wide pan.",
        "Add {all} and stir for 10 minutes.",
        "Season and serve.",
    ),
    ("{first} salad", 15, "Wash and slice {all}.", "Dress with lemon juice, oil and salt.", "Toss and serve at once."),
)


def named_in(text: str) -> list[str]:
    """Catalogue labels that a prompt names as whole words, in its order; a cherry tomato is neither a cherry nor a tomato."""
    plain, found = " " + re.sub(r"[^a-z]+", " ", text.lower()).strip() + " ", []
    for label in sorted(CATALOGUE, key=len, reverse=True):
        word = f" {label.replace('_', ' ')} "
        if (place := plain.find(word)) >= 0:
            found.append((place, label))
            plain = plain.replace(word, " " + "#" * (len(word) - 2) + " ")
    return [label for _, label in sorted(found)]


def cook(labels: Sequence[str], count: int = 3) -> list[dict[str, Any]]:
    """`count` recipes at most; none without an ingredient."""
    words = [label.replace("_", " ") for label in labels]
    if not words:
        return []
    return [_recipe(dish, labels, words, turn) for turn, dish in enumerate(_DISHES[:count])]


def _recipe(
    dish: tuple[str, int, str, str, str], labels: Sequence[str], words: Sequence[str], turn: int
) -> dict[str, Any]:
    title, minutes, *steps = dish
    first, everything = words[turn % len(words)], ", ".join(words)
    return {
        "title": title.format(first=first).capitalize(),
        "ingredients": [f"1 {word}" for word in words] + ["1 tbsp olive oil", "salt"],
        "uses": list(labels),
        "steps": [step.format(all=everything, first=first) for step in steps],
        "minutes": minutes,
    }


def as_text(answer: Any) -> str:
    return json.dumps(answer, ensure_ascii=False)
