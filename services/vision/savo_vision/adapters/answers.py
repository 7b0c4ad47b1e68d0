"""What an SDK hands out, as the text that is kept and read."""

from __future__ import annotations

from savo_providers.catalogue import Provider
from savo_providers.prices import Usage
from savo_providers.text import storable
from savo_vision.adapters.prompt import PROMPT_VERSION
from savo_vision.answer_parser import read
from savo_vision.detections import Answer, RawAnswer
from savo_vision.errors import UnusableAnswerError

__all__ = ["cut_short", "in_words", "read_answer"]


def read_answer(provider: Provider, text: str | None, usage: Usage, model: str | None = None) -> Answer:
    """Raises `UnusableAnswerError`, with what it cost."""
    return read(_raw(provider, text, model), usage)


def cut_short(
    provider: Provider, reason: str, text: str | None, usage: Usage, model: str | None = None
) -> UnusableAnswerError:
    """The error of an answer that stopped before its end. `reason`: the provider's own word for why."""
    return UnusableAnswerError(
        _raw(provider, text, model), f"ended its answer too early ({in_words(reason)})", usage=usage
    )


def in_words(constant: str) -> str:
    """`MAX_TOKENS` as a person reads it."""
    return constant.lower().replace("_", " ")


def _raw(provider: Provider, text: str | None, model: str | None) -> RawAnswer:
    return RawAnswer(provider.title, storable(model or ""), PROMPT_VERSION, storable(text or ""))
