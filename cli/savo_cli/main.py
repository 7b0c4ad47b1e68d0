"""The `savo` command: its own words, and those that services and the demo bring along (entry points `savo.commands`)."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["app", "run"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Savo's vision flywheel: photos in, ingredients out, every confirmation a sample.")


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the gateway.", envvar="PORT", min=1, max=65535)] = 8000,
    data_dir: Annotated[Path, typer.Option(help="Folder of databases, objects, logs.", envvar="SAVO_DATA_DIR")] = Path(".savo"),
    kafka: Annotated[str | None, typer.Option(help="HOST:PORT of a real Kafka in the embedded broker's place.")] = None,
    standin: Annotated[Path | None, typer.Option(help="Also start the Google stand-in, with the truth of this YOLO-form folder.")] = None,
    standin_option: Annotated[list[str] | None, typer.Option(help="Handed to the stand-in, such as --standin-option=--latency-scale=0.1.")] = None,
    one_process: Annotated[bool, typer.Option("--one-process", help="Every service but the trainer in one process.")] = False,
) -> None:
    """Start every service; embedded unless --kafka is given."""
    from savo_cli.up import UpOptions
    from savo_cli.up import up as start

    options = UpOptions(port, data_dir, kafka, standin, tuple(standin_option or ()), one_process)
    raise typer.Exit(asyncio.run(start(options, Console())))


def run() -> None:
    """The console script."""
    for entry in sorted(entry_points(group="savo.commands"), key=lambda entry: entry.name):
        try:
            entry.load()(app)
        except ImportError as flaw:
            Console(stderr=True).print(f"savo: the commands of {entry.name} are left out: {flaw}", style="yellow", markup=False)
    app()
    sys.exit(0)
