"""`savo trace SCAN_ID`: the path of a scan through the services, and the reasons for its answer."""

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
    """Explain a scan's answer: its arm, model, the time of each hop and the place of each event in Kafka."""
    with Gateway(url, key) as gateway:
        report = gateway.get(f"/v1/scans/{scan_id}/trace")
    print_json(report) if as_json else _print(report)


def _print(report: dict[str, Any]) -> None:
    console = table_console()
    console.print(
        Text.assemble((report["scan_id"], "bold"), "  ", (report["standing"], _COLOURS.get(report["status"], "")))
    )
    if report["next_step"]:
        console.print(Text.assemble(("next: ", "bold yellow"), report["next_step"]))
    console.print()
    console.print(_timeline(report["hops"], {_place(record): record["note"] for record in report["records"]}))
    if report["assigned_arm"]:
        console.print()
        console.print(_route(report))


def _timeline(hops: list[dict[str, Any]], notes: dict[str, str]) -> Any:
    table = Table("UTC", "after", "hop", "record", "", box=None, pad_edge=False)
    before: datetime | None = None
    for hop in hops:
        at, place = datetime.fromisoformat(hop["at"]), hop["record"] or ""
        table.add_row(
            f"{at:%H:%M:%S.%f}"[:-3],
            _since(before, at),
            Text(hop["hop"], style="bold"),
            Text(place, style="dim"),
            Text(notes.get(place, "")),
        )
        before = at
    return table


def _route(report: dict[str, Any]) -> Any:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts(report).items():
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def _facts(report: dict[str, Any]) -> dict[str, str]:
    """The decisions in the order in which they were made."""
    experiment = report["experiment"] or "none: no candidate on trial"
    side = "below" if report["assigned_arm"] == "candidate" else "not below"
    bucket = f"bucket {report['bucket']} is {side} {round(report['share'] * 10_000)} (share {report['share']:.0%})"
    facts = {
        "experiment": experiment,
        "arm": f"{report['assigned_arm']}: {bucket}",
        "served by": f"{report['served_by']}, model {report['model_version']}",
        "confidence": f"{report['scan_confidence']:.2f}"
        + ("" if report["threshold"] is None else f", the custom model needs {report['threshold']:.2f}"),
        "fell back": report["fallback_reason"] or "no",
        "took": f"{report['duration_ms']:.0f} ms"
        + "".join(f", {stage} {ms:.0f} ms" for stage, ms in report["stages_ms"].items()),
    }
    return facts | {"photo": f"{report['image']['key']} ({report['image']['width']} × {report['image']['height']})"}


def _place(record: dict[str, Any]) -> str:
    return f"{record['topic']} {record['partition']}/{record['offset']}"


def _since(before: datetime | None, at: datetime) -> str:
    if before is None:
        return ""
    seconds = (at - before).total_seconds()
    return f"+{seconds * 1000:.0f} ms" if seconds < 10 else f"+{seconds:.0f} s"
