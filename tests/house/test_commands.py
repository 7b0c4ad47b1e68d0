"""Commands of `savo`: the row of each agrees with its function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import entry_points

import pytest

from savo_runtime.command_line.lazy_commands import Command, Group, load

MODULES = ["savo_cli.commands", *(entry.module for entry in entry_points(group="savo.commands"))]


def commands(rows: Iterable[Command | Group]) -> Iterator[Command]:
    for row in rows:
        yield from commands(row.commands) if isinstance(row, Group) else (row,)


ALL = [command for module in MODULES for command in commands(import_module(module).COMMANDS)]


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.target)
def test_the_help_in_the_row_is_the_first_paragraph_of_the_docstring(command: Command) -> None:
    first, _, _ = load(command).help.partition("\n\n")
    assert command.help == " ".join(first.split())


def test_each_function_belongs_to_one_command() -> None:
    targets = [command.target for command in ALL]
    assert len(targets) == len(set(targets)) > 10
