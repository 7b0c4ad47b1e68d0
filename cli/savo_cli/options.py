"""How the commands end: a clear line instead of a traceback, exit 1; JSON or a table on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["AsJson", "CommandError", "Key", "Url", "page", "speaking", "tell_json"]

_FILE_WIDTH = 160

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[str | None, typer.Option("--url", envvar="SAVO_URL", help="The gateway; default is the one that `savo up` started here.", show_default=False)]
Key = Annotated[str | None, typer.Option("--key", envvar="SAVO_API_KEY", help="API key, where the gateway asks for one.", show_default=False)]


class CommandError(Exception):
    """What went wrong and what to do next, in one line."""

    exit_code = 1


class WrongUseError(CommandError):
    """The command was given words that make no sense."""

    exit_code = 2


@contextmanager
def speaking() -> Iterator[None]:
    """A `CommandError` ends the command with its line on stderr and exit 1, or 2 for wrong use; Ctrl-C ends it quietly."""
    try:
        yield
    except CommandError as flaw:
        typer.secho(f"savo: {flaw}", fg="red", err=True)
        raise typer.Exit(flaw.exit_code) from flaw
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def tell_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def page() -> Console:
    """A console for tables: as wide as the terminal, and wide enough where there is none."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)
