"""Tests of the catalogue: every row is complete and fits contracts and settings."""

from __future__ import annotations

import re

import pytest

from savo_contracts.open_values import OPEN_VALUE
from savo_contracts.scans import ServedBy
from savo_providers.catalogue import PRICES, PROVIDERS, Provider, provider_named, title_of
from savo_providers.prices import Price, Usage

every_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)


@every_provider
def test_a_provider_s_name_may_be_written_into_events(provider: Provider) -> None:
    assert re.fullmatch(OPEN_VALUE, provider.name)
    assert ServedBy(provider.name) is not ServedBy.CUSTOM


def test_every_source_of_answers_except_our_own_model_is_a_provider() -> None:
    assert [served_by.value for served_by in ServedBy if served_by is not ServedBy.CUSTOM] == [
        provider.name for provider in PROVIDERS
    ]


@every_provider
def test_a_provider_s_default_models_have_a_price(provider: Provider) -> None:
    assert provider.models
    assert set(provider.models.values()) <= provider.prices.keys()


def test_no_two_providers_share_a_name_a_variable_or_a_model() -> None:
    variables = [variable for provider in PROVIDERS for variable in provider.variables]
    assert len(set(variables)) == len(variables)
    assert len({provider.name for provider in PROVIDERS}) == len(PROVIDERS)
    assert len(PRICES) == sum(len(provider.prices) for provider in PROVIDERS)


@every_provider
def test_our_own_variable_for_the_address_is_the_first(provider: Provider) -> None:
    assert provider.base_url_variables[0] == f"SAVO_{provider.name.upper()}_BASE_URL"
    assert provider.model_variable == f"SAVO_{provider.name.upper()}_MODEL"


def test_the_title_of_an_unknown_provider_is_its_name() -> None:
    assert [title_of(name) for name in ("google", "openai", "mistral-9")] == ["Google", "OpenAI", "mistral-9"]
    with pytest.raises(KeyError, match="there are google, openai"):
        provider_named("mistral-9")


def test_a_price_is_in_dollars_for_a_million_tokens() -> None:
    assert Price(1.0, 10.0).of(Usage(500_000, 10_000) + Usage(0, 90_000)) == pytest.approx(1.5)
