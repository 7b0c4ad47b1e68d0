"""Connection to the parent process: events on stdout as JSON lines, and an end when the parent dies."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import IO, Any

__all__ = ["EventWriter", "exit_with_parent", "open_event_writer"]


@dataclass(frozen=True)
class EventWriter:
    """Writes events as JSON lines. Safe to use from several threads."""

    stream: IO[str]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, event: str, **fields: Any) -> None:
        with self.lock:
            self.stream.write(json.dumps({"event": event, **fields}) + "\n")
            self.stream.flush()


def open_event_writer() -> EventWriter:
    """Reserve stdout for events: descriptor 1 becomes a copy of stderr, so that library output cannot mix in."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return EventWriter(os.fdopen(stdout, "w", encoding="utf-8"))


def exit_with_parent() -> None:
    """Kill this process group when standard input closes: the parent keeps its end open and never writes."""

    def watch() -> None:
        # Not sys.stdin: a thread that blocks in its buffer aborts the interpreter at exit.
        while os.read(0, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.getpgrp() == os.getpid():
        threading.Thread(target=watch, daemon=True, name="parent-watch").start()
