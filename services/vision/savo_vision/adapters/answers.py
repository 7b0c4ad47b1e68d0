"""A provider's text → detections. The text may be cut short, or anything at all."""

from __future__ import annotations

import json

from savo_vision.costs import Usage
from savo_vision.detections import Answer, read_items
from savo_vision.errors import ProviderAnswerError

__all__ = ["read_answer"]


def read_answer(provider: str, text: str | None, usage: Usage, model: str | None = None) -> Answer:
    """A JSON list of items, or an object with the list under `items`. Raises `ProviderAnswerError`, with what it cost."""
    try:
        document = json.loads(text or "")
    except (ValueError, RecursionError) as flaw:
        raise ProviderAnswerError(provider, "gave an answer that is no whole JSON", usage=usage) from flaw
    rows = document.get("items") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise ProviderAnswerError(provider, "gave JSON that is no list of items", usage=usage)
    items, flaws = read_items(rows)
    return Answer(items, usage, flaws, model or "")
