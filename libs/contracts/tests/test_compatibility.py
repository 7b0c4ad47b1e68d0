"""Compatibility check of schemas: it reports every kind of breaking change and accepts harmless changes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, create_model

from savo_contracts.open_values import OpenValue
from savo_contracts.scans import ScanRequested
from savo_contracts.specs.compatibility import breaking_changes
from savo_contracts.specs.json_schema import event_schema
from savo_contracts.topics import SCANS_COMPLETED, SCANS_REQUESTED


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class FewerColours(StrEnum):
    RED = "red"


class UpperCaseColour(StrEnum):
    RED = "RED"
    BLUE = "BLUE"


class Part(BaseModel):
    size: int = Field(ge=0, le=10)


class SmallPart(BaseModel):
    size: int = Field(ge=1, le=10)


def schema(**fields: Any) -> dict[str, Any]:
    model: type[BaseModel] = create_model("Thing", **fields)
    return model.model_json_schema()


BREAKS = {
    "a field is removed": (schema(a=(int, ...), b=(int, 1)), schema(a=(int, ...)), "$.b: removed"),
    "a field becomes required": (schema(a=(int, ...)), schema(a=(int, ...), b=(int, ...)), "$.b: required now"),
    "a field becomes optional": (schema(a=(int, ...)), schema(a=(int, 1)), "$.a: no longer required"),
    "a type changes": (schema(a=(int, ...)), schema(a=(str, ...)), "$.a: type changed"),
    "null is no longer allowed": (schema(a=(int | None, None)), schema(a=(int, 0)), "$.a: type changed"),
    "a closed set loses a value": (schema(a=(Colour, ...)), schema(a=(FewerColours, ...)), "values removed: ['blue']"),
    "a closed set gets a value": (schema(a=(FewerColours, ...)), schema(a=(Colour, ...)), "values added"),
    "an open set is closed": (schema(a=(OpenValue, ...)), schema(a=(Colour, ...)), "enum changed from None"),
    "a closed set becomes any text": (
        schema(a=(Colour, ...)),
        schema(a=(str, ...)),
        "enum changed from ['red', 'blue'] to None",
    ),
    "a set is opened for values other than its own": (
        schema(a=(UpperCaseColour, ...)),
        schema(a=(OpenValue, ...)),
        "enum changed from ['RED', 'BLUE'] to None",
    ),
    "a lower limit rises inside a nested list": (
        schema(a=(list[Part], ...)),
        schema(a=(list[SmallPart], ...)),
        "$.a[].size: minimum raised",
    ),
    "an upper limit falls": (
        schema(a=(Annotated[int, Field(le=9)], ...)),
        schema(a=(Annotated[int, Field(le=8)], ...)),
        "maximum lowered",
    ),
    "a lower limit rises in an optional field": (
        schema(a=(Part | None, None)),
        schema(a=(SmallPart | None, None)),
        "size: minimum raised",
    ),
    "a pattern changes": (
        schema(a=(Annotated[str, Field(pattern="^a$")], ...)),
        schema(a=(Annotated[str, Field(pattern="^b$")], ...)),
        "pattern changed",
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_breaking_change_is_reported(case: str) -> None:
    old, new, message = BREAKS[case]
    assert any(message in change for change in breaking_changes(old, new)), breaking_changes(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (schema(a=(int, ...)), schema(a=(int, ...), b=(str | None, None))),
        (
            schema(a=(Annotated[int, Field(ge=1)], ...)),
            schema(a=(Annotated[int, Field(ge=0, description="now described")], ...)),
        ),
        (schema(a=(list[SmallPart], ...)), schema(a=(list[Part], ...))),
        (schema(a=(Colour, ...)), schema(a=(OpenValue, ...))),
        (schema(a=(Colour | None, None)), schema(a=(OpenValue | None, None))),
    ],
    ids=[
        "a field with a default is added",
        "a limit is loosened",
        "a nested limit is loosened",
        "a closed set is opened",
        "an optional closed set is opened",
    ],
)
def test_a_harmless_change_is_accepted(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert breaking_changes(old, new) == []


def test_a_breaking_change_of_a_real_event_is_reported() -> None:
    changed = event_schema(SCANS_REQUESTED)
    changed["required"] = [*changed["required"], "consent"]
    assert breaking_changes(event_schema(SCANS_REQUESTED), changed) == [
        "$.consent: required now, and older messages may lack it"
    ]
    assert ScanRequested.model_fields["consent"].default is None


def test_schemas_of_different_events_are_incompatible() -> None:
    assert breaking_changes(event_schema(SCANS_REQUESTED), event_schema(SCANS_COMPLETED))
