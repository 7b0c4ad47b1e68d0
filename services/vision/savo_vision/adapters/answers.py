"""What an SDK hands out, as the words that are kept and read."""

from __future__ import annotations

from savo_providers.text import storable
from savo_vision.adapters.prompt import PROMPT_VERSION
from savo_vision.costs import Usage
from savo_vision.detections import Answer, RawAnswer
from savo_vision.errors import ProviderAnswerError
from savo_vision.provider_answers import read

__all__ = ["cut_short", "in_words", "read_answer"]


def read_answer(provider: str, text: str | None, usage: Usage, model: str | None = None) -> Answer:
    """Raises `ProviderAnswerError`, with what it cost."""
    return read(_raw(provider, text, model), usage)


def cut_short(provider: str, reason: str, text: str | None, usage: Usage, model: str | None = None) -> ProviderAnswerError:
    """The error of an answer that stopped before its end. `reason`: the provider's own word for why."""
    return ProviderAnswerError(provider, f"ended its answer too early ({in_words(reason)})", usage=usage, raw=_raw(provider, text, model))


def in_words(constant: str) -> str:
    """`MAX_TOKENS` as a person reads it."""
    return constant.lower().replace("_", " ")


def _raw(provider: str, text: str | None, model: str | None) -> RawAnswer:
    return RawAnswer(provider, storable(model or ""), PROMPT_VERSION, storable(text or ""))
