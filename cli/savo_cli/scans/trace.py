"""`savo trace SCAN`: why this answer, hop by hop, and what to do when it goes no further."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from savo_cli.gateway import Gateway
from savo_cli.options import AsJson, Key, Url
from savo_runtime.command_line.output import print_json, reported_errors, table_console

__all__ = ["trace"]

_COLOURS = {"completed": "green", "failed": "red", "queued": "yellow"}


@reported_errors()
def trace(
    scan_id: Annotated[str, typer.Argument(metavar="SCAN_ID")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Why a scan was answered as it was: its arm, its model, each hop's time and where each event stands in Kafka."""
    with Gateway(url, key) as gateway:
        told = gateway.get(f"/v1/scans/{scan_id}/trace")
    print_json(told) if as_json else _print(told)


def _print(told: dict[str, Any]) -> None:
    console = table_console()
    console.print(Text.assemble((told["scan_id"], "bold"), "  ", (told["standing"], _COLOURS.get(told["status"], ""))))
    if told["next_step"]:
        console.print(Text.assemble(("next: ", "bold yellow"), told["next_step"]))
    console.print()
    console.print(_timeline(told["hops"], {_place(record): record["note"] for record in told["records"]}))
    if told["assigned_arm"]:
        console.print()
        console.print(_route(told))


def _timeline(hops: list[dict[str, Any]], notes: dict[str, str]) -> Any:
    table = Table("UTC", "after", "hop", "record", "", box=None, pad_edge=False)
    before: datetime | None = None
    for hop in hops:
        at, place = datetime.fromisoformat(hop["at"]), hop["record"] or ""
        table.add_row(f"{at:%H:%M:%S.%f}"[:-3], _since(before, at), Text(hop["hop"], style="bold"), Text(place, style="dim"), Text(notes.get(place, "")))
        before = at
    return table


def _route(told: dict[str, Any]) -> Any:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, words in _facts(told).items():
        table.add_row(Text(name, style="dim"), Text(words))
    return table


def _facts(told: dict[str, Any]) -> dict[str, str]:
    """The decision in the order it was made."""
    side = "below" if told["assigned_arm"] == "candidate" else "not below"
    experiment = told["experiment"] or "none: no candidate on trial"
    facts = {
        "experiment": experiment,
        "arm": f"{told['assigned_arm']}: bucket {told['bucket']} is {side} {round(told['share'] * 10_000)} (share {told['share']:.0%})",
        "served by": f"{told['served_by']}, model {told['model_version']}",
        "confidence": f"{told['scan_confidence']:.2f}" + ("" if told["threshold"] is None else f", the custom model needs {told['threshold']:.2f}"),
        "fell back": told["fallback_reason"] or "no",
        "took": f"{told['duration_ms']:.0f} ms" + "".join(f", {stage} {ms:.0f} ms" for stage, ms in told["stages_ms"].items()),
    }
    return facts | {"photo": f"{told['image']['key']} ({told['image']['width']} × {told['image']['height']})"}


def _place(record: dict[str, Any]) -> str:
    return f"{record['topic']} {record['partition']}/{record['offset']}"


def _since(before: datetime | None, at: datetime) -> str:
    if before is None:
        return ""
    seconds = (at - before).total_seconds()
    return f"+{seconds * 1000:.0f} ms" if seconds < 10 else f"+{seconds:.0f} s"
