"""`savo keys`: creates, lists and revokes API keys in the gateway's database.

It needs access to that database, and sends no HTTP request.
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
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="scans, training or ops; repeat it for more scopes. Default: scans and training.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it once: only its hash is stored."""
    wanted = _scopes(scopes)
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise typer.BadParameter(f"a name needs 1 to {MAX_NAME} characters", param_hint="NAME")
    key, plain = _with_keys(lambda keys: create_key(keys, name.strip(), wanted, utc_now))
    if as_json:
        typer.echo(json.dumps(_as_json(key) | {"key": plain}))
        return
    # The key alone on stdout, for KEY=$(savo keys create …).
    typer.echo(plain)
    usage = "Store it now: it is not shown again. Send it as `X-API-Key`; `savo` reads it from SAVO_API_KEY."
    typer.secho(f"{key.name} has the scopes: {_scope_names(key)}. {usage}", err=True)


@reported_errors()
def list_keys(as_json: AsJson = False) -> None:
    """List the keys by id, with their scopes; revoked keys included."""
    keys = _with_keys(lambda keys: keys.list_keys())
    if as_json:
        typer.echo(json.dumps([_as_json(key) for key in keys]))
        return
    table = Table("id", "name", "scopes", "made", "revoked", box=None, pad_edge=False)
    for key in keys:
        table.add_row(key.key_id, key.name, _scope_names(key), _day(key.created_at), _day(key.revoked_at))
    table_console().print(table if keys else "no keys yet; `savo keys create NAME` creates one")


@reported_errors()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `savo keys list` shows it, or the whole key.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key: it is refused from its next request on."""
    key_id = key_id_of(key_id)

    async def revoke_once(keys: KeyStore) -> ApiKey:
        """Revoking twice changes nothing."""
        await keys.revoke_key(key_id, utc_now())
        found = await keys.find_key(key_id)
        if found is None:
            raise FatalError(f"there is no key {key_id!r}; `savo keys list` shows the ids")
        return found

    key = _with_keys(revoke_once)
    typer.echo(json.dumps(_as_json(key)) if as_json else f"{key.key_id} ({key.name}) is revoked")


def _with_keys(act: Callable[[KeyStore], Awaitable[T]]) -> T:
    """Run `act` on the gateway's database. Its tables are created when the gateway has never run."""

    async def run() -> T:
        # Not the gateway's own settings: creating a key must not need a provider's key, for example.
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
        raise typer.BadParameter(f"{unknown[0]!r} is not a scope; allowed are {', '.join(known)}", param_hint="--scope")
    return frozenset(known[scope] for scope in names)


def _as_json(key: ApiKey) -> dict[str, Any]:
    """A key without its hash."""
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
