"""`savo audit`: the log of operators' and services' changes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from savo_cli.gateway import Gateway
from savo_cli.options import AsJson, Key, Url
from savo_runtime.command_line.output import print_json, reported_errors, table_console

__all__ = ["audit"]


@reported_errors()
def audit(
    action: Annotated[
        str | None,
        typer.Option(metavar="ACTION", help="Only this action, such as share.changed or dead-letters.redriven."),
    ] = None,
    about: Annotated[
        str | None, typer.Option(metavar="OBJECT", help="Only changes of this object, such as vision.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Number of entries, newest first.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List changes of shares, aliases, models, runs, dead letters and replays: who, what, before → after, why."""
    chosen = {name: value for name, value in (("action", action), ("about", about)) if value}
    with Gateway(url, key) as gateway:
        entries = gateway.get("/admin/audit", limit=limit, **chosen)
    print_json(entries) if as_json else _print(entries)


def _print(entries: list[dict[str, Any]]) -> None:
    console = table_console()
    if not entries:
        console.print("nothing was recorded yet")
        return
    table = Table("when", "action", "about", "by", "before → after", "why")
    for entry in entries:
        when = datetime.fromisoformat(entry["recorded_at"]).strftime("%Y-%m-%d %H:%M:%SZ")
        table.add_row(*map(Text, (when, entry["action"], entry["about"], entry["by"], _change(entry), entry["reason"])))
    console.print(table)


def _change(entry: dict[str, Any]) -> str:
    before, after = entry["before"], entry["after"]
    lines = []
    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after:
            lines.append(f"{name} {_fact(before.get(name, after.get(name)))}")
        elif before[name] != after[name]:
            lines.append(f"{name} {_fact(before[name])} → {_fact(after[name])}")
    return "\n".join(lines)


def _fact(value: Any) -> str:
    return "–" if value is None else str(value)
