"""`savo stats`: the seven figures of GET /training/stats, or what people correct."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from savo_cli.correction_rows import correction_rows
from savo_cli.gateway import Gateway
from savo_cli.options import AsJson, Key, Url
from savo_contracts.measures import Unit
from savo_runtime.command_line.output import print_json, reported_errors, table_console

__all__ = ["stats"]

MOST_CORRECTIONS = 20


@reported_errors()
def stats(
    watch: Annotated[bool, typer.Option("--watch", help="Repeat every --every seconds, until Ctrl-C.")] = False,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="Show what people correct: from which label to which, by model.")
    ] = False,
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
            found = gateway.get("/training/corrections" if corrections else "/training/stats")
            if as_json:
                print_json(found)
            else:
                _print(_corrections_table(found) if corrections else _figures_table(found), clear=watch)
            if not watch:
                return
            time.sleep(every)


def _figures_table(figures: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in figures.items():
        text = Unit.SHARE.text(value) if name == "correction_rate" and value is not None else value
        table.add_row(name.replace("_", " "), "–" if text is None else str(text))
    return table


def _corrections_table(corrections: dict[str, Any]) -> Table:
    table = Table("correction", "model", "items", "share", "trend", box=None, pad_edge=False)
    for row in correction_rows(corrections, MOST_CORRECTIONS):
        table.add_row(row.change, row.model_version, row.items, row.share, row.trend)
    return table


def _print(table: Table, *, clear: bool) -> None:
    console = table_console()
    if clear and console.is_terminal:
        console.clear()
    console.print(table)
