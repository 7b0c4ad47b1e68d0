"""Commands that are imported when they run: `savo --help` lists them all and loads none of what they need.

A command is a row: its name, where its function is, and its line in the list of commands. The function declares its
parameters as Typer wants them, and its docstring is the command's own help. The first paragraph of the docstring is the
row's line: tests/house holds them equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from savo_runtime.command_line.output import reported_errors

__all__ = ["Command", "Group", "add_commands", "load"]


@dataclass(frozen=True)
class Command:
    name: str
    target: str
    """`package.module:function`, imported when the command runs or shows its own help."""
    help: str
    """First paragraph of the function's docstring."""


@dataclass(frozen=True)
class Group:
    """Commands of one subject: `savo NAME COMMAND`."""

    name: str
    help: str
    commands: tuple[Command, ...]


def add_commands(app: typer.Typer, rows: Iterable[Command | Group]) -> None:
    """In their order. A group that is there already, by its name, gets the new commands."""
    for row in rows:
        if isinstance(row, Group):
            add_commands(_group(app, row), row.commands)
        else:
            app.command(row.name, cls=_lazy(row), help=row.help)(_not_called)


def load(command: Command) -> Any:
    """The Click command of a row, imported. Raises `ImportError`."""
    module, _, name = command.target.partition(":")
    single = typer.Typer(add_completion=False)
    single.command(command.name)(getattr(import_module(module), name))
    return typer.main.get_command(single)


def _lazy(command: Command) -> type[TyperCommand]:
    class Lazy(TyperCommand):
        """Stands in the list of commands; running it, and asking for its help, goes to the real one."""

        def make_context(self, *arguments: Any, **options: Any) -> Any:
            with reported_errors():  # Ctrl-C while a module is imported ends quietly
                real = load(command)
            return real.make_context(*arguments, **options)

    return Lazy


def _not_called() -> None:
    """Typer wants a function to register; the context of the real command never reaches it."""
    raise AssertionError("the real command runs in the place of its row")


def _group(app: typer.Typer, row: Group) -> typer.Typer:
    for known in app.registered_groups:
        if known.name == row.name and known.typer_instance is not None:
            return known.typer_instance
    group = typer.Typer(no_args_is_help=True, help=row.help)
    app.add_typer(group, name=row.name)
    return group
