"""The gateway's commands of `savo`."""

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
                "Make a key and print it, this once: only its hash is kept.",
            ),
            Command(
                "list", "savo_gateway.keys_command:list_keys", "Every key by its id, with its scopes; revoked ones too."
            ),
            Command(
                "revoke",
                "savo_gateway.keys_command:revoke",
                "Let a key open nothing any more, from its next request on.",
            ),
        ),
    ),
)


def register(app: typer.Typer) -> None:
    """Called by the CLI through the entry point group `savo.commands`."""
    add_commands(app, COMMANDS)
