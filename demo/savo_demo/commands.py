"""The demo's commands of `savo`."""

from __future__ import annotations

import typer

from savo_runtime.command_line.lazy_commands import Command, add_commands

__all__ = ["COMMANDS", "register"]

COMMANDS = (
    Command(
        "synthesize",
        "savo_demo.drawing.synthesize:synthesize",
        "Generate kitchen scenes with their labels as a YOLO folder.",
    ),
    Command(
        "demo",
        "savo_demo.demo:demo",
        "Run the whole flywheel on this machine: scans, samples, training, gate and rollout.",
    ),
)


def register(app: typer.Typer) -> None:
    """Add the commands to the CLI, which calls this through the entry point group `savo.commands`."""
    add_commands(app, COMMANDS)
