"""`savo models optimize`: the graph of a model that is used by its path, optimised as those of the registry are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from savo_detection.errors import ModelRefusedError
from savo_detection.model_optimization import OptimizedFile, optimize_file
from savo_runtime.command_line.output import reported_errors
from savo_runtime.storage.digests import file_sha256
from savo_trainer.workbench.options import AsJson
from savo_trainer.workbench.terminal import err, print_json, print_line

__all__ = ["optimize_model"]


@reported_errors(ModelRefusedError)
def optimize_model(
    model: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="ONNX file that is used by its path (SAVO_CUSTOM_VISION_MODEL_PATH)."),
    ],
    as_json: AsJson = False,
) -> None:
    """Optimise an ONNX file in place: the same boxes in less time. FILE.plain.onnx keeps the export.

    `savo train`, `savo models export` and `savo models register` do it by themselves. Ends with 0 where the file is
    optimised, was before, or holds nothing to optimise; with 1 where the optimised graph finds other boxes or cannot be
    compared: the file then stays as it is.
    """
    with err.status(f"optimising {model.name}"):
        done = optimize_file(model)
    if as_json:
        print_json(_summary(done))
    else:
        _print(done)
    if done.model.failed:
        raise typer.Exit(1)


def _summary(done: OptimizedFile) -> dict[str, Any]:
    return {
        "onnx": str(done.onnx),
        "sha256": file_sha256(done.onnx),
        "bytes": len(done.model.data),
        "optimized": done.model.reason is None,
        "reason": done.model.reason,
        "plain": str(done.plain) if done.plain else None,
        "plain_sha256": done.model.plain_sha256,
    }


def _print(done: OptimizedFile) -> None:
    if done.model.reason:
        print_line(f"{done.onnx}: stays as it is: {done.model.reason}", style="yellow" if done.model.failed else "")
        return
    print_line(f"{done.onnx}: optimised", style="green")
    print_line(f"  its plain export: {done.plain}" if done.plain else "  its plain export is not beside it")
