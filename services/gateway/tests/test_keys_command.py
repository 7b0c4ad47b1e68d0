"""`savo keys`: made once, shown once, revoked for good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from savo_gateway.access.callers import AccessPolicy, CheckCaller, Mode
from savo_gateway.access.records import Principal, Scope
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.commands import register
from savo_gateway.errors import UnauthorizedError
from savo_runtime.database import Database
from savo_runtime.settings import RuntimeSettings

Savo = Callable[..., Result]


@pytest.fixture
def savo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Savo:
    """The command, on the database of a gateway that never ran."""
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)  # with a single word Typer would leave the word out
    return lambda *words: CliRunner().invoke(app, ["keys", *words])


@pytest.fixture
def made(savo: Savo) -> Any:
    return json.loads(savo("create", "phone-app", "--json").stdout)


def principal_of(key: str, folder: Path) -> Principal:
    async def check() -> Principal:
        database = Database.open(RuntimeSettings(data_dir=folder), "gateway")
        try:
            return await CheckCaller(AccessPolicy(Mode.API_KEY), SqlKeys(database))({"x-api-key": key})
        finally:
            await database.close()

    return asyncio.run(check())  # the command has a loop of its own, so these tests have none


def test_the_key_alone_is_on_stdout_and_its_scopes_are_told_beside_it(savo: Savo) -> None:
    said = savo("create", "ops", "--scope", "ops", "--scope", "scans")
    assert said.exit_code == 0
    (key,) = said.stdout.split()
    assert key.startswith("savo_")
    assert "may do ops scans" in said.stderr


def test_a_new_key_opens_what_its_scopes_say(made: dict[str, Any], tmp_path: Path) -> None:
    caller = principal_of(made["key"], tmp_path)
    assert caller.scopes == {Scope.SCANS, Scope.TRAINING}


def test_the_list_shows_every_key_and_no_secret(savo: Savo, made: dict[str, Any]) -> None:
    table, facts = savo("list").stdout, json.loads(savo("list", "--json").stdout)
    assert made["id"] in table
    assert "phone-app" in table
    assert [(one["id"], one["revoked_at"]) for one in facts] == [(made["id"], None)]
    assert made["key"].rpartition("_")[2] not in table + json.dumps(facts)


@pytest.mark.parametrize("by", ["id", "key"])
def test_a_revoked_key_opens_nothing_and_revoking_twice_is_no_error(
    savo: Savo, made: dict[str, Any], tmp_path: Path, by: str
) -> None:
    first, again = savo("revoke", made[by]), savo("revoke", made[by], "--json")
    assert "phone-app) is revoked" in first.stdout
    assert json.loads(again.stdout)["revoked_at"]
    with pytest.raises(UnauthorizedError):
        principal_of(made["key"], tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("create", "app", "--scope", "everything"), 2, "allowed are scans, training, ops"),
        (("create", " "), 2, "1 to 200 characters"),
        (("revoke", "nobody"), 1, "`savo keys list` shows those there are"),
    ],
)
def test_a_wrong_word_is_told_with_what_is_right(savo: Savo, words: tuple[str, ...], code: int, told: str) -> None:
    said = savo(*words)
    assert said.exit_code == code
    assert told in " ".join(said.stderr.replace("│", " ").split())


def test_without_keys_the_list_says_how_to_make_one(savo: Savo) -> None:
    assert "savo keys create NAME" in savo("list").stdout
