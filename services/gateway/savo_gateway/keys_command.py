"""What the gateway's commands do and print."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from savo_gateway.access.api_keys import create_key, key_id_of
from savo_gateway.access.records import DEFAULT_SCOPES, MAX_NAME, ApiKey, Scope
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.ports import KeyStore
from savo_runtime.database import Database
from savo_runtime.errors import FatalError, SavoError
from savo_runtime.schema import migrate
from savo_runtime.settings import RuntimeSettings, load_settings

__all__ = ["create_and_print", "expected_errors", "print_keys", "revoke_and_print"]

SERVICE = "gateway"
_FILE_WIDTH = 160

T = TypeVar("T")


@contextmanager
def expected_errors() -> Iterator[None]:
    """An error of the product is one line and exit 1; anything else is a bug and keeps its traceback."""
    try:
        yield
    except SavoError as error:
        typer.secho(f"savo: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


def create_and_print(name: str, scopes: list[str] | None, *, as_json: bool) -> None:
    wanted = _scopes(scopes)
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise typer.BadParameter(f"a name has 1 to {MAX_NAME} characters", param_hint="NAME")
    key, plain = _with_keys(lambda keys: create_key(keys, name.strip(), wanted, _now))
    if as_json:
        typer.echo(json.dumps(_facts(key) | {"key": plain}))
        return
    # The key alone on stdout, so that it can be kept by KEY=$(savo keys create …).
    typer.echo(plain)
    once = "It is shown this once; keep it, and send it as `X-API-Key` (the command: SAVO_API_KEY)."
    typer.secho(f"{key.name}: may do {_scope_names(key)}. {once}", err=True)


def print_keys(*, as_json: bool) -> None:
    keys = _with_keys(lambda keys: keys.list_keys())
    if as_json:
        typer.echo(json.dumps([_facts(key) for key in keys]))
        return
    table = Table("id", "name", "scopes", "made", "revoked", box=None, pad_edge=False)
    for key in keys:
        table.add_row(key.key_id, key.name, _scope_names(key), _day(key.created_at), _day(key.revoked_at))
    console = Console(highlight=False)
    wide = console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)
    wide.print(table if keys else "no keys yet; `savo keys create NAME` makes one")


def revoke_and_print(key_id: str, *, as_json: bool) -> None:
    key_id = key_id_of(key_id)

    async def revoke(keys: KeyStore) -> ApiKey:
        """Revoking twice changes nothing."""
        await keys.revoke_key(key_id, _now())
        found = await keys.find_key(key_id)
        if found is None:
            raise FatalError(f"there is no key {key_id!r}; `savo keys list` shows those there are")
        return found

    key = _with_keys(revoke)
    typer.echo(json.dumps(_facts(key)) if as_json else f"{key.key_id} ({key.name}) is revoked")


def _with_keys(act: Callable[[KeyStore], Awaitable[T]]) -> T:
    """On the gateway's database, which gets its tables here when the gateway never ran."""

    async def run() -> T:
        # Only where the database is: a vendor's key or the gateway's other settings must not be needed to make a key.
        database = Database.open(load_settings(RuntimeSettings), SERVICE)
        try:
            await migrate(database, "savo_gateway.migrations")
            return await act(SqlKeys(database))
        finally:
            await database.close()

    return asyncio.run(run())


def _scopes(names: list[str] | None) -> frozenset[Scope]:
    if not names:
        return DEFAULT_SCOPES
    known = {scope.value: scope for scope in Scope}
    if unknown := [scope for scope in names if scope not in known]:
        raise typer.BadParameter(f"{unknown[0]!r} is no scope; allowed are {', '.join(known)}", param_hint="--scope")
    return frozenset(known[scope] for scope in names)


def _facts(key: ApiKey) -> dict[str, Any]:
    """What is shown of a key: everything but the hash."""
    revoked = key.revoked_at.isoformat() if key.revoked_at else None
    return {
        "id": key.key_id,
        "name": key.name,
        "scopes": _scope_names(key).split(),
        "created_at": key.created_at.isoformat(),
        "revoked_at": revoked,
    }


def _scope_names(key: ApiKey) -> str:
    return " ".join(sorted(scope.value for scope in key.scopes))


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def _now() -> datetime:
    return datetime.now(UTC)
