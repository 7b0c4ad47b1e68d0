"""Tests of the settings that are made from the catalogue's rows."""

from __future__ import annotations

from typing import Any

import pytest

from savo_providers.catalogue import GOOGLE, OPENAI, PROVIDERS
from savo_providers.prices import Price
from savo_providers.settings import ModelSettings, ProviderSettings, provider_choice
from savo_runtime.settings import known_variables, load_settings
from savo_runtime.telemetry.redaction import secrets_of


class ServiceSettings(ModelSettings):
    provider: str = provider_choice("vision", OPENAI, "SAVO_TEST_PROVIDER", "Provider of the test.")

    @property
    def provider_name(self) -> str:
        return self.provider

    @property
    def provider_model(self) -> str:
        return str(getattr(self, f"{self.provider}_model"))


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in known_variables([ServiceSettings]):
        monkeypatch.delenv(variable, raising=False)


def test_every_provider_has_its_variables() -> None:
    variables = {variable for provider in PROVIDERS for variable in provider.variables}
    assert variables <= known_variables([ServiceSettings])
    assert known_variables([ServiceSettings]) - known_variables([ProviderSettings]) == {
        "SAVO_TEST_PROVIDER",
        *(each.model_variable for each in PROVIDERS),
    }


def test_a_connection_is_the_chosen_provider_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key-of-google")
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("SAVO_OPENAI_MODEL", "gpt-5.4-nano")
    connection = load_settings(ServiceSettings).connection
    assert (connection.provider, connection.model, connection.price) == (OPENAI, "gpt-5.4-nano", Price(0.20, 1.25))
    assert (connection.key, connection.base_url) == ("a-key-of-openai", "http://127.0.0.1:9/v1")
    assert "a-key" not in repr(connection)


def test_our_own_variable_overrides_the_sdk_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_TEST_PROVIDER", "google")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SAVO_GOOGLE_BASE_URL", "http://127.0.0.1:8")
    settings = load_settings(ServiceSettings)
    assert (settings.chosen, settings.provider_base_url) == (GOOGLE, "http://127.0.0.1:8")


def test_a_server_at_a_configured_address_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings(ServiceSettings).can_connect
    monkeypatch.setenv("SAVO_OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    settings = load_settings(ServiceSettings)
    assert settings.can_connect
    assert settings.connection.key == "stand-in"


def test_every_key_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {provider.key_variable: f"a-key-of-{provider.name}" for provider in PROVIDERS}
    for variable, key in keys.items():
        monkeypatch.setenv(variable, key)
    assert set(secrets_of(load_settings(ServiceSettings))) == set(keys.values())


def test_the_operator_s_price_overrides_the_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_MODEL_PRICES", '{"gpt-5.4-mini": [0, 9], "gpt-7": [1, 2]}')
    assert load_settings(ServiceSettings).provider_price == Price(0.0, 9.0)
    monkeypatch.setenv("SAVO_OPENAI_MODEL", "gpt-7")
    assert load_settings(ServiceSettings).provider_price == Price(1.0, 2.0)
    monkeypatch.setenv("SAVO_OPENAI_MODEL", "gpt-8")
    assert not load_settings(ServiceSettings).has_price


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SAVO_TEST_PROVIDER", "azure", "SAVO_TEST_PROVIDER='azure' makes no sense: allowed is one of openai, google"),
        (
            "SAVO_GOOGLE_BASE_URL",
            "localhost",
            "SAVO_GOOGLE_BASE_URL='localhost' makes no sense: allowed is http(s)://HOST[:PORT]",
        ),
    ],
)
def test_an_invalid_value_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        load_settings(ServiceSettings)
    error: Any = capsys.readouterr().err
    assert error == f"savo: {sentence}\n"
