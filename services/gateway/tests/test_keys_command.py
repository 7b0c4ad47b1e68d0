"""`savo keys`: create, list and revoke."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from savo_gateway.access.callers import AccessPolicy, Authenticator, Mode
from savo_gateway.access.records import Principal, Scope
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.commands import register
from savo_gateway.errors import UnauthorizedError
from savo_runtime.database import Database
from savo_runtime.settings import RuntimeSettings

Savo = Callable[..., Result]


@pytest.fixture
def savo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Savo:
    """The command, on the database of a gateway that has never run."""
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)  # with a single group Typer would omit the group's name
    return lambda *arguments: CliRunner().invoke(app, ["keys", *arguments])


@pytest.fixture
def created(savo: Savo) -> Any:
    return json.loads(savo("create", "phone-app", "--json").stdout)


def principal_of(key: str, folder: Path) -> Principal:
    async def check() -> Principal:
        database = Database.open(RuntimeSettings(data_dir=folder), "gateway")
        try:
            return await Authenticator(AccessPolicy(Mode.API_KEY), SqlKeys(database))({"x-api-key": key})
        finally:
            await database.close()

    return asyncio.run(check())  # the command runs its own event loop, so these tests have none


def test_the_key_alone_is_on_stdout_and_its_scopes_are_on_stderr(savo: Savo) -> None:
    result = savo("create", "ops", "--scope", "ops", "--scope", "scans")
    assert result.exit_code == 0
    (key,) = result.stdout.split()
    assert key.startswith("savo_")
    assert "ops has the scopes: ops scans" in result.stderr


def test_a_new_key_has_the_default_scopes(created: dict[str, Any], tmp_path: Path) -> None:
    caller = principal_of(created["key"], tmp_path)
    assert caller.scopes == {Scope.SCANS, Scope.TRAINING}


def test_the_list_shows_every_key_and_no_secret(savo: Savo, created: dict[str, Any]) -> None:
    table, keys = savo("list").stdout, json.loads(savo("list", "--json").stdout)
    assert created["id"] in table
    assert "phone-app" in table
    assert [(key["id"], key["revoked_at"]) for key in keys] == [(created["id"], None)]
    assert created["key"].rpartition("_")[2] not in table + json.dumps(keys)


@pytest.mark.parametrize("by", ["id", "key"])
def test_a_revoked_key_is_refused_and_revoking_twice_is_no_error(
    savo: Savo, created: dict[str, Any], tmp_path: Path, by: str
) -> None:
    first, again = savo("revoke", created[by]), savo("revoke", created[by], "--json")
    assert "phone-app) is revoked" in first.stdout
    assert json.loads(again.stdout)["revoked_at"]
    with pytest.raises(UnauthorizedError):
        principal_of(created["key"], tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("create", "app", "--scope", "everything"), 2, "allowed are scans, training, ops"),
        (("create", " "), 2, "1 to 200 characters"),
        (("revoke", "unknown"), 1, "`savo keys list` shows the ids"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_is_allowed(
    savo: Savo, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = savo(*arguments)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_an_empty_list_shows_how_to_create_a_key(savo: Savo) -> None:
    assert "savo keys create NAME" in savo("list").stdout
