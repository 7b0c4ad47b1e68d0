"""A provider's text → detections. The text may be cut short, or anything at all."""

from __future__ import annotations

import json

from savo_providers.prices import NOTHING_USED, Usage
from savo_vision.detections import Answer, RawAnswer, read_items
from savo_vision.errors import UnusableAnswerError

__all__ = ["read"]


def read(raw: RawAnswer, usage: Usage = NOTHING_USED) -> Answer:
    """A JSON list of items, or an object with the list under `items`. Raises `UnusableAnswerError`, with what it cost."""
    try:
        document = json.loads(raw.text)
    except (ValueError, RecursionError) as error:
        raise UnusableAnswerError(raw, "gave an answer that is no whole JSON", usage=usage) from error
    rows = document.get("items") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise UnusableAnswerError(raw, "gave JSON that is no list of items", usage=usage)
    items, flaws = read_items(rows)
    return Answer(items, usage, flaws, raw.model, raw)
