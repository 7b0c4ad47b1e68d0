"""Progress of a replay in a file, from which the same request continues after an interruption."""

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

__all__ = ["AlreadyRunningError", "ReplayProgress", "exclusive_lock", "read_progress", "write_atomically"]

_EARLIER_KEYS = {"order": "request", "targets": "target_ends"}


class AlreadyRunningError(SavoError):
    """Another process carries out the same request."""


@dataclass
class ReplayProgress:
    """State of one replay, saved after each acknowledged batch. Offsets are by partition number.

    The names of the fields are the keys of the file; `_EARLIER_KEYS` has those of earlier releases.
    """

    replay: str
    """Id of the replay."""
    request: dict[str, Any]
    """The request as JSON."""
    starts: dict[int, int]
    ends: dict[int, int]
    since_ms: int | None
    until_ms: int | None
    next: dict[int, int]
    """The offset to continue from."""
    target_ends: dict[int, int] = field(default_factory=dict)
    """End offsets of the target's partitions when the last batch was acknowledged."""
    read: int = 0
    sent: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    finished: bool = False

    @classmethod
    def begin(
        cls, replay: str, request: dict[str, Any], offset_range: OffsetRange, target_ends: dict[TopicPartition, int]
    ) -> Self:
        """The state of a replay that has sent no record yet."""
        return cls(
            replay=replay,
            request=request,
            starts={partition.partition: start for partition, start in offset_range.starts.items()},
            ends={partition.partition: offset_range.ends[partition] for partition in offset_range.starts},
            since_ms=offset_range.since_ms,
            until_ms=offset_range.until_ms,
            next={partition.partition: start for partition, start in offset_range.starts.items()},
            target_ends={partition.partition: end for partition, end in target_ends.items()},
        )

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The state in the file; None without a file and after the replay has finished."""
        try:
            found = read_progress(path)
        except FileNotFoundError:
            return None
        for name in ("starts", "ends", "next", "target_ends"):
            found[name] = {int(number): offset for number, offset in found[name].items()}
        found["left_out"] = Counter(found["left_out"])
        progress = cls(**found)
        return None if progress.finished else progress

    def remaining_range(self, topic: str) -> OffsetRange:
        """The offsets that are still to be read."""

        def by_partition(offsets: dict[int, int]) -> dict[TopicPartition, int]:
            return {TopicPartition(topic, number): offset for number, offset in offsets.items()}

        requested = OffsetRange(by_partition(self.starts), by_partition(self.ends), self.since_ms, self.until_ms)
        return requested.remaining(by_partition(self.next))

    def save(self, path: Path) -> None:
        write_atomically(path, vars(self))


def read_progress(path: Path) -> dict[str, Any]:
    """The content of a progress file, with the keys of this release. Raises `OSError` and `ValueError`."""
    return {_EARLIER_KEYS.get(key, key): value for key, value in json.loads(path.read_text(encoding="utf-8")).items()}


def write_atomically(path: Path, content: Any) -> None:
    """Replaces the file with `content` as JSON. After a crash the file has the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new_file = path.with_suffix(f".{os.getpid()}.new")
    with new_file.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    new_file.replace(path)


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Holds the lock file of `path`. Raises `AlreadyRunningError` while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(
                f"another process carries out the same request (lock file {lock.name}): wait until it ends"
            ) from None
        yield
