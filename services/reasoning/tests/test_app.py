"""Tests of reasoning's composition root and settings."""

from __future__ import annotations

from typing import Any

import pytest

from savo_contracts.envelope import Envelope
from savo_contracts.recipes import RecipesRequested
from savo_contracts.topics import TOPICS
from savo_providers.catalogue import PROVIDERS, Provider
from savo_reasoning.adapters.disabled import DisabledWriter
from savo_reasoning.adapters.google import GoogleWriter
from savo_reasoning.adapters.openai import OpenAiWriter
from savo_reasoning.adapters.tables import Base
from savo_reasoning.app import DEFINITION, build, build_writer
from savo_reasoning.settings import ReasoningSettings
from savo_runtime.service import Runtime
from savo_runtime.settings import load_settings
from savo_runtime.testing import assert_migrations_match

VARIABLES = (
    "SAVO_REASONING_PROVIDER",
    "OPENAI_API_KEY",
    "GOOGLE_API_KEY",
    "SAVO_OPENAI_BASE_URL",
    "SAVO_GOOGLE_BASE_URL",
    "OPENAI_BASE_URL",
    "GOOGLE_GEMINI_BASE_URL",
    "SAVO_GOOGLE_SDK",
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


async def test_the_service_reads_every_topic_that_names_it_as_a_consumer(runtime: Runtime) -> None:
    service = build(load_settings(ReasoningSettings), runtime)
    assert {subscription.topic for subscription in service.subscriptions} == {
        topic for topic in TOPICS if "reasoning" in topic.consumers
    }
    assert DEFINITION.name == service.name == "reasoning"


async def test_the_migrations_create_the_tables_of_the_code() -> None:
    await assert_migrations_match("savo_reasoning.migrations", Base.metadata)


async def test_without_a_key_the_service_starts_and_its_answers_name_the_missing_variable(
    runtime: Runtime, requested: RecipesRequested
) -> None:
    service = build(load_settings(ReasoningSettings), runtime)
    suggest = next(
        subscription for subscription in service.subscriptions if subscription.topic.name == "recipes.requested"
    )
    event: Any = await suggest.handle(Envelope.new(requested, "gateway"))
    assert "OPENAI_API_KEY" in event.error
    assert (event.recipes, event.cost_usd) == ((), 0.0)


@pytest.mark.parametrize("environment", [{"SAVO_REASONING_PROVIDER": "google"}, {"OPENAI_API_KEY": "k"}])
async def test_a_sandbox_needs_no_key_and_calls_no_provider(
    runtime: Runtime, requested: RecipesRequested, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in (environment | {"SAVO_SANDBOX": "look"}).items():
        monkeypatch.setenv(name, value)
    service = build(load_settings(ReasoningSettings), runtime)
    suggest = next(
        subscription for subscription in service.subscriptions if subscription.topic.name == "recipes.requested"
    )
    event: Any = await suggest.handle(Envelope.new(requested, "gateway"))
    assert (
        event.error == "Recipes are switched off: a sandbox calls no provider, and this request has no recorded answer."
    )
    assert event.cost_usd == 0.0


@pytest.mark.parametrize(("provider", "variable"), [("openai", "OPENAI_API_KEY"), ("google", "GOOGLE_API_KEY")])
def test_a_provider_chosen_without_its_key_stops_the_start_with_one_line(
    provider: str, variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_REASONING_PROVIDER", provider)
    with pytest.raises(SystemExit):
        load_settings(ReasoningSettings)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert variable in error
    assert "SAVO_REASONING_PROVIDER" in error


def test_google_s_older_sdk_is_refused_for_recipes_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_GOOGLE_SDK", "generativeai")
    assert load_settings(ReasoningSettings).provider == "openai", "vision may use it beside another provider here"
    monkeypatch.setenv("SAVO_REASONING_PROVIDER", "google")
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    with pytest.raises(SystemExit):
        load_settings(ReasoningSettings)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "SAVO_GOOGLE_SDK=generativeai is for scans alone" in error
    assert "choose another SAVO_REASONING_PROVIDER" in error


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, DisabledWriter),
        ({"OPENAI_API_KEY": "k"}, OpenAiWriter),
        ({"SAVO_OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, OpenAiWriter),
        ({"SAVO_REASONING_PROVIDER": "google", "GOOGLE_API_KEY": "k"}, GoogleWriter),
        ({"SAVO_REASONING_PROVIDER": "google", "SAVO_GOOGLE_BASE_URL": "http://127.0.0.1:9"}, GoogleWriter),
    ],
)
async def test_the_provider_follows_the_environment(
    environment: dict[str, str], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    writer = build_writer(load_settings(ReasoningSettings))
    assert isinstance(writer, kind)
    await writer.close()


@pytest.mark.parametrize(
    "provider", [provider for provider in PROVIDERS if "recipes" in provider.models], ids=lambda provider: provider.name
)
async def test_every_provider_that_can_be_chosen_has_its_adapter(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAVO_REASONING_PROVIDER", provider.name)
    monkeypatch.setenv(provider.key_variable, "k")
    writer = build_writer(load_settings(ReasoningSettings))
    assert (writer.provider, writer.model) == (provider.name, provider.models["recipes"])
    await writer.close()


async def test_the_operators_price_overrides_the_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("SAVO_MODEL_PRICES", '{"gpt-5.4-mini": [0, 9]}')
    writer = build_writer(load_settings(ReasoningSettings))
    assert isinstance(writer, OpenAiWriter)
    assert (writer.price.input, writer.price.output) == (0.0, 9.0)
    await writer.close()


def test_a_model_without_a_price_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_REASONING_MODEL", "gpt-7")
    with pytest.raises(SystemExit):
        load_settings(ReasoningSettings)
    error = capsys.readouterr().err
    assert "SAVO_REASONING_MODEL='gpt-7' has no price" in error
    assert error.count("\n") == 1
