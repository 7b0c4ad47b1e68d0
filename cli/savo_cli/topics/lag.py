"""`savo topics lag`: the lag of each consumer group, by partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from savo_cli.options import AsJson
from savo_cli.topics.broker import Kafka, broker_settings, known_topic, run_with_kafka
from savo_contracts.topics import TOPICS
from savo_operations.lag import group_positions
from savo_runtime.command_line.output import print_json, reported_errors, table_console
from savo_runtime.messaging.kafka.lag import GroupPosition

__all__ = ["lag"]


@reported_errors()
def lag(
    names: Annotated[list[str] | None, typer.Argument(metavar="TOPIC", help="Topics; default is all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also partitions without lag.")] = False,
    kafka: Kafka = None,
    as_json: AsJson = False,
) -> None:
    """Show the lag of each consumer group by partition: position, end, and the records between them.
    Asks Kafka, so it also covers services that are down.
    """
    topics = [known_topic(name) for name in names] if names else list(TOPICS)
    places = [
        place for place in run_with_kafka(group_positions(broker_settings(kafka), topics)) if everything or place.lag
    ]
    if as_json:
        print_json([_facts(place) for place in places])
    elif places:
        _print(places)
    else:
        typer.echo("nothing waits")


def _facts(place: GroupPosition) -> dict[str, Any]:
    where = {"topic": place.topic, "service": place.service, "group": place.group, "partition": place.partition}
    return {**where, "position": place.position, "end": place.end, "lag": place.lag}


def _print(places: Sequence[GroupPosition]) -> None:
    table = Table("topic", "service", "partition", "position", "end", "lag", box=None)
    for place in places:
        table.add_row(
            place.topic, place.service, str(place.partition), str(place.position), str(place.end), str(place.lag)
        )
    table_console().print(table)
