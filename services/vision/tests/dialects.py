"""The three adapters, each against a server that speaks its provider's wire format."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pytest

from libs.providers.tests.wire import Reply, Wire, gemini, gemini_error, openai_answer, openai_error
from savo_providers.breaker import Breaker
from savo_vision.adapters.calling import Calls
from savo_vision.adapters.google import connect_google
from savo_vision.adapters.google_legacy import connect_legacy_google
from savo_vision.adapters.openai import connect_openai
from savo_vision.costs import Usage
from savo_vision.ports import Provider

__all__ = ["DIALECTS", "Dialect", "picture_in", "speak"]

DIALECTS = ("genai", "generativeai", "openai")


class Moment:
    """A clock for breakers, which tests turn on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Dialect:
    """One provider: its adapter, and how its server answers and fails."""

    name: str
    provider: Provider
    wire: Wire
    breaker: Breaker
    moment: Moment
    slept: list[float]
    """Seconds before each further attempt: nobody really sleeps."""

    @property
    def is_openai(self) -> bool:
        return self.name == "openai"

    @property
    def people_say(self) -> str:
        return "OpenAI" if self.is_openai else "Google"

    @property
    def usage(self) -> Usage:
        """What an answer of `answer` cost, as the server counts it."""
        return Usage(900, 120) if self.is_openai else Usage(1200, 200)

    def answer(self, items: Any = None, *, text: str | None = None) -> dict[str, Any]:
        return openai_answer(items, text=text) if self.is_openai else gemini(items, text=text)

    def cut_short(self, text: str) -> dict[str, Any]:
        return openai_answer(text=text, incomplete="max_output_tokens") if self.is_openai else gemini(text=text, finish="MAX_TOKENS")

    def refusal(self) -> dict[str, Any]:
        return openai_answer(refusal="I cannot help with that.") if self.is_openai else gemini(text="", finish="SAFETY")

    def blocked(self) -> dict[str, Any]:
        return openai_answer(text="", incomplete="content_filter") if self.is_openai else gemini(block="PROHIBITED_CONTENT")

    def error(self, status: int, message: str = "an error", **headers: str) -> Reply:
        return openai_error(status, message, **headers) if self.is_openai else gemini_error(status, message, **headers)


def speak(name: str, wire: Wire, seconds: float = 30.0) -> Dialect:
    """`seconds`: the deadline of a call with all its attempts."""
    slept: list[float] = []

    async def sleep(delay: float) -> None:
        slept.append(delay)

    moment = Moment()
    breaker = Breaker("openai" if name == "openai" else "google", now=moment)
    calls = Calls(breaker.name, breaker, seconds=seconds, sleep=sleep)
    return Dialect(name, _connected(name, calls, wire.url), wire, breaker, moment, slept)


def _connected(name: str, calls: Calls, url: str) -> Provider:
    if name == "openai":
        return connect_openai("k", "gpt-5.4-mini", calls, base_url=url)
    if name == "generativeai":
        pytest.importorskip("google.generativeai", reason="the extra generativeai is not installed", exc_type=ImportError)
        return connect_legacy_google("k", "gemini-test", calls, base_url=url)
    return connect_google("k", "gemini-test", calls, base_url=url)


def picture_in(body: Any) -> bytes:
    """The first base64 picture anywhere in a request."""
    if isinstance(body, dict):
        if isinstance(data := body.get("data"), str):
            return base64.urlsafe_b64decode(data.replace("+", "-").replace("/", "_"))
        if isinstance(url := body.get("image_url"), str):
            return base64.b64decode(url.partition(",")[2])
        body = list(body.values())
    return next((found for part in body if (found := picture_in(part))), b"") if isinstance(body, list) else b""
