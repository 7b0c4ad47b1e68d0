"""Memory of a tree of processes, as Linux reports it, for the tests of the small plan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MemoryPeak", "peak_rss_mb", "tree_of"]

MB = 1_000_000


def peak_rss_mb(pid: int) -> float:
    """Peak resident memory of the process (VmHWM), in 10⁶ bytes."""
    return _kilobytes(Path(f"/proc/{pid}/status"), "VmHWM") * 1024 / MB


def tree_of(pid: int) -> Iterator[int]:
    """Ids of the process and all of its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree_of(int(child))


@dataclass
class MemoryPeak:
    """Highest measured sum over all processes. Shared pages count once (PSS), as in a host's limit."""

    leave_out: frozenset[str] = frozenset()
    """Parts of command lines: processes of the test itself are not counted."""
    megabytes: float = 0.0
    by_process: dict[str, float] = field(default_factory=dict)

    def measure(self, root: int) -> None:
        """Measure the tree of processes with this root, and keep the result if it is the highest."""
        now = {}
        for pid in tree_of(root):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if not any(part in command for part in self.leave_out):
                    now[command.strip()] = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") * 1024 / MB
            except (FileNotFoundError, ProcessLookupError):
                continue
        if sum(now.values()) > self.megabytes:
            self.megabytes, self.by_process = sum(now.values()), now


def _kilobytes(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    assert found, f"{file} has no {name}"
    return int(found[1])
