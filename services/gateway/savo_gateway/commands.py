"""The gateway's part of the `savo` command: `savo keys`.

It works on the gateway's own database, as its settings name it, and needs no HTTP: access to the database is the permission.
Everything heavy is imported inside the functions: `savo --help` loads no SQLAlchemy.
"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["register"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Called by the CLI through the entry point group `savo.commands`."""
    keys = typer.Typer(no_args_is_help=True, help="API keys of the gateway, for SAVO_AUTH=api_key.")
    keys.command("create")(create)
    keys.command("list")(list_them)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will use it, such as phone-app.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="scans, training or ops; again for more. Default is scans and training."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from savo_gateway.keys_command import create_and_print, expected_errors

    with expected_errors():
        create_and_print(name, scopes, as_json=as_json)


def list_them(as_json: AsJson = False) -> None:
    """Every key by its id, with its scopes; revoked ones too."""
    from savo_gateway.keys_command import expected_errors, print_keys

    with expected_errors():
        print_keys(as_json=as_json)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `savo keys list` shows it, or the whole key.")],
    as_json: AsJson = False,
) -> None:
    """Let a key open nothing any more, from its next request on."""
    from savo_gateway.keys_command import expected_errors, revoke_and_print

    with expected_errors():
        revoke_and_print(key_id, as_json=as_json)
