"""How far a replay is, in a file of its own: written whole after each acknowledged batch, so that the same order goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiokafka import TopicPartition

from savo_operations.replay.offset_ranges import OffsetRange
from savo_runtime.errors import SavoError

__all__ = ["AlreadyRunningError", "ReplayProgress", "exclusive_lock", "write_atomically"]


class AlreadyRunningError(SavoError):
    """Another process is at the same work."""


@dataclass
class ReplayProgress:
    """Offsets by partition number. `targets`: where the target's partitions ended when the last batch was acknowledged."""

    replay: str
    order: dict[str, Any]
    starts: dict[int, int]
    ends: dict[int, int]
    since_ms: int | None
    until_ms: int | None
    next: dict[int, int]
    targets: dict[int, int] = field(default_factory=dict)
    read: int = 0
    sent: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    finished: bool = False

    @classmethod
    def begin(cls, replay: str, order: dict[str, Any], span: OffsetRange, targets: dict[TopicPartition, int]) -> Self:
        starts = {each.partition: offset for each, offset in span.starts.items()}
        ends = {each.partition: span.ends[each] for each in span.starts}
        return cls(
            replay,
            order,
            starts,
            ends,
            span.since_ms,
            span.until_ms,
            dict(starts),
            {each.partition: end for each, end in targets.items()},
        )

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """None where no unfinished one is."""
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        for name in ("starts", "ends", "next", "targets"):
            found[name] = {int(number): offset for number, offset in found[name].items()}
        found["left_out"] = Counter(found["left_out"])
        progress = cls(**found)
        return None if progress.finished else progress

    def span(self, topic: str) -> OffsetRange:
        def by_partition(offsets: dict[int, int]) -> dict[TopicPartition, int]:
            return {TopicPartition(topic, number): offset for number, offset in offsets.items()}

        return OffsetRange(by_partition(self.starts), by_partition(self.ends), self.since_ms, self.until_ms).remaining(
            by_partition(self.next)
        )

    def save(self, path: Path) -> None:
        write_atomically(path, vars(self))


def write_atomically(path: Path, content: Any) -> None:
    """All of it or nothing, also when the machine stops in the middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    with fresh.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """One process at a time at what `path` stands for. Raises `AlreadyRunningError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(f"another process is at it (lock on {lock.name}); wait for its end") from None
        yield
