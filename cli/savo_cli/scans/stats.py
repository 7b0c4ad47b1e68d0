"""`savo stats`: the seven figures of GET /training/stats."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from savo_cli.gateway import Gateway
from savo_cli.options import AsJson, Key, Url
from savo_contracts.measures import Unit
from savo_runtime.command_line.output import print_json, reported_errors, table_console

__all__ = ["stats"]


@reported_errors()
def stats(
    watch: Annotated[bool, typer.Option("--watch", help="Repeat every --every seconds, until Ctrl-C.")] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.2, help="Seconds between two requests.")
    ] = 2.0,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show the totals of samples, corrections and storage."""
    with Gateway(url, key) as gateway:
        while True:
            figures = gateway.get("/training/stats")
            print_json(figures) if as_json else _print(figures, clear=watch)
            if not watch:
                return
            time.sleep(every)


def _print(figures: dict[str, Any], *, clear: bool) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in figures.items():
        text = Unit.SHARE.text(value) if name == "correction_rate" and value is not None else value
        table.add_row(name.replace("_", " "), "–" if text is None else str(text))
    console = table_console()
    if clear and console.is_terminal:
        console.clear()
    console.print(table)
