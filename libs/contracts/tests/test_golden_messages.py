"""A new topic's first golden message."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from pydantic import ConfigDict, Field

from savo_contracts.envelope import Envelope, Event, Moment
from savo_contracts.specs.golden_messages import NoExampleError, first_golden_message
from savo_contracts.topics import Topic


class Tasted(Event):
    """Somebody ate it."""

    type: ClassVar[str] = "savo.tasted.v1"
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dish": "soup", "stars": 5, "tasted_at": "2026-03-02T08:30:16Z"}]}
    )

    dish: str
    stars: int = Field(description="1…5.")
    tasted_at: Moment


class Untasted(Event):
    type: ClassVar[str] = "savo.untasted.v1"

    dish: str


def test_a_new_topics_first_golden_message_is_made_of_its_events_example() -> None:
    topic = Topic("dishes.tasted", Tasted, lambda event: event.dish, "dish", ("gateway",), ("collector",))
    golden = first_golden_message(topic)
    envelope = Envelope.decode(
        Tasted,
        json.dumps(golden["value"]).encode(),
        [(name, value.encode()) for name, value in golden["headers"].items()],
    )
    assert (golden["key"], envelope.source, envelope.event.stars) == ("soup", "gateway", 5)
    assert first_golden_message(topic) == golden


def test_an_event_without_an_example_is_named_with_what_to_write() -> None:
    topic = Topic("dishes.untasted", Untasted, lambda event: event.dish, "dish", ("gateway",), ("collector",))
    with pytest.raises(
        NoExampleError, match=r"dishes\.untasted has no golden message: give Untasted an example, model_config = "
    ):
        first_golden_message(topic)
