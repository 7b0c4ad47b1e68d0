"""Fixtures: recipe answers in the providers' wire formats, a recipe request, a runtime in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from libs.providers.tests.wire import Reply, Wire, gemini, openai_answer, serving
from savo_contracts.recipes import RecipesRequested
from savo_runtime.service import Runtime
from savo_runtime.testing import FakeClock, memory_runtime

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


RECIPE = {
    "title": "Omelette",
    "ingredients": ["4 eggs", "a splash of milk"],
    "uses": ["egg", "milk", "unicorn"],
    "steps": ["Beat.", "Fry."],
    "minutes": 15,
}
_RECIPES = json.dumps({"recipes": [RECIPE]})


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with serving(Wire()) as running:
        yield running


@pytest.fixture
def openai_recipes() -> Callable[..., Reply]:
    """Makes an answer of 1000 input tokens and 2000 output tokens."""

    def answer(text: str | None = None, **how: str) -> Reply:
        usage = {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 2000,
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        return Reply(
            openai_answer(text=_RECIPES if text is None else text, **how) | {"usage": usage | {"total_tokens": 3000}}
        )

    return answer


@pytest.fixture
def google_recipes() -> Callable[..., Reply]:
    """Makes an answer of 1000 input tokens and 2000 output tokens."""

    def answer(text: str | None = None, **how: str) -> Reply:
        usage = {"promptTokenCount": 1000, "candidatesTokenCount": 1500, "thoughtsTokenCount": 500}
        return Reply(gemini(text=_RECIPES if text is None else text, **how) | {"usageMetadata": usage})

    return answer


@pytest.fixture
def requested() -> RecipesRequested:
    return RecipesRequested(
        recipe_id="recipe-1",
        scan_id="scan-1",
        subject="subject-1",
        ingredients=("egg", "milk"),
        requested_at=NOON,
        expires_at=NOON + timedelta(seconds=120),
    )


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with memory_runtime("reasoning", migrations="savo_reasoning.migrations", clock=FakeClock(NOON)) as runtime:
        yield runtime
