"""The line to the parent: JSON objects on the real stdout, one a line; prints of libraries are sent to stderr."""

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
    """Where the events of this program go."""

    stream: IO[str]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, event: str, **fields: Any) -> None:
        with self.lock:
            self.stream.write(json.dumps({"event": event, **fields}) + "\n")
            self.stream.flush()


def open_event_writer() -> EventWriter:
    """Keep stdout for events alone: descriptor 1 becomes a copy of stderr, so that no library's print breaks a line."""
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return EventWriter(os.fdopen(kept, "w", encoding="utf-8"))


def exit_with_parent() -> None:
    """End this process group when standard input closes: the parent holds its other end and never writes."""

    def watch() -> None:
        # Not through sys.stdin: a thread that waits in its buffer aborts the interpreter at exit.
        while os.read(0, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.getpgrp() == os.getpid():
        threading.Thread(target=watch, daemon=True, name="parent-watch").start()
