"""`savo scan`: photos sent to the gateway, and their results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from savo_cli.gateway import Gateway, RefusedError
from savo_cli.options import AsJson, Key, Url
from savo_runtime.command_line.output import CommandError, print_json, reported_errors, table_console

__all__ = ["scan"]

_MAX_WAIT = 30.0
"""Seconds of one request; after that the command polls."""

_POLL_SECONDS = 0.5

STAND_IN = "standin-"
"""Prefix of the model versions in a stand-in's answers."""


@reported_errors()
def scan(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO", help="JPEG, PNG, WebP or HEIC files.", exists=True, dir_okay=False)
    ],
    user: Annotated[str | None, typer.Option("--user", metavar="USER_ID", help="User id to scan for.")] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="STORAGE", help="pantry, fridge or freezer.")
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(
            "--show", metavar="FILE", help="Write the photo with its boxes to this file; numbered if there are several."
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="Seconds to wait for each answer.")
    ] = 30,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send photos and show the ingredients in them."""
    fields = {name: value for name, value in (("user_id", user), ("storage_location", storage)) if value}
    failed = False
    with Gateway(url, key) as gateway:
        for number, photo in enumerate(photos):
            try:
                answer = _scan_one(gateway, photo, wait, fields)
            except RefusedError as refusal:
                failed = True
                _print_refusal(photo, refusal, as_json=as_json)
                continue
            failed |= answer["status"] == "failed"
            print_json(answer) if as_json else _print(photo, answer)
            if show and answer["result"]:
                drawn = _draw(photo, answer, show if len(photos) == 1 else show.with_stem(f"{show.stem}-{number + 1}"))
                typer.echo(f"drawn to {drawn}", err=as_json)
    raise typer.Exit(int(failed))


def _scan_one(gateway: Any, photo: Path, wait: float, fields: dict[str, str]) -> dict[str, Any]:
    deadline = time.monotonic() + wait
    answer: dict[str, Any] = gateway.send_photo(photo, wait=min(wait, _MAX_WAIT), fields=fields)
    while answer["status"] == "queued" and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        answer = gateway.get(f"/v1/scans/{answer['scan_id']}")
    return answer


def _print(photo: Path, answer: dict[str, Any]) -> None:
    console = table_console()
    result, error = answer["result"], answer["error"]
    head = f"{photo.name}  {answer['scan_id']}  "
    if error:
        console.print(f"{head}failed: {error['message']} ({error['code']})", style="red", markup=False, highlight=False)
        return
    if not result:
        console.print(f"{head}{answer['status']}; see {answer['links']['self']} later", markup=False, highlight=False)
        return
    reason = f", fell back: {result['fallback_reason']}" if result["fallback_reason"] else ""
    route = f"{result['served_by']} {result['model_version']} ({result['assigned_arm']}{reason})"
    console.print(
        f"{head}{route}  {result['duration_ms']:.0f} ms  ${result['cost_usd']:.5f}", markup=False, highlight=False
    )
    table = Table("ingredient", "confidence", "pieces", "keep in", "box x y w h", box=None, pad_edge=False)
    for item in result["items"]:
        pieces, bbox = item["quantity_estimate"], item["bbox"]
        corner_and_size = (
            "–" if bbox is None else " ".join(f"{bbox[side]:.3f}" for side in ("x", "y", "width", "height"))
        )
        table.add_row(
            item["name"],
            f"{item['confidence']:.2f}",
            "–" if pieces is None else f"{pieces:g}",
            item["storage_hint"] or "–",
            corner_and_size,
        )
    console.print(
        table if result["items"] else _nothing(result["model_version"]), markup=False, highlight=False, soft_wrap=True
    )


def _nothing(model_version: str) -> str:
    if not model_version.startswith(STAND_IN):
        return "nothing found"
    known = "it knows only the photos of its own folder (with `make up`: .savo/standin/images)"
    return f"nothing found: a stand-in for the provider answered, and {known}"


def _print_refusal(photo: Path, refusal: RefusedError, *, as_json: bool) -> None:
    if as_json:
        print_json({"photo": str(photo), "error": {"status": refusal.status, "message": refusal.detail}})
    else:
        typer.secho(f"savo: {photo.name}: {refusal}", fg="red", err=True)


def _draw(photo: Path, answer: dict[str, Any], output: Path) -> Path:
    from savo_cli.scans.drawing import draw_boxes  # imports OpenCV and Pillow, which only --show needs

    try:
        draw_boxes(photo, answer["result"]["items"], output)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot draw {photo} to {output}: {error}") from error
    return output
