"""`savo synthesize`: a YOLO folder of generated kitchen scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import CLASSES, draw_scenes
from savo_runtime.command_line.output import print_json

__all__ = ["synthesize"]


def synthesize(
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Number of scenes.")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for images/, labels/ and data.yaml.")],
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The same seed gives the same scenes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Generate kitchen scenes with their labels as a YOLO folder."""
    written = write_scenes(output, draw_scenes(count, seed))
    if as_json:
        print_json({"scenes": written, "classes": list(CLASSES), "output": str(output)})
    else:
        typer.echo(f"{written} scenes of {len(CLASSES)} ingredients in {output}")
