"""What an SDK hands out, as the words that are kept and read."""

from __future__ import annotations

from savo_vision.adapters.prompt import PROMPT_VERSION
from savo_vision.answers import read
from savo_vision.costs import Usage
from savo_vision.detections import Answer, RawAnswer

__all__ = ["read_answer"]


def read_answer(provider: str, text: str | None, usage: Usage, model: str | None = None) -> Answer:
    """Raises `ProviderAnswerError`, with what it cost."""
    return read(RawAnswer(provider, model or "", PROMPT_VERSION, text or ""), usage)
