"""The trainer's `savo` commands as a table. The module of a command is imported only when the command runs."""

from __future__ import annotations

import typer

from savo_runtime.command_line.lazy_commands import Command, Group, add_commands

__all__ = ["COMMANDS", "register"]

_COMMAND_LINE = "savo_trainer.command_line"

COMMANDS: tuple[Command | Group, ...] = (
    Command(
        "prepare",
        f"{_COMMAND_LINE}.prepare:prepare",
        "Split labelled photos into train, val and test by session and class.",
    ),
    Command(
        "train",
        f"{_COMMAND_LINE}.train:train",
        "Train, export to ONNX and compare the two: runs/train/NAME/weights/{best.pt,best.onnx}.",
    ),
    Command(
        "evaluate",
        f"{_COMMAND_LINE}.evaluate:evaluate",
        "Measure a model through the serving code: mAP@0.5 with its interval, and AP by class.",
    ),
    Group(
        "dataset",
        "Data sets on disk, and frozen versions of the collected samples.",
        (
            Command(
                "show",
                f"{_COMMAND_LINE}.dataset.show:show",
                "Show the classes of a data set, and the photos with doubtful boxes: overlaps, tiny boxes, blur.",
            ),
            Command(
                "convert",
                f"{_COMMAND_LINE}.dataset.convert:convert",
                "Write a data set in another format, with the splits that it has.",
            ),
            Command(
                "audit",
                f"{_COMMAND_LINE}.dataset.audit:audit",
                "Rank likely label errors: missing boxes, wrong names, misplaced boxes.",
            ),
            Command(
                "freeze",
                f"{_COMMAND_LINE}.dataset.freeze:freeze",
                "Freeze all collected samples as a version: later corrections, merges of classes and new photos do not "
                "change it.",
            ),
            Command(
                "list",
                f"{_COMMAND_LINE}.dataset.list_versions:list_versions",
                "List the frozen versions with their samples, who froze them, and the models that were trained on "
                "them.",
            ),
            Command(
                "diff",
                f"{_COMMAND_LINE}.dataset.compare:compare",
                "Compare two versions: samples that were added, removed, relabelled or moved, classes, boxes by label.",
            ),
            Command(
                "checkout",
                f"{_COMMAND_LINE}.dataset.checkout:checkout",
                "Write the photos and label files of a version to a folder, byte for byte as they were frozen.",
            ),
            Command(
                "rm",
                f"{_COMMAND_LINE}.dataset.remove:remove",
                "Remove a version, and the label files that no other version needs. Refused while a model refers to "
                "it.",
            ),
        ),
    ),
    Group(
        "runs",
        "Training runs of the trainer service.",
        (
            Command("list", f"{_COMMAND_LINE}.runs.command:list_runs", "List the newest runs of the running trainer."),
            Command("show", f"{_COMMAND_LINE}.runs.command:show", "Show a run with its history, figures and verdict."),
            Command(
                "watch",
                f"{_COMMAND_LINE}.runs.command:watch",
                "Follow a run to its verdict. Exit 0 if it passed the gate, 1 if it did not.",
            ),
            Command(
                "cancel",
                f"{_COMMAND_LINE}.runs.command:cancel",
                "Cancel a run that is queued or in progress: nothing of it is registered. A verdict stays.",
            ),
        ),
    ),
    Group(
        "models",
        "Models in the registry.",
        (
            Command(
                "list",
                f"{_COMMAND_LINE}.list_models:list_models",
                "List every version in the object store with its verdict and its alias, champion or challenger.",
            ),
            Command(
                "show",
                f"{_COMMAND_LINE}.list_models:show_model",
                "Show a version's model card, or its report with --json.",
            ),
            Command(
                "register",
                f"{_COMMAND_LINE}.register:register_model",
                "Register a model trained elsewhere: checked, compared with the champion, judged by the gate.",
            ),
            Command(
                "export",
                f"{_COMMAND_LINE}.export:export",
                "Export a .pt to the optimised ONNX file that the product serves, and keep the plain export.",
            ),
            Command(
                "optimize",
                f"{_COMMAND_LINE}.optimize:optimize_model",
                "Optimise an ONNX file in place: the same boxes in less time. FILE.plain.onnx keeps the export.",
            ),
            Command(
                "diff",
                f"{_COMMAND_LINE}.diff.command:diff_models",
                "Compare two models on the same photos: mAP@0.5, AP by class, changed boxes, latency and size.",
            ),
        ),
    ),
)


def register(app: typer.Typer) -> None:
    """Add the commands to the CLI. Entry point of the group `savo.commands`."""
    add_commands(app, COMMANDS)
