"""Error messages of command-line arguments: the value and what is allowed, instead of the validator's own text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError

__all__ = ["plain_argument_errors"]

_ALLOWED = {
    "greater_than": "allowed is more than {gt:g}",
    "greater_than_equal": "allowed is {ge:g} or more",
    "less_than": "allowed is less than {lt:g}",
    "less_than_equal": "allowed is {le:g} or less",
    "int_parsing": "allowed is a whole number",
    "int_from_float": "allowed is a whole number",
    "float_parsing": "allowed is a number",
}
"""Pydantic's error type → what is allowed; the placeholders are the keys of the error's context."""


@contextmanager
def plain_argument_errors() -> Iterator[None]:
    """Rewrites the message of a `typer.BadParameter` that Pydantic caused. Other errors pass unchanged."""
    try:
        yield
    except typer.BadParameter as error:
        if isinstance(error.__cause__, ValidationError):
            error.message = _plain(error.__cause__) or error.message
        raise


def _plain(error: ValidationError) -> str | None:
    """The message for the first error; None for a type of error that Pydantic explains well itself."""
    details = error.errors(include_url=False)[0]
    if details["type"] == "value_error":
        return details["msg"].removeprefix("Value error, ")
    allowed = _ALLOWED.get(details["type"])
    return f"{details['input']!r} is not allowed; {allowed.format(**details.get('ctx', {}))}" if allowed else None
