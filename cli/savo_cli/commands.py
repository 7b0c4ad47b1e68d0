"""The `savo` command: its own words, and those that services and the demo bring along (entry points `savo.commands`)."""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from savo_cli.diagnose.doctor import doctor
from savo_cli.operate import models, rollout
from savo_cli.operate.audit import audit
from savo_cli.operate.backup import backup, restore
from savo_cli.operate.rebuild import rebuild
from savo_cli.replay.replay import replay
from savo_cli.scans.scan import confirm, scan
from savo_cli.scans.stats import stats
from savo_cli.scans.trace import trace
from savo_cli.topics import dlq
from savo_cli.topics import listing as topics
from savo_cli.topics.lag import lag
from savo_cli.topics.partitions import grow_topic
from savo_cli.weekly.digest import digest

__all__ = ["add_commands_of_others", "app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Savo's vision flywheel: photos in, ingredients out, every confirmation a sample.")


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the gateway.", envvar="PORT", min=1, max=65535)] = 8000,
    data_dir: Annotated[Path, typer.Option(help="Folder of databases, objects, logs.", envvar="SAVO_DATA_DIR")] = Path(".savo"),
    kafka: Annotated[str | None, typer.Option(help="HOST:PORT of a real Kafka in the embedded broker's place.")] = None,
    standin: Annotated[Path | None, typer.Option(help="Also start the Google stand-in, with the truth of this YOLO-form folder.")] = None,
    standin_option: Annotated[list[str] | None, typer.Option(help="Handed to the stand-in, such as --standin-option=--latency-scale=0.1.")] = None,
    one_process: Annotated[bool, typer.Option("--one-process", help="All in one process, without the trainer: for hosts with 512 MB.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Print what the services log, too, not only to DIR/logs.")] = False,
) -> None:
    """Start every service; embedded unless --kafka is given."""
    from savo_cli.start.up import UpOptions
    from savo_cli.start.up import up as start

    options = UpOptions(port, data_dir, kafka, standin, tuple(standin_option or ()), one_process, logs)
    raise typer.Exit(asyncio.run(start(options, Console())))


app.command()(scan)
app.command()(confirm)
app.command()(trace)
app.command()(rebuild)
app.command()(stats)
app.add_typer(rollout.app, name="rollout")
app.add_typer(models.app, name="models")
topics.app.command("lag")(lag)
topics.app.command("grow")(grow_topic)
app.add_typer(topics.app, name="topics")
app.command()(replay)
app.add_typer(dlq.app, name="dlq")
app.command()(audit)
app.command()(digest)
app.command()(doctor)
app.command()(backup)
app.command()(restore)


def add_commands_of_others() -> None:
    """Words of services and the demo. A broken one costs its own words and one line, not the command."""
    for entry in sorted(entry_points(group="savo.commands"), key=lambda entry: entry.name):
        try:
            entry.load()(app)
        except Exception as flaw:  # noqa: BLE001 — somebody else's code: whatever it raises, the rest must work
            _tell_broken(entry.name, flaw)


def _tell_broken(name: str, flaw: Exception) -> None:
    if "_SAVO_COMPLETE" not in os.environ:  # a shell that completes a word wants no remarks
        Console(stderr=True).print(f"savo: the commands of {name} are left out: {type(flaw).__name__}: {flaw}", style="yellow", markup=False, highlight=False)
