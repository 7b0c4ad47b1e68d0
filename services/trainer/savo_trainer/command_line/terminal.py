"""Consoles of the trainer's commands: results go to stdout, progress goes to stderr."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from savo_runtime.command_line.output import print_json as print_json_with

__all__ = ["err", "out", "print_json", "print_line"]

out = Console()
err = Console(stderr=True)


def print_line(text: str, *, console: Console | None = None, style: str = "") -> None:
    """Print the text unchanged and unwrapped, so that a line can be copied into the next command."""
    (console or out).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    print_json_with(value, indent=2)
