"""`savo topics grow`: more partitions for a topic that carries more."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from savo_cli.options import AsJson, CommandError, speaking, tell_json

__all__ = ["grow_topic"]


def grow_topic(
    name: Annotated[str, typer.Argument(metavar="TOPIC")],
    partitions: Annotated[int, typer.Option("--partitions", min=2, help="How many it shall have.")],
    as_json: AsJson = False,
) -> None:
    """Add partitions to a topic of SAVO_KAFKA_BOOTSTRAP_SERVERS, while nothing waits on it."""
    from savo_contracts.topics import topic_named
    from savo_operations.partitions import grow
    from savo_runtime.errors import SavoError
    from savo_runtime.settings import RuntimeSettings, load_settings

    with speaking():
        try:
            before = asyncio.run(grow(load_settings(RuntimeSettings), topic_named(name), partitions))
        except (SavoError, KeyError) as flaw:
            raise CommandError(str(flaw.args[0]) if isinstance(flaw, KeyError) else str(flaw)) from flaw
    told = {"topic": name, "before": before, "partitions": partitions}
    tell_json(told) if as_json else typer.echo(f"{name}: {before} → {partitions} partitions; write {partitions} in topics.py too, for the next cluster")
