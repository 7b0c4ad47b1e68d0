"""The demo's commands of `savo`."""

from __future__ import annotations

import typer

from savo_runtime.command_line.lazy_commands import Command, add_commands

__all__ = ["COMMANDS", "register"]

COMMANDS = (
    Command(
        "synthesize", "savo_demo.drawing.synthesize:synthesize", "Draw kitchen scenes with their labels, in YOLO form."
    ),
    Command(
        "demo",
        "savo_demo.demo:demo",
        "Turn the whole wheel on this machine and show it (DEMO_PHOTOS, DEMO_GATE, DEMO_TRAIN, DEMO_KEEP).",
    ),
)


def register(app: typer.Typer) -> None:
    """Called by the CLI through the entry point group `savo.commands`."""
    add_commands(app, COMMANDS)
