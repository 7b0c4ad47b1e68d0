"""What all providers' adapters have in common, without any SDK: how much is asked for, and what people are told."""

from __future__ import annotations

__all__ = ["FILTERED", "MAX_OUTPUT_TOKENS", "TOO_LONG", "UNREADABLE", "seconds_of"]

MAX_OUTPUT_TOKENS = 4000

TOO_LONG = "The recipes became too long to finish. Please ask again."
UNREADABLE = "The recipe service's answer could not be read. Please ask again."
FILTERED = "The recipe service would not answer for these ingredients."


def seconds_of(header: str | None) -> float | None:
    """`Retry-After` in its form of seconds; the form of a date is left to our own back-off."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
