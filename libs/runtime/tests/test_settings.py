"""Settings: reading the environment, messages about invalid values, masked secrets, the settings table."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import AliasChoices, Field, SecretStr

from savo_runtime.settings import (
    GUIDE_VARIABLES,
    RuntimeSettings,
    guide_values,
    installed_settings,
    known_variables,
    load_settings,
    settings_table,
    unknown_variables,
)
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.s3 import S3Store

R2 = {
    "R2_ACCOUNT_ID": "acc",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "top-secret",
    "R2_BUCKET_NAME": "photos",
}


class ThingSettings(RuntimeSettings):
    share: float | None = Field(None, ge=0, le=1, validation_alias="SAVO_THING_SHARE", description="Of the traffic.")
    key: SecretStr = Field(
        SecretStr("default"), min_length=4, validation_alias="SAVO_THING_KEY", description="The key."
    )
    port: int = Field(8000, validation_alias=AliasChoices("SAVO_THING_PORT", "PORT"), description="A port.")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SAVO_", "R2_")):
            monkeypatch.delenv(name)


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        load_settings(ThingSettings)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"SAVO_THING_SHARE": "1.5"}, "savo: SAVO_THING_SHARE='1.5' makes no sense: allowed is a number from 0 to 1"),
        ({"SAVO_ENV": "prod"}, "savo: SAVO_ENV='prod' makes no sense: allowed is one of dev, production"),
        (
            {"SAVO_EMBEDDED_BROKER": "perhaps"},
            "savo: SAVO_EMBEDDED_BROKER='perhaps' makes no sense: allowed is true or false",
        ),
        ({"SAVO_THING_KEY": "abc"}, "savo: SAVO_THING_KEY=*** makes no sense: allowed is a secret"),
        ({"SAVO_STORAGE_LIMIT_GB": "0"}, "savo: SAVO_STORAGE_LIMIT_GB='0' makes no sense: allowed is a number above 0"),
        ({"PORT": "x"}, "savo: SAVO_THING_PORT='x' makes no sense: allowed is a whole number"),
        (
            {"SAVO_LOG_LEVEL": "loud\nnewline"},
            r"savo: SAVO_LOG_LEVEL='loud\nnewline' makes no sense: allowed is one of debug, info, warning, error",
        ),
        (
            {"SAVO_KAFKA_BOOTSTRAP_SERVERS": "kafka"},
            "savo: SAVO_KAFKA_BOOTSTRAP_SERVERS='kafka' makes no sense:"
            " allowed is `embedded` or host:port[,host:port…]",
        ),
        (
            {"SAVO_ENV": "production"},
            "savo: SAVO_KAFKA_BOOTSTRAP_SERVERS='embedded' makes no sense with SAVO_ENV=production:"
            " host:port of a real Kafka is allowed",
        ),
        (
            {"SAVO_DATABASE_URL": "mysql://savo:hush@db/savo"},
            "savo: SAVO_DATABASE_URL=*** makes no sense:"
            " allowed is postgres://USER:PASSWORD@HOST:PORT/DATABASE, or unset for SQLite",
        ),
        (
            {"SAVO_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "SAVO_KAFKA_SASL_USERNAME": "me"},
            "savo: SAVO_KAFKA_SASL_PASSWORD missing: SAVO_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs a user and a password",
        ),
        (
            {name: value for name, value in R2.items() if name != "R2_SECRET_ACCESS_KEY"},
            f"savo: R2_SECRET_ACCESS_KEY missing: set all of {', '.join(R2)}, or none to keep objects in a folder",
        ),
        (
            {name: value for name, value in R2.items() if name != "R2_ACCOUNT_ID"},
            "savo: R2_ACCOUNT_ID (or SAVO_S3_ENDPOINT_URL) missing:"
            f" set all of {', '.join(R2)}, or none to keep objects in a folder",
        ),
    ],
)
def test_an_invalid_value_is_refused_in_one_line(
    variables: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert refusal(capsys) == line


def test_several_errors_are_one_line_with_their_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_HTTP_PORT", "-1")
    monkeypatch.setenv("SAVO_THING_SHARE", "2")
    assert refusal(capsys).endswith("(and 1 more)")


def test_the_environment_is_read_only_by_the_names_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PORT", "http_port", "savo_http_port", "=http_port".lstrip("=")):
        monkeypatch.setenv(name, "1234")
    assert load_settings(RuntimeSettings).http_port == 0
    monkeypatch.setenv("SAVO_HTTP_PORT", "1234")
    assert load_settings(RuntimeSettings).http_port == 1234


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in R2:
        monkeypatch.setenv(name, "")
    assert load_settings(RuntimeSettings).object_store == "folder"


def test_code_passes_values_by_field_name() -> None:
    assert RuntimeSettings(http_port=5).http_port == 5


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({}, FolderStore),
        (R2, S3Store),
        ({**R2, "R2_ACCOUNT_ID": "", "SAVO_S3_ENDPOINT_URL": "http://127.0.0.1:7070"}, S3Store),
    ],
)
def test_the_settings_choose_the_object_store(
    variables: dict[str, str], kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(open_store(load_settings(RuntimeSettings))) is kind


def test_the_endpoint_follows_from_the_r2_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in R2.items():
        monkeypatch.setenv(name, value)
    assert load_settings(RuntimeSettings).s3_endpoint == "https://acc.r2.cloudflarestorage.com"


def test_printed_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in R2.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SAVO_DATABASE_URL", "postgres://savo:hush@db/savo")
    settings = load_settings(RuntimeSettings)
    assert "top-secret" not in f"{settings!r} {settings}"
    assert "hush" not in f"{settings!r} {settings}"


def test_the_owner_s_variables_are_logged_as_read_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**R2, "SAVO_COLLECT_TRAINING_DATA": "TRUE", "GOOGLE_API_KEY": "hush"}.items():
        monkeypatch.setenv(name, value)
    collector = installed_settings()["collector"]
    assert guide_values(load_settings(collector)) == {
        "SAVO_COLLECT_TRAINING_DATA": "true",
        "R2_ACCOUNT_ID": "acc",
        "R2_BUCKET_NAME": R2["R2_BUCKET_NAME"],
    }


def test_every_variable_of_the_guide_that_is_no_secret_is_one_of_a_service() -> None:
    known = known_variables(installed_settings().values())
    assert [name for name in GUIDE_VARIABLES if name not in known] == []


def test_an_unknown_variable_is_named_with_the_most_similar_one() -> None:
    environ = {"SAVO_THING_SHRAE": "1", "SAVO_QQQQQQQQ": "1", "SAVO_HTTP_PORT": "1", "OTHER": "1"}
    assert [str(variable) for variable in unknown_variables(environ, known_variables([ThingSettings]))] == [
        "SAVO_QQQQQQQQ is not a setting of Savo",
        "SAVO_THING_SHRAE is not a setting of Savo; did you mean SAVO_THING_SHARE?",
    ]


def test_a_setting_of_a_service_that_is_not_installed_is_no_typo() -> None:
    assert "SAVO_USE_CUSTOM_VISION" not in known_variables([ThingSettings])
    assert (
        unknown_variables({"SAVO_USE_CUSTOM_VISION": "true", "SAVO_TRAIN_BATCH": "8"}, known_variables([ThingSettings]))
        == []
    )


def test_the_table_lists_each_variable_once_with_its_readers_and_no_secret() -> None:
    lines = settings_table({"other": RuntimeSettings, "thing": ThingSettings}).splitlines()
    assert "| `SAVO_THING_SHARE` | unset | a number from 0 to 1 | Of the traffic. | thing |" in lines
    assert "| `SAVO_THING_KEY` | secret | a secret | The key. | thing |" in lines
    assert "| `SAVO_ENV` | `dev` | one of dev, production | production refuses the embedded broker. | all |" in lines
    assert sum("SAVO_HTTP_PORT" in line for line in lines) == 1
