"""The demo's words in the `savo` command: `synthesize` and `demo`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def register(app: typer.Typer) -> None:
    """Called by the CLI through the entry point group `savo.commands`."""
    app.command("synthesize")(synthesize)
    app.command("demo")(demo)


def synthesize(
    count: Annotated[int, typer.Option("--count", min=1, help="How many scenes.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for images/, labels/ and data.yaml.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same scenes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw kitchen scenes with their labels, in YOLO form."""
    from savo_demo.drawing.scene_folder import write_scenes  # here, not above: `savo --help` needs no OpenCV
    from savo_demo.drawing.scenes import CLASSES, draw_scenes

    written = write_scenes(output, draw_scenes(count, seed))
    summary = {"scenes": written, "classes": list(CLASSES), "output": str(output)}
    typer.echo(json.dumps(summary) if as_json else f"{written} scenes of {len(CLASSES)} ingredients in {output}")


def demo() -> None:
    """Turn the whole wheel on this machine and show it (DEMO_PHOTOS, DEMO_GATE, DEMO_TRAIN, DEMO_KEEP)."""
    from savo_demo.demo import WRONG_USE, run_demo
    from savo_demo.plan import PlanError, plan_from

    try:
        plan = plan_from(os.environ)
    except PlanError as flaw:
        typer.echo(str(flaw), err=True)
        raise typer.Exit(WRONG_USE) from None
    raise typer.Exit(run_demo(plan, Console()))
