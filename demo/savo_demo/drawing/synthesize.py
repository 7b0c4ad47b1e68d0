"""`savo synthesize`: a YOLO folder of generated kitchen scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from savo_contracts.ingredients import normalise
from savo_datasets.formats.new_folder import new_folder
from savo_demo.drawing.difficulty import DIFFICULTIES, Level
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import CLASSES, SceneSettings, draw_scenes
from savo_runtime.command_line.output import print_json, reported_errors

__all__ = ["synthesize"]


@reported_errors()
def synthesize(
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Number of scenes.")],
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="New or empty folder for images/, labels/ and data.yaml.")
    ],
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The same seed gives the same scenes.")] = 1,
    difficulty: Annotated[
        Level,
        typer.Option(
            "--difficulty",
            metavar="LEVEL",
            help="easy, medium or hard: number and size of ingredients, things that hide them, light, blur and noise.",
        ),
    ] = Level.MEDIUM,
    classes: Annotated[
        str, typer.Option("--classes", metavar="NAMES", help="Ingredients, with commas, in the order of their ids.")
    ] = ",".join(CLASSES),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Generate kitchen scenes with their labels as a YOLO folder.

    The metadata of the photos mark them as synthetic: `savo prepare` puts them into train alone.
    """
    chosen = _labels(classes)
    settings = SceneSettings(difficulty=DIFFICULTIES[difficulty], classes=chosen)
    with new_folder(output) as building:
        written = write_scenes(building, draw_scenes(count, seed, settings), chosen, marked=True, root=output)
    if as_json:
        print_json({"scenes": written, "classes": list(chosen), "difficulty": difficulty, "output": str(output)})
    else:
        typer.echo(f"{written} {difficulty} scenes of {len(chosen)} ingredients in {output}")


def _labels(names: str) -> tuple[str, ...]:
    """Labels of the catalogue, each once. Raises `typer.BadParameter` for a name without a drawing."""
    labels = {name.strip(): _label_of(name) for name in names.split(",")}
    if unknown := [name for name, label in labels.items() if label not in CLASSES]:
        problem = f"no drawing of {', '.join(unknown) or 'nothing'}; there are drawings of {', '.join(CLASSES)}"
        raise typer.BadParameter(problem, param_hint="--classes")
    return tuple(label for label in dict.fromkeys(labels.values()) if label)


def _label_of(name: str) -> str | None:
    try:
        return normalise(name).label
    except ValueError:  # it has no letters
        return None
