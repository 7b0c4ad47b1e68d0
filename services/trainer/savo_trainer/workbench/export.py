"""`savo models export`: weights to the ONNX file that the product serves."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from savo_runtime.command_line.output import CommandError, reported_errors
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.workbench.options import AsJson, ImageSize, check_image_size
from savo_trainer.workbench.terminal import err, print_json, print_line

__all__ = ["export"]


@reported_errors()
def export(
    weights: Annotated[Path, typer.Argument(help="A .pt file that you trust: it is a pickle.")],
    imgsz: ImageSize = 640,
    as_json: AsJson = False,
) -> None:
    """Write the ONNX file beside a .pt, as the product serves it."""
    if weights.suffix != ".pt" or not weights.exists():
        raise CommandError(f"{weights} is no .pt file on this machine")
    check_image_size(imgsz)
    with tempfile.TemporaryDirectory(prefix="savo-export-") as folder, err.status("exporting"):
        onnx = asyncio.run(LocalRunner().export(weights.resolve(), imgsz, Path(folder)))
    if as_json:
        print_json({"onnx": str(onnx)})
    else:
        print_line(str(onnx))
