"""`savo models export`: exports weights to the ONNX file that the product serves."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from savo_runtime.command_line.output import CommandError, reported_errors
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.command_line.model_delivery import delivery_lines, delivery_summary
from savo_trainer.command_line.options import AsJson, ImageSize, check_checkpoint, check_image_size
from savo_trainer.command_line.terminal import err, print_json, print_line

__all__ = ["export"]


@reported_errors()
def export(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="A .pt file that you trust: it is a pickle.")],
    imgsz: ImageSize = 640,
    as_json: AsJson = False,
) -> None:
    """Export a .pt to the optimised ONNX file that the product serves, and keep the plain export."""
    if weights.suffix != ".pt" or not weights.exists():
        raise CommandError(f"{weights} is not a .pt file on this machine: give the path of a checkpoint")
    check_checkpoint(weights)
    check_image_size(imgsz)
    with tempfile.TemporaryDirectory(prefix="savo-export-") as folder, err.status("exporting"):
        exported = asyncio.run(LocalRunner().export(weights.resolve(), imgsz, Path(folder)))
    if as_json:
        plain = str(exported.plain) if exported.plain else None
        files = {"onnx": str(exported.onnx), "plain": plain, "not_optimized": exported.not_optimized}
        print_json(files | delivery_summary(exported.onnx))
        return
    print_line(str(exported.onnx))
    if exported.not_optimized:
        print_line(f"its graph is not optimised: {exported.not_optimized}")
    for line in delivery_lines(exported.onnx):
        print_line(line)
