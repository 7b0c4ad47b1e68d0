"""How a command ends and what it prints: a sentence instead of a traceback, JSON or a table on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from savo_runtime.errors import SavoError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["INTERRUPTED", "CommandError", "WrongUseError", "print_json", "reported_errors", "table_console"]

INTERRUPTED = 130
"""As shells report Ctrl-C."""

_FILE_WIDTH = 160
"""Characters of a table that goes to a file or a pipe."""


class CommandError(Exception):
    """What went wrong and what to do next, in one sentence."""

    exit_code = 1


class WrongUseError(CommandError):
    """The arguments make no sense."""

    exit_code = 2


@contextmanager
def reported_errors(*expected: type[Exception]) -> Iterator[None]:
    """An error of the product, or an `expected` one, ends the command with its sentence on stderr and exit 1 or 2.

    Its `next_steps`, where it has any, follow line by line. Ctrl-C ends the command quietly. Anything else is a bug and
    keeps its traceback.
    """
    known: tuple[type[Exception], ...] = (CommandError, SavoError, *expected)
    try:
        yield
    except known as error:
        typer.secho(f"savo: {error}", fg="red", err=True)
        for step in getattr(error, "next_steps", ()):
            typer.echo(f"  {step}", err=True)
        raise typer.Exit(getattr(error, "exit_code", 1)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def print_json(value: Any, *, indent: int | None = None) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def table_console() -> Console:
    """For tables: as wide as the terminal, and wide enough where there is none."""
    from rich.console import Console  # only commands that print a table pay for rich

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)
