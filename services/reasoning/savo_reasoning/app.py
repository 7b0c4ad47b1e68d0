"""Composition root of reasoning: reads the settings, chooses the provider, wires adapters to ports."""

from __future__ import annotations

import structlog

from savo_providers.adapter_loader import load_adapter
from savo_providers.breaker import Breaker
from savo_providers.calls import Calls
from savo_reasoning.adapters.disabled import DisabledWriter
from savo_reasoning.adapters.projection import PROJECTION
from savo_reasoning.adapters.suggestion_store import SqlSuggestionStore
from savo_reasoning.handlers import subscriptions
from savo_reasoning.ports import RecipeWriter
from savo_reasoning.recipes import SuggestRecipes
from savo_reasoning.settings import ReasoningSettings
from savo_runtime.service import Runtime, Service, ServiceDefinition

log = structlog.get_logger()

MAX_WAIT = 10.0
"""Longest wait in seconds before a retry at the time the provider names. A person waits for the answer."""


def build(settings: ReasoningSettings, runtime: Runtime) -> Service:
    """The service with its subscriptions."""
    store = SqlSuggestionStore(runtime.database)
    writer = build_writer(settings)
    recorded = SqlSuggestionStore(runtime.live_database) if runtime.live_database else None
    suggest = SuggestRecipes(writer, store, runtime.clock, recorded)
    return Service(name="reasoning", subscriptions=subscriptions(suggest, store), on_stop=[writer.close])


def build_writer(settings: ReasoningSettings) -> RecipeWriter:
    """The adapter of the chosen provider; a `DisabledWriter` in a sandbox and without a key.

    Raises `FatalError` when the provider's SDK is not installed.
    """
    if settings.sandbox:
        return DisabledWriter("a sandbox calls no provider, and this request has no recorded answer")
    if not settings.can_connect:
        missing = settings.chosen.key_variable
        log.warning("recipes.disabled", missing_variable=missing)
        return DisabledWriter(f"the operator has not set {missing}")
    connection = settings.connection
    adapter = load_adapter("savo_reasoning.adapters", settings.provider, connection.provider)
    writer: RecipeWriter = adapter.connect(connection, calls(settings))
    return writer


def calls(settings: ReasoningSettings) -> Calls:
    """How reasoning calls the provider: an attempt ends after `timeout_seconds`, a call when its request expires."""
    seconds = settings.timeout_seconds
    return Calls(
        settings.chosen,
        Breaker(settings.provider),
        seconds=seconds,
        attempt_seconds=seconds,
        max_wait=MAX_WAIT,
        pauses_consumer=False,
    )


DEFINITION = ServiceDefinition(
    "reasoning", ReasoningSettings, build, migrations="savo_reasoning.migrations", projection=PROJECTION
)
