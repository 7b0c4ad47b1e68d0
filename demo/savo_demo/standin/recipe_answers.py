"""Recipes of the stand-in, built from the ingredients that a prompt names; the same names give the same recipes."""

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


def ingredients_in(text: str) -> list[str]:
    """Labels of the catalogue that a text names, in its order. The longest name wins: cherry tomato is not tomato."""
    plain, found = " " + re.sub(r"[^a-z]+", " ", text.lower()).strip() + " ", []
    for label in sorted(CATALOGUE, key=len, reverse=True):
        name = f" {label.replace('_', ' ')} "
        if (place := plain.find(name)) >= 0:
            found.append((place, label))
            plain = plain.replace(name, " " + "#" * (len(name) - 2) + " ")
    return [label for _, label in sorted(found)]


def recipes_for(labels: Sequence[str], count: int = 3) -> list[dict[str, Any]]:
    """At most `count` recipes with these labels; none without a label."""
    names = [label.replace("_", " ") for label in labels]
    if not names:
        return []
    return [_recipe(dish, labels, names, number) for number, dish in enumerate(_DISHES[:count])]


def _recipe(
    dish: tuple[str, int, str, str, str], labels: Sequence[str], names: Sequence[str], number: int
) -> dict[str, Any]:
    title, minutes, *steps = dish
    first, everything = names[number % len(names)], ", ".join(names)
    return {
        "title": title.format(first=first).capitalize(),
        "ingredients": [f"1 {name}" for name in names] + ["1 tbsp olive oil", "salt"],
        "uses": list(labels),
        "steps": [step.format(all=everything, first=first) for step in steps],
        "minutes": minutes,
    }


def as_text(answer: Any) -> str:
    """The JSON text of an answer."""
    return json.dumps(answer, ensure_ascii=False)
