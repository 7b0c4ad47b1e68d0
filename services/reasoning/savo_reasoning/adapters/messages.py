"""Answer limit and user messages that the adapters of all providers share."""

from __future__ import annotations

__all__ = ["FILTERED", "MAX_OUTPUT_TOKENS", "TOO_LONG", "UNREADABLE"]

MAX_OUTPUT_TOKENS = 4000

TOO_LONG = "The recipes became too long to finish. Please ask again."
UNREADABLE = "The recipe service's answer could not be read. Please ask again."
FILTERED = "The recipe service would not answer for these ingredients. Remove or rename an ingredient and ask again."
