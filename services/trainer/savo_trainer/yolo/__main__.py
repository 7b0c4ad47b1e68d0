"""python -m savo_trainer.yolo STEP… --job job.json"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from savo_trainer.yolo.job import Job, read_job
from savo_trainer.yolo.parent_process import EventWriter, exit_with_parent, open_event_writer

NICENESS = 5
"""Training yields to whoever answers users on the same machine."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m savo_trainer.yolo")
    parser.add_argument("steps", nargs="+", choices=["train", "export", "validate"])
    parser.add_argument("--job", type=Path, required=True)
    asked = parser.parse_args()
    job, events = read_job(asked.job), open_event_writer()
    exit_with_parent()
    os.nice(NICENESS)
    return _work(asked.steps, job, events)


def _work(steps: list[str], job: Job, events: EventWriter) -> int:
    events.send("started", pid=os.getpid(), steps=steps)
    try:
        from savo_trainer.yolo.steps import STEPS  # torch takes seconds to import: say that we live first
    except ImportError as missing:
        events.send(
            "failed",
            reason=f"{missing}: training needs torch and ultralytics; install them with `uv sync --extra yolo`",
        )
        return 3
    for step in steps:
        try:
            STEPS[step](job, events)
        except Exception as flaw:  # noqa: BLE001 the process's last word: the parent reads it from the events, the traceback is in the log
            sys.excepthook(type(flaw), flaw, flaw.__traceback__)
            events.send("failed", reason=f"{step}: {type(flaw).__name__}: {flaw}")
            return 1
    events.send("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
