"""`savo topics grow`: more partitions for a topic."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from savo_cli.options import AsJson
from savo_cli.topics.broker import known_topic
from savo_operations.partitions import add_partitions
from savo_runtime.command_line.output import print_json, reported_errors
from savo_runtime.settings import RuntimeSettings, load_settings

__all__ = ["grow_topic"]


@reported_errors()
def grow_topic(
    name: Annotated[str, typer.Argument(metavar="TOPIC")],
    partitions: Annotated[int, typer.Option("--partitions", metavar="N", min=2, help="The new number of partitions.")],
    as_json: AsJson = False,
) -> None:
    """Add partitions to a topic of SAVO_KAFKA_BOOTSTRAP_SERVERS that has no lag."""
    topic = known_topic(name)
    before = asyncio.run(add_partitions(load_settings(RuntimeSettings), topic, partitions))
    if as_json:
        print_json({"topic": name, "before": before, "partitions": partitions})
    else:
        reminder = f"set {partitions} in topics.py too, for the next cluster"
        typer.echo(f"{name}: {before} → {partitions} partitions; {reminder}")
