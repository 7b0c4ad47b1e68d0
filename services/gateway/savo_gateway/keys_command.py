"""`savo keys`: API keys, made and revoked in the gateway's own database.

Whoever may read that database may make a key. Nothing is asked over HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from savo_gateway.access.api_keys import create_key, key_id_of
from savo_gateway.access.records import DEFAULT_SCOPES, MAX_NAME, ApiKey, Scope
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.ports import KeyStore
from savo_runtime.command_line.output import reported_errors, table_console
from savo_runtime.database import Database
from savo_runtime.errors import FatalError
from savo_runtime.schema import migrate
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.timing.clock import utc_now

__all__ = ["create", "list_keys", "revoke"]

SERVICE = "gateway"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

T = TypeVar("T")


@reported_errors()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will use it, such as phone-app.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="scans, training or ops; again for more. Default is scans and training."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    wanted = _scopes(scopes)
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise typer.BadParameter(f"a name has 1 to {MAX_NAME} characters", param_hint="NAME")
    key, plain = _with_keys(lambda keys: create_key(keys, name.strip(), wanted, utc_now))
    if as_json:
        typer.echo(json.dumps(_as_json(key) | {"key": plain}))
        return
    # The key alone on stdout, so that it can be kept by KEY=$(savo keys create …).
    typer.echo(plain)
    once = "It is shown this once; keep it, and send it as `X-API-Key` (the command: SAVO_API_KEY)."
    typer.secho(f"{key.name}: may do {_scope_names(key)}. {once}", err=True)


@reported_errors()
def list_keys(as_json: AsJson = False) -> None:
    """Every key by its id, with its scopes; revoked ones too."""
    keys = _with_keys(lambda keys: keys.list_keys())
    if as_json:
        typer.echo(json.dumps([_as_json(key) for key in keys]))
        return
    table = Table("id", "name", "scopes", "made", "revoked", box=None, pad_edge=False)
    for key in keys:
        table.add_row(key.key_id, key.name, _scope_names(key), _day(key.created_at), _day(key.revoked_at))
    table_console().print(table if keys else "no keys yet; `savo keys create NAME` makes one")


@reported_errors()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `savo keys list` shows it, or the whole key.")],
    as_json: AsJson = False,
) -> None:
    """Let a key open nothing any more, from its next request on."""
    key_id = key_id_of(key_id)

    async def revoke_once(keys: KeyStore) -> ApiKey:
        """Revoking twice changes nothing."""
        await keys.revoke_key(key_id, utc_now())
        found = await keys.find_key(key_id)
        if found is None:
            raise FatalError(f"there is no key {key_id!r}; `savo keys list` shows those there are")
        return found

    key = _with_keys(revoke_once)
    typer.echo(json.dumps(_as_json(key)) if as_json else f"{key.key_id} ({key.name}) is revoked")


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


def _as_json(key: ApiKey) -> dict[str, Any]:
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
