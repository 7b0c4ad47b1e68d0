"""Parser of a provider's answer: JSON text to detections.

The text comes from a language model: it may be truncated or have any other shape.
"""

from __future__ import annotations

import json

from savo_providers.prices import NOTHING_USED, Usage
from savo_vision.detections import Answer, RawAnswer, parse_items
from savo_vision.errors import UnusableAnswerError

__all__ = ["parse_answer"]


def parse_answer(raw: RawAnswer, usage: Usage = NOTHING_USED) -> Answer:
    """Detections from a JSON list of items, or from an object with the list under `items`.

    Raises `UnusableAnswerError` with `usage`, because the answer is paid for.
    """
    try:
        document = json.loads(raw.text)
    except (ValueError, RecursionError) as error:
        raise UnusableAnswerError(raw, "gave an answer that is not complete JSON", usage=usage) from error
    rows = document.get("items") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise UnusableAnswerError(raw, "gave JSON that is not a list of items", usage=usage)
    items, problems = parse_items(rows)
    return Answer(items, usage, problems, raw.model, raw)
