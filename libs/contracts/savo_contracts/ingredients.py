"""Catalogue of ingredients, and the normalisation of any spelling to a canonical label.

Classes and events carry labels: singular, lower case, joined by `_` (`cherry_tomato`). An unknown name becomes a
candidate label in the same form. It is never dropped. The collector's class registry makes it a class once enough
people have used it.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from savo_contracts.scans import StorageLocation

__all__ = ["CATALOGUE", "MAX_LABEL_LENGTH", "Ingredient", "NormalisedName", "normalise"]

MAX_LABEL_LENGTH = 80

_NAME_COLUMN = "name_"

# Leading modifiers that do not change the ingredient. Those that do ("red onion", "sweet potato") are part of a
# catalogue name, which is looked up first.
_MODIFIERS = frozenset(
    """a an the some fresh ripe unripe raw organic large small medium big baby whole half halved sliced diced chopped
    grated peeled cooked frozen dried red green yellow white brown orange purple pack packet bag box bottle carton jar
    can tin tub bunch head piece pieces slice slices of""".split()
)

# Endings that look like a plural but are not: "asparagus", "hummus", "couscous", "swiss", "molasses".
_SINGULAR_ENDINGS = ("ss", "us", "is")


@dataclass(frozen=True)
class Ingredient:
    """A row of ingredients.csv."""

    label: str
    plural: str
    synonyms: tuple[str, ...]
    storage: StorageLocation
    category: str
    names: MappingProxyType[str, str] = field(hash=False)
    """Names in other languages by ISO 639-1 code; a new language is a new column `name_xx`."""

    @property
    def name(self) -> str:
        """English display name."""
        return self.label.replace("_", " ")


@dataclass(frozen=True)
class NormalisedName:
    """The label of an ingredient's name in any spelling."""

    label: str
    name: str
    """English display name."""
    storage: StorageLocation | None
    """Usual storage location; None for a candidate label."""
    known: bool
    """Whether the catalogue has the label; False for a candidate label."""


def _read_catalogue() -> MappingProxyType[str, Ingredient]:
    lines = (files(__package__) / "ingredients.csv").read_text(encoding="utf-8").splitlines()
    rows = [_ingredient(row) for row in csv.DictReader(lines)]
    return MappingProxyType({ingredient.label: ingredient for ingredient in rows})


def _ingredient(row: dict[str, str]) -> Ingredient:
    names = {
        column.removeprefix(_NAME_COLUMN): value
        for column, value in row.items()
        if column.startswith(_NAME_COLUMN) and value
    }
    synonyms = tuple(synonym for synonym in row["synonyms"].split("|") if synonym)
    return Ingredient(
        row["label"], row["plural"], synonyms, StorageLocation(row["storage"]), row["category"], MappingProxyType(names)
    )


CATALOGUE = _read_catalogue()


def normalise(text: str) -> NormalisedName:
    """Label of a name in any spelling ("Cherry tomatoes", "zucchini", "GRANNY-SMITH").

    Raises `ValueError` for a text without letters.
    """
    words = _words(text)
    if not words:
        raise ValueError(f"{text[:40]!r} is not the name of an ingredient: it has no letters")
    for candidate in _possible_names(words):
        if label := _labels_by_spelling().get(candidate):
            ingredient = CATALOGUE[label]
            return NormalisedName(label, ingredient.name, ingredient.storage, known=True)
    name = " ".join([*words[:-1], _singular(words[-1])])[:MAX_LABEL_LENGTH].strip()
    return NormalisedName(name.replace(" ", "_"), name, None, known=False)


def _words(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", text.replace("œ", "oe").replace("ß", "ss").lower())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter) and letter not in "'’")
    return re.findall(r"[^\W_]+", plain) if re.search(r"[^\W\d_]", plain) else []


def _possible_names(words: list[str]) -> Iterator[str]:
    """The full name, then the name without its first modifiers; each as written and in the singular."""
    while words:
        yield " ".join(words)
        yield " ".join([*words[:-1], _singular(words[-1])])
        if words[0] not in _MODIFIERS:
            return
        words = words[1:]


def _singular(word: str) -> str:
    if len(word) <= 3 or word.endswith(_SINGULAR_ENDINGS) or not word.endswith("s"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("oes", "shes", "ches", "xes")):
        return word[:-2]
    return word[:-1]


@cache
def _labels_by_spelling() -> dict[str, str]:
    """English takes precedence where a spelling has two meanings ("raisin" is French for grape)."""
    found: dict[str, str] = {}
    for ingredient in CATALOGUE.values():
        for spelling in (ingredient.name, ingredient.plural, *ingredient.synonyms):
            found.setdefault(" ".join(_words(spelling)), ingredient.label)
    for ingredient in CATALOGUE.values():
        for spelling in ingredient.names.values():
            found.setdefault(" ".join(_words(spelling)), ingredient.label)
    return found
