"""Check of declared topics: code publishes only on the topics that it is declared for.

A handler declares its topics with `@publishes`; other code is checked against the topic registry's producers. Every
event is checked when it is published, so that documents generated from the topic registry are correct.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from savo_contracts.topics import Topic
from savo_runtime.errors import InvalidMessageError

__all__ = ["UndeclaredTopicError", "check_declared", "within_handler"]

_of_handler: ContextVar[Collection[Topic[Any]] | None] = ContextVar("savo_handler_publishes", default=None)


class UndeclaredTopicError(InvalidMessageError):
    """An event for a topic that is not declared where it is published: a bug that no retry can fix."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="undeclared-event")


@contextmanager
def within_handler(publishes: Collection[Topic[Any]]) -> Iterator[None]:
    """Inside the block only these topics, which the handler declares, may be published on."""
    token = _of_handler.set(publishes)
    try:
        yield
    finally:
        _of_handler.reset(token)


def check_declared(topic: Topic[Any], service: str | None) -> None:
    """Raises `UndeclaredTopicError` when the current handler, or else the service, does not declare the topic.

    `service` None skips the check outside of handlers.
    """
    of_handler = _of_handler.get()
    if of_handler is not None:
        if topic not in of_handler:
            names = ", ".join(sorted(declared.name for declared in of_handler)) or "nothing"
            raise UndeclaredTopicError(
                f"the handler must not publish {topic.name}: its @publishes names {names};"
                " add the topic there or publish elsewhere"
            )
    elif service is not None and service not in topic.producers:
        producers = ", ".join(sorted(topic.producers)) or "no service"
        raise UndeclaredTopicError(
            f"{service} must not publish {topic.name}: the registry allows {producers};"
            f" add {service} in savo_contracts/topics.py or publish elsewhere"
        )
