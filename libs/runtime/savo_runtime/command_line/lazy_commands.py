"""Lazy commands: `savo --help` lists every command without importing it; a command is imported when it runs.

A command is a row of data: its name, the path of its function, and its line in the list of commands. The function
declares its parameters as in any Typer command, and its docstring is the command's own help. The first paragraph of the
docstring equals the row's line; a test in tests/house compares them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from savo_runtime.command_line.argument_errors import plain_argument_errors
from savo_runtime.command_line.output import reported_errors

__all__ = ["Command", "Group", "add_commands", "load"]


@dataclass(frozen=True)
class Command:
    """A command of `savo`, not imported yet."""

    name: str
    target: str
    """`package.module:function`, imported when the command runs or shows its own help."""
    help: str
    """First paragraph of the function's docstring."""


@dataclass(frozen=True)
class Group:
    """A group of commands: `savo NAME COMMAND`."""

    name: str
    help: str
    commands: tuple[Command, ...]


def add_commands(app: typer.Typer, rows: Iterable[Command | Group]) -> None:
    """Add commands in the given order. Commands of a group whose name exists already are added to that group."""
    for row in rows:
        if isinstance(row, Group):
            add_commands(_group(app, row), row.commands)
        else:
            app.command(row.name, cls=_lazy(row), help=row.help)(_not_called)


def load(command: Command) -> Any:
    """Import a command and return it as a Click command. Raises `ImportError`."""
    module, _, name = command.target.partition(":")
    function = getattr(import_module(module), name)
    single = typer.Typer(add_completion=False)
    single.command(command.name, help=_unwrapped(inspect.getdoc(function) or ""))(function)
    return typer.main.get_command(single)


def _unwrapped(docstring: str) -> str:
    """Each paragraph on a line of its own: Typer shows the line breaks of all paragraphs but the first."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in docstring.split("\n\n"))


def _lazy(command: Command) -> type[TyperCommand]:
    class Lazy(TyperCommand):
        """Placeholder in the list of commands: running it, or requesting its help, loads the real command."""

        def make_context(self, *arguments: Any, **options: Any) -> Any:
            with reported_errors():  # no traceback for Ctrl-C during the import
                real = load(command)
            with plain_argument_errors():
                return real.make_context(*arguments, **options)

    return Lazy


def _not_called() -> None:
    """Typer requires a function; the real command runs instead of it."""
    raise AssertionError("the placeholder of a lazy command was called instead of the command")


def _group(app: typer.Typer, row: Group) -> typer.Typer:
    for known in app.registered_groups:
        if known.name == row.name and known.typer_instance is not None:
            return known.typer_instance
    group = typer.Typer(no_args_is_help=True, help=row.help)
    app.add_typer(group, name=row.name)
    return group
