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


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.target)
def test_each_value_of_a_command_is_named_in_its_help(command: Command) -> None:
    values = [each for each in load(command).params if each.name != "help" and not getattr(each, "is_flag", False)]
    names = {each.name: each.metavar or "" for each in values}
    assert {name for name, metavar in names.items() if len(metavar) < 2 and metavar != "N"} == set()


def test_each_function_belongs_to_one_command() -> None:
    targets = [command.target for command in ALL]
    assert len(targets) == len(set(targets)) > 10
