"""`savo confirm`: a user's confirmation or correction of a scan."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from savo_cli.gateway import Gateway
from savo_cli.options import AsJson, Key, Url
from savo_runtime.command_line.output import CommandError, print_json, reported_errors

__all__ = ["confirm"]


@reported_errors()
def confirm(
    scan_id: Annotated[str, typer.Argument(metavar="SCAN_ID")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help='JSON file for POST /v1/scans/{id}/confirmation: {"items": […]}; - is stdin.'
        ),
    ] = None,
    all_correct: Annotated[bool, typer.Option("--all-correct", help="Confirm every item as it is.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Confirm or correct a scan: with --all-correct, or with a file of items."""
    if all_correct == (source is not None):
        raise typer.BadParameter("give either --from FILE or --all-correct")

    with Gateway(url, key) as gateway:
        stored = gateway.post(
            f"/v1/scans/{scan_id}/confirmation", _confirmation_in(source) if source else {"all_correct": True}
        )
    if as_json:
        print_json(stored)
    else:
        actions = ", ".join(f"{item['label']} {item['action']}" for item in stored["items"])
        typer.echo(f"{scan_id} confirmed, revision {stored['revision']} ({stored['status']}): {actions or 'no items'}")


def _confirmation_in(source: Path) -> dict[str, Any]:
    try:
        body = json.loads(sys.stdin.read() if str(source) == "-" else source.read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{source} cannot be read as JSON: {error}") from error
    if isinstance(body, list):
        return {"items": body}
    if not isinstance(body, dict):
        raise CommandError(f"{source} is not a confirmation: give a JSON object with items, or a list of items")
    return body
