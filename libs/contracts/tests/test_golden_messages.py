"""First golden message of a new topic."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from pydantic import ConfigDict, Field

from savo_contracts.envelope import Envelope, Event, Moment
from savo_contracts.specs.golden_messages import NoExampleError, first_golden_message
from savo_contracts.topics import Topic


class DishTasted(Event):
    """A dish was tasted."""

    type: ClassVar[str] = "savo.tasted.v1"
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dish": "soup", "stars": 5, "tasted_at": "2026-03-02T08:30:16Z"}]}
    )

    dish: str
    stars: int = Field(description="1…5.")
    tasted_at: Moment


class DishRefused(Event):
    type: ClassVar[str] = "savo.dish-refused.v1"

    dish: str


def test_a_new_topics_first_golden_message_is_made_from_its_events_example() -> None:
    topic = Topic("dishes.tasted", DishTasted, lambda event: event.dish, "dish", ("gateway",), ("collector",))
    golden = first_golden_message(topic)
    envelope = Envelope.decode(
        DishTasted,
        json.dumps(golden["value"]).encode(),
        [(name, value.encode()) for name, value in golden["headers"].items()],
    )
    assert (golden["key"], envelope.source, envelope.event.stars) == ("soup", "gateway", 5)
    assert first_golden_message(topic) == golden


def test_an_event_without_an_example_is_refused_with_the_line_to_write() -> None:
    topic = Topic("dishes.refused", DishRefused, lambda event: event.dish, "dish", ("gateway",), ("collector",))
    message = r"dishes\.refused has no golden message: give DishRefused an example, model_config = "
    with pytest.raises(NoExampleError, match=message):
        first_golden_message(topic)
