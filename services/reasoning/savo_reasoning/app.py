"""Reasoning's composition root: the only reader of its settings, the only place that knows which provider writes the recipes.

A provider's SDK takes a second and 50 MB to import: only the chosen one is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from savo_reasoning.adapters.disabled import SwitchedOff
from savo_reasoning.adapters.projection import PROJECTION
from savo_reasoning.adapters.suggestion_store import DatabaseShelf
from savo_reasoning.handlers import on_recipes_requested, on_scan_erased, on_subject_erased
from savo_reasoning.patience import Breaker, Patience
from savo_reasoning.recipes import Suggest
from savo_reasoning.settings import KEY_OF, ReasoningSettings
from savo_runtime.messaging.consuming.subscriptions import bind
from savo_runtime.service import Runtime, Service, ServiceDefinition

if TYPE_CHECKING:
    from savo_reasoning.adapters.google import GoogleWriter
    from savo_reasoning.adapters.openai import OpenAiWriter

log = structlog.get_logger()

CONCURRENCY = 8
_NO_KEY = "stand-in"
"""A server at a base URL of ours may want no key; the SDKs insist on one."""


def build(settings: ReasoningSettings, runtime: Runtime) -> Service:
    shelf = DatabaseShelf(runtime.database)
    writer = build_writer(settings)
    recorded = DatabaseShelf(runtime.live) if runtime.live else None
    suggest = Suggest(writer, shelf, Patience(), Breaker(writer.provider, runtime.clock), runtime.clock, recorded)
    return Service(
        name="reasoning",
        subscriptions=[
            bind(on_recipes_requested, concurrency=CONCURRENCY, suggest=suggest),
            bind(on_scan_erased, shelf=shelf),
            bind(on_subject_erased, shelf=shelf),
        ],
        on_stop=[] if isinstance(writer, SwitchedOff) else [writer.close],
    )


def build_writer(settings: ReasoningSettings) -> OpenAiWriter | GoogleWriter | SwitchedOff:
    if settings.sandbox:
        return SwitchedOff("a sandbox asks nobody, and this one is not recorded")
    if not settings.key and not settings.base_url:
        log.warning("recipes.disabled", missing=KEY_OF[settings.provider])
        return SwitchedOff(f"the operator has not set {KEY_OF[settings.provider]}")
    how = (settings.key or _NO_KEY, settings.base_url, settings.model_name, settings.prices, settings.timeout_seconds)
    if settings.provider == "openai":
        from savo_reasoning.adapters.openai import OpenAiWriter

        return OpenAiWriter.connect(*how)
    from savo_reasoning.adapters.google import GoogleWriter

    return GoogleWriter.connect(*how)


DEFINITION = ServiceDefinition("reasoning", ReasoningSettings, build, migrations="savo_reasoning.migrations", projection=PROJECTION)
