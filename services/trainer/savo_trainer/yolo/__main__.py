"""python -m savo_trainer.yolo STEP… --job job.json"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from savo_trainer.yolo.job import Job, read_job
from savo_trainer.yolo.parent_process import Wire, die_with_parent, open_wire

NICENESS = 5
"""Training yields to whoever answers users on the same machine."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m savo_trainer.yolo")
    parser.add_argument("steps", nargs="+", choices=["train", "export", "validate"])
    parser.add_argument("--job", type=Path, required=True)
    asked = parser.parse_args()
    job, wire = read_job(asked.job), open_wire()
    die_with_parent()
    os.nice(NICENESS)
    return _work(asked.steps, job, wire)


def _work(steps: list[str], job: Job, wire: Wire) -> int:
    wire.send("started", pid=os.getpid(), steps=steps)
    try:
        from savo_trainer.yolo.steps import STEPS  # torch takes seconds to import: say that we live first
    except ImportError as missing:
        wire.send(
            "failed",
            reason=f"{missing}: training needs torch and ultralytics; install them with `uv sync --extra yolo`",
        )
        return 3
    for step in steps:
        try:
            STEPS[step](job, wire)
        except Exception as flaw:  # noqa: BLE001 the process's last word: the parent reads it from the wire, the traceback is in the log
            sys.excepthook(type(flaw), flaw, flaw.__traceback__)
            wire.send("failed", reason=f"{step}: {type(flaw).__name__}: {flaw}")
            return 1
    wire.send("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
