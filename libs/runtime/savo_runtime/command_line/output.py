"""Output of commands: errors as one sentence with an exit code, JSON, and tables."""

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
"""Exit code after Ctrl-C, as in shells."""

_FILE_WIDTH = 160
"""Width in characters of a table that is written to a file or a pipe."""


class CommandError(Exception):
    """An expected error of a command; the message is one sentence with the problem and the next step."""

    exit_code = 1


class WrongUseError(CommandError):
    """The arguments of the command are wrong."""

    exit_code = 2


@contextmanager
def reported_errors(*expected: type[Exception]) -> Iterator[None]:
    """Turns an error of the product, or of an `expected` type, into one sentence on stderr and exit code 1 or 2.

    The error's `next_steps`, where it has any, follow line by line. A file or folder that
    the system refuses is named with the reason. Ctrl-C ends the command without a message. Any other error is a bug and
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
    except OSError as error:
        if error.filename is None:
            raise
        typer.secho(
            f"savo: {error.filename}: {error.strerror}; check the path, its rights and free space", fg="red", err=True
        )
        raise typer.Exit(1) from error


def print_json(value: Any, *, indent: int | None = None) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def table_console() -> Console:
    """A console for tables: as wide as the terminal, or 160 characters where there is none."""
    from rich.console import Console  # imported here, since only commands that print a table need it

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)
