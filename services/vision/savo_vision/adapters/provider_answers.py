"""Answers from a provider's SDK: text to parse and to store."""

from __future__ import annotations

from savo_providers.catalogue import Provider
from savo_providers.prices import Usage
from savo_providers.storable_text import storable
from savo_vision.adapters.prompt import PROMPT_VERSION
from savo_vision.answer_parser import parse_answer
from savo_vision.detections import Answer, RawAnswer
from savo_vision.errors import UnusableAnswerError

__all__ = ["read_answer", "readable", "truncated_answer_error"]


def read_answer(provider: Provider, text: str | None, usage: Usage, model: str | None = None) -> Answer:
    """Parse the answer's text. Raises `UnusableAnswerError` with `usage`, because the answer is paid for."""
    return parse_answer(_raw(provider, text, model), usage)


def truncated_answer_error(
    provider: Provider, reason: str, text: str | None, usage: Usage, model: str | None = None
) -> UnusableAnswerError:
    """The error for an answer that ended too early. `reason` is the provider's constant for why."""
    return UnusableAnswerError(
        _raw(provider, text, model), f"ended its answer too early ({readable(reason)})", usage=usage
    )


def readable(constant: str) -> str:
    """`MAX_TOKENS` as "max tokens"."""
    return constant.lower().replace("_", " ")


def _raw(provider: Provider, text: str | None, model: str | None) -> RawAnswer:
    return RawAnswer(provider.title, storable(model or ""), PROMPT_VERSION, storable(text or ""))
