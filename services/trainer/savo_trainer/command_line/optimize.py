"""`savo models optimize`: optimises the graph of a model file that is used by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from savo_detection.errors import ModelRefusedError
from savo_detection.model_optimization import OptimizedFile, optimize_file
from savo_runtime.command_line.output import reported_errors
from savo_runtime.storage.digests import file_sha256
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import err, print_json, print_line

__all__ = ["optimize_model"]


@reported_errors(ModelRefusedError)
def optimize_model(
    model: Annotated[
        Path, typer.Argument(metavar="FILE", help="ONNX file that is used by its path (SAVO_CUSTOM_VISION_MODEL_PATH).")
    ],
    as_json: AsJson = False,
) -> None:
    """Optimise an ONNX file in place: the same boxes in less time. FILE.plain.onnx keeps the export.

    `savo train`, `savo models export` and `savo models register` do the same.

    Exit 0 if the file is optimised, now or before, or has nothing to optimise. Exit 1 if the optimised graph finds
    other boxes or cannot be compared; the file then stays unchanged.
    """
    with err.status(f"optimising {model.name}"):
        result = optimize_file(model)
    if as_json:
        print_json(_summary(result))
    else:
        _print(result)
    if result.model.failed:
        raise typer.Exit(1)


def _summary(result: OptimizedFile) -> dict[str, Any]:
    return {
        "onnx": str(result.onnx),
        "sha256": file_sha256(result.onnx),
        "bytes": len(result.model.data),
        "optimized": result.model.reason is None,
        "reason": result.model.reason,
        "plain": str(result.plain) if result.plain else None,
        "plain_sha256": result.model.plain_sha256,
    }


def _print(result: OptimizedFile) -> None:
    if result.model.reason:
        print_line(
            f"{result.onnx}: stays as it is: {result.model.reason}", style="yellow" if result.model.failed else ""
        )
        return
    print_line(f"{result.onnx}: optimised", style="green")
    print_line(f"  its plain export: {result.plain}" if result.plain else "  its plain export is not beside it")
