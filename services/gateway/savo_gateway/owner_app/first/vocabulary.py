"""Vocabulary of the app for quantities and storage places, converted to the contract's values and back."""

from __future__ import annotations

import re
from typing import Any

from savo_contracts.scans import StorageLocation

__all__ = ["MAX_PIECES", "quantity_of", "quantity_text", "storage_location_of", "storage_text"]

MAX_PIECES = 10_000

_PIECES = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*(?:x|×|pcs?\.?|pieces?|items?|units?|count)?\s*", re.IGNORECASE)
"""A number alone, or of pieces: "500 g" is no number of pieces."""

_REFRIGERATOR = "refrigerator"


def quantity_of(value: Any) -> float | None:
    """Pieces of the app's text, such as "4 pcs". None for another text: the contract counts pieces alone."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        found = _PIECES.fullmatch(value)
        if found is None:
            return None
        value = float(found[1].replace(",", "."))
    return float(value) if 0 < value <= MAX_PIECES else None


def quantity_text(pieces: float | None) -> str | None:
    """ "4 pcs"; None where the number is unknown."""
    return None if pieces is None else f"{pieces:g} pcs"


def storage_location_of(value: Any) -> StorageLocation | None:
    """The place of any spelling; None for a place that the contract has no name for."""
    name = value.strip().lower() if isinstance(value, str) else ""
    return next((place for place in StorageLocation if name in (place.value, storage_text(place))), None)


def storage_text(place: StorageLocation | None) -> str | None:
    """pantry, refrigerator or freezer."""
    return None if place is None else _REFRIGERATOR if place is StorageLocation.FRIDGE else place.value
