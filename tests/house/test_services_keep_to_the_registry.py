"""What the topic registry says of a service is what its handlers do: neither reads nor writes a topic behind its back."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from savo_contracts.topics import SERVICES, TOPICS, Topic

# Published by name through the outbox or the publisher, not as a handler's answer; each name must stand in the service's code.
CONSUMES, PUBLISHES = "__savo_consumes__", "__savo_publishes__"


def marked(service: str, mark: str) -> set[str]:
    handlers = importlib.import_module(f"savo_{service}.handlers")
    found: set[str] = set()
    for handler in vars(handlers).values():
        topics: Any = getattr(handler, mark, ())
        found |= {topic.name for topic in ((topics,) if isinstance(topics, Topic) else topics)}
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_what_the_registry_says(service: str) -> None:
    assert marked(service, CONSUMES) == {topic.name for topic in TOPICS if service in topic.consumers}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_answers_only_on_topics_that_are_its_own(service: str) -> None:
    assert marked(service, PUBLISHES) <= {topic.name for topic in TOPICS if service in topic.producers}
