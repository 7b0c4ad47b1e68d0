"""The catalogue of ingredients, and one way from any spelling to a canonical label.

A label is what classes and events carry: singular, lower case, words joined by `_` (`cherry_tomato`).
A word that the catalogue does not know becomes a candidate label in the same spelling: it is never dropped, and it
is no class until people have used it often enough (the collector's class registry decides that).
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

# What people put before a name without changing what it is. Words that make another ingredient
# ("red onion", "sweet potato") are found first, as whole names of the catalogue.
_MODIFIERS = frozenset(
    """a an the some fresh ripe unripe raw organic large small medium big baby whole half halved sliced diced chopped grated peeled cooked frozen dried
    red green yellow white brown orange purple pack packet bag box bottle carton jar can tin tub bunch head piece pieces slice slices of""".split()
)

# Endings that only look like a plural: "asparagus", "hummus", "couscous", "swiss", "molasses".
_SINGULAR_ENDINGS = ("ss", "us", "is")


@dataclass(frozen=True)
class Ingredient:
    """One row of ingredients.csv."""

    label: str
    plural: str
    synonyms: tuple[str, ...]
    storage: StorageLocation
    category: str
    names: MappingProxyType[str, str] = field(hash=False)
    """Names in other languages by ISO 639-1 code; a further language is a further column `name_xx`."""

    @property
    def name(self) -> str:
        """What a person reads, in English."""
        return self.label.replace("_", " ")


@dataclass(frozen=True)
class NormalisedName:
    """What became of a word that somebody or something used for an ingredient."""

    label: str
    name: str
    storage: StorageLocation | None
    known: bool
    """False: a candidate label, which waits for people before it can be a class."""


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
    synonyms = tuple(word for word in row["synonyms"].split("|") if word)
    return Ingredient(
        row["label"], row["plural"], synonyms, StorageLocation(row["storage"]), row["category"], MappingProxyType(names)
    )


CATALOGUE = _read_catalogue()


def normalise(text: str) -> NormalisedName:
    """From any spelling ("Cherry tomatoes", "zucchini", "GRANNY-SMITH") to a label. Raises `ValueError` when no letter is left."""
    words = _words(text)
    if not words:
        raise ValueError(f"{text[:40]!r} names no ingredient: it has no letters")
    for candidate in _readings(words):
        if label := _labels_by_spelling().get(candidate):
            ingredient = CATALOGUE[label]
            return NormalisedName(label, ingredient.name, ingredient.storage, known=True)
    name = " ".join([*words[:-1], _singular(words[-1])])[:MAX_LABEL_LENGTH].strip()
    return NormalisedName(name.replace(" ", "_"), name, None, known=False)


def _words(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", text.replace("œ", "oe").replace("ß", "ss").lower())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter) and letter not in "'’")
    return re.findall(r"[^\W_]+", plain) if re.search(r"[^\W\d_]", plain) else []


def _readings(words: list[str]) -> Iterator[str]:
    """The whole name first, then without leading modifiers, one by one, each also in the singular."""
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
    """English wins over other languages where one spelling means two things ("raisin" is French for grape)."""
    found: dict[str, str] = {}
    for ingredient in CATALOGUE.values():
        for spelling in (ingredient.name, ingredient.plural, *ingredient.synonyms):
            found.setdefault(" ".join(_words(spelling)), ingredient.label)
    for ingredient in CATALOGUE.values():
        for spelling in ingredient.names.values():
            found.setdefault(" ".join(_words(spelling)), ingredient.label)
    return found
