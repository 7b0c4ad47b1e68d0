"""The SDKs under test, each with a local server that implements its provider's wire format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import stamina
from google.genai import types
from stamina.instrumentation import RetryDetails, get_on_retry_hooks, set_on_retry_hooks

from libs.providers.tests.wire import Reply, Wire, gemini, gemini_error, openai_answer, openai_error
from savo_providers import generativeai_sdk, google_sdk, openai_sdk
from savo_providers.breaker import Breaker
from savo_providers.calls import Calls
from savo_providers.catalogue import GOOGLE, OPENAI, Provider
from savo_providers.prices import Price, Usage
from savo_providers.settings import Connection

__all__ = ["DIALECTS", "Dialect", "ManualClock", "Question", "connection_to", "open_question", "without_waits"]

DIALECTS = ("genai", "generativeai", "openai")

LONG = 30.0
"""Deadline in seconds of a call that must not reach it."""


class ManualClock:
    """A clock for breakers that a test moves forward by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Dialect:
    """One SDK: the answers and errors of its server, and the `Calls` under test."""

    name: str
    wire: Wire
    seconds: float = LONG
    """Deadline of a call, all attempts included."""
    pauses_consumer: bool = True
    clock: ManualClock = field(default_factory=ManualClock)
    waits: list[float | None] = field(default_factory=list)
    """For each retry: the seconds that the provider asked for. Retries come at once."""

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.provider.name, now=self.clock)
        self.calls = Calls(self.provider, self.breaker, self.seconds, pauses_consumer=self.pauses_consumer)

    @property
    def provider(self) -> Provider:
        return OPENAI if self.is_openai else GOOGLE

    @property
    def is_openai(self) -> bool:
        return self.name == "openai"

    @property
    def usage(self) -> Usage:
        """Tokens of an answer made by `answer`."""
        return Usage(900, 120) if self.is_openai else Usage(1200, 200)

    def answer(self, items: Any = None, *, text: str | None = None) -> dict[str, Any]:
        return openai_answer(items, text=text) if self.is_openai else gemini(items, text=text)

    def cut_short(self, text: str) -> dict[str, Any]:
        return (
            openai_answer(text=text, incomplete="max_output_tokens")
            if self.is_openai
            else gemini(text=text, finish="MAX_TOKENS")
        )

    def refusal(self) -> dict[str, Any]:
        return openai_answer(refusal="I cannot help with that.") if self.is_openai else gemini(text="", finish="SAFETY")

    def blocked(self) -> dict[str, Any]:
        return (
            openai_answer(text="", incomplete="content_filter")
            if self.is_openai
            else gemini(block="PROHIBITED_CONTENT")
        )

    def error(self, status: int, message: str = "an error", **headers: str) -> Reply:
        return openai_error(status, message, **headers) if self.is_openai else gemini_error(status, message, **headers)


@contextmanager
def without_waits() -> Iterator[list[float | None]]:
    """Makes retries come at once. Yields the list of the waits that the provider asked for, in seconds."""
    requested_waits: list[float | None] = []

    def record(details: RetryDetails) -> None:
        requested_waits.append(getattr(details.caused_by, "retry_after", None))

    before = get_on_retry_hooks()
    set_on_retry_hooks([record])
    try:
        with stamina.set_testing(True, attempts=100, cap=True):
            yield requested_waits
    finally:
        set_on_retry_hooks(before)


def connection_to(dialect: Dialect) -> Connection:
    if dialect.name == "generativeai":
        pytest.importorskip(
            "google.generativeai", reason="the extra generativeai is not installed", exc_type=ImportError
        )
    model = "gpt-5.4-mini" if dialect.is_openai else "gemini-test"
    return Connection(dialect.provider, model, Price(1.0, 10.0), key="k", base_url=dialect.wire.url)


@dataclass
class Question:
    """The smallest use of an SDK: one question with a text answer."""

    dialect: Dialect
    attempt: Callable[[float], Awaitable[str | None]]
    threads: Any = None
    """Thread pool of the SDK's client, if it has one."""

    async def ask(self) -> str | None:
        return await self.dialect.calls.run(self.attempt)


@asynccontextmanager
async def open_question(dialect: Dialect) -> AsyncIterator[Question]:
    connect = {"genai": _genai, "generativeai": _generativeai, "openai": _openai}[dialect.name]
    with without_waits() as dialect.waits:
        async with connect(dialect) as question:
            yield question


@asynccontextmanager
async def _genai(dialect: Dialect) -> AsyncIterator[Question]:
    connection = connection_to(dialect)
    client = google_sdk.connect(connection, dialect.seconds)

    async def attempt(seconds: float) -> str | None:
        config = types.GenerateContentConfig(http_options=google_sdk.request_options(seconds))
        with google_sdk.sdk_errors():
            response = await client.sdk.aio.models.generate_content(
                model=connection.model, contents="Which?", config=config
            )
            return response.text

    yield Question(dialect, attempt)
    await client.close()


@asynccontextmanager
async def _generativeai(dialect: Dialect) -> AsyncIterator[Question]:
    client = generativeai_sdk.connect(connection_to(dialect), {})

    def in_thread(seconds: float) -> str | None:
        with generativeai_sdk.sdk_errors():
            response = client.model.generate_content("Which?", request_options={"timeout": seconds, "retry": None})
            return str(response.text)

    async def attempt(seconds: float) -> str | None:
        return await asyncio.get_running_loop().run_in_executor(client.threads, in_thread, seconds)

    yield Question(dialect, attempt, client.threads)
    await client.close()


@asynccontextmanager
async def _openai(dialect: Dialect) -> AsyncIterator[Question]:
    connection = connection_to(dialect)
    client = openai_sdk.connect(connection, dialect.seconds)

    async def attempt(seconds: float) -> str | None:
        with openai_sdk.sdk_errors():
            response = await client.responses.create(model=connection.model, input="Which?", timeout=seconds)
            return response.output_text

    yield Question(dialect, attempt)
    await client.close()
