"""The topics that a piece of work may publish on: a handler's by its `@publishes`, any other work's by its service.

The declarations are checked at every event, so that the topic registry and the maps made of it are true.
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
    """An event for a topic that neither the handler at work nor the service declares: a bug that no retry mends."""

    def __init__(self, topic: Topic[Any], declared: Collection[Topic[Any]], declaration: str) -> None:
        names = ", ".join(sorted(other.name for other in declared)) or "nothing"
        super().__init__(f"{topic.name} is not declared: {declaration} names {names}", reason="undeclared-event")


@contextmanager
def within_handler(publishes: Collection[Topic[Any]]) -> Iterator[None]:
    """What is published inside is the work of a handler that declares these topics."""
    token = _of_handler.set(publishes)
    try:
        yield
    finally:
        _of_handler.reset(token)


def check_declared(topic: Topic[Any], own: Collection[Topic[Any]] | None) -> None:
    """`own`: what the service publishes outside of handlers; None where that is not known.

    Raises `UndeclaredTopicError`.
    """
    of_handler = _of_handler.get()
    if of_handler is not None and topic not in of_handler:
        raise UndeclaredTopicError(topic, of_handler, "the handler's @publishes")
    if of_handler is None and own is not None and topic not in own:
        raise UndeclaredTopicError(topic, own, "`publishes` of the service's definition")
