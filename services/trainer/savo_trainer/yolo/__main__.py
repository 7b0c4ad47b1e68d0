"""Command line of the training program: python -m savo_trainer.yolo STEP… --job job.json."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from savo_trainer.yolo.job import Job, read_job
from savo_trainer.yolo.parent_process import EventWriter, exit_with_parent, open_event_writer

NICENESS = 5
"""Lower priority than the services that answer users on the same machine."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m savo_trainer.yolo")
    parser.add_argument("steps", nargs="+", choices=["train", "export", "validate"])
    parser.add_argument("--job", type=Path, required=True)
    arguments = parser.parse_args()
    job, events = read_job(arguments.job), open_event_writer()
    exit_with_parent()
    os.nice(NICENESS)
    return _run(arguments.steps, job, events)


def _run(steps: list[str], job: Job, events: EventWriter) -> int:
    events.send("started", pid=os.getpid(), steps=steps)
    try:
        from savo_trainer.yolo.steps import STEPS  # torch takes seconds to import: report the start first
    except ImportError as error:
        events.send(
            "failed", reason=f"{error}: training needs torch and ultralytics; install them with `uv sync --extra yolo`"
        )
        return 3
    for step in steps:
        try:
            STEPS[step](job, events)
        except Exception as error:  # noqa: BLE001 any error is reported to the parent; the traceback goes to the log
            sys.excepthook(type(error), error, error.__traceback__)
            events.send("failed", reason=f"{step}: {type(error).__name__}: {error}")
            return 1
    events.send("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
