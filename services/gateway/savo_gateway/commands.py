"""Commands of `savo` that the gateway provides."""

from __future__ import annotations

import typer

from savo_runtime.command_line.lazy_commands import Command, Group, add_commands

__all__ = ["COMMANDS", "register"]

COMMANDS = (
    Group(
        "keys",
        "API keys of the gateway, for SAVO_AUTH=api_key.",
        (
            Command(
                "create",
                "savo_gateway.keys_command:create",
                "Create a key and print it once: only its hash is stored.",
            ),
            Command(
                "list",
                "savo_gateway.keys_command:list_keys",
                "List the keys by id, with their scopes; revoked keys included.",
            ),
            Command(
                "revoke",
                "savo_gateway.keys_command:revoke",
                "Revoke a key: it is refused from its next request on.",
            ),
        ),
    ),
)


def register(app: typer.Typer) -> None:
    """Called by the CLI through the entry point group `savo.commands`."""
    add_commands(app, COMMANDS)
