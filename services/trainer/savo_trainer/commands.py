"""The trainer's commands of `savo`: each is a row, and its module in `workbench/` is imported when it runs."""

from __future__ import annotations

import typer

from savo_runtime.command_line.lazy_commands import Command, Group, add_commands

__all__ = ["COMMANDS", "register"]

_WORKBENCH = "savo_trainer.workbench"

COMMANDS: tuple[Command | Group, ...] = (
    Command(
        "prepare",
        f"{_WORKBENCH}.prepare:prepare",
        "Cut labelled photos into train, val and test by session, so that no near-copy of a training photo is tested on.",
    ),
    Command(
        "train",
        f"{_WORKBENCH}.train:train",
        "Train, export to ONNX and compare the two: runs/train/NAME/weights/{best.pt,best.onnx}.",
    ),
    Command(
        "evaluate",
        f"{_WORKBENCH}.evaluate:evaluate",
        "Measure a model through the code that serves it: mAP@0.5 with its interval, and AP by class.",
    ),
    Group(
        "runs",
        "Training runs of the trainer service.",
        (
            Command(
                "list", f"{_WORKBENCH}.runs.command:list_runs", "The newest runs, as the running trainer tells them."
            ),
            Command("show", f"{_WORKBENCH}.runs.command:show", "One run with its history, figures and verdict."),
            Command(
                "watch",
                f"{_WORKBENCH}.runs.command:watch",
                "Follow a run to its verdict: epochs, losses, what comes next. Ends with 0 when it passed its gate, 1 when it did not.",
            ),
            Command(
                "cancel",
                f"{_WORKBENCH}.runs.command:cancel",
                "End a run that waits or is going on; nothing of it is registered. A verdict that is there stays.",
            ),
        ),
    ),
    Group(
        "models",
        "Models in the registry.",
        (
            Command(
                "list",
                f"{_WORKBENCH}.models:list_models",
                "Every version in the object store with its verdict, and which is champion or challenger.",
            ),
            Command("show", f"{_WORKBENCH}.models:show_model", "A version's card, or its whole report with --json."),
            Command(
                "register",
                f"{_WORKBENCH}.register:register_model",
                "Bring a model that was trained elsewhere: checked, measured beside the champion, judged by the trainer's gate.",
            ),
            Command(
                "export",
                f"{_WORKBENCH}.export:export",
                "Write the ONNX file beside a .pt as the product serves it: optimised, with its plain export beside it.",
            ),
            Command(
                "optimize",
                f"{_WORKBENCH}.optimize:optimize_model",
                "Optimise the graph of an ONNX file in its place: the same boxes in less time. FILE.plain.onnx keeps the export.",
            ),
            Command(
                "diff",
                f"{_WORKBENCH}.diff.command:diff_models",
                "Two models on the same photos: mAP@0.5 and the paired gain, AP by class, boxes gained, lost, moved and renamed, latency, size.",
            ),
        ),
    ),
)


def register(app: typer.Typer) -> None:
    """Called by the CLI through the entry point group `savo.commands`."""
    add_commands(app, COMMANDS)
