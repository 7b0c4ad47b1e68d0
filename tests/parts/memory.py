"""What a tree of processes holds in memory, as Linux counts it: for the tests of plans with little of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MemoryPeak", "peak_rss_mb", "tree_of"]

MB = 1_000_000


def peak_rss_mb(pid: int) -> float:
    """Most that the process ever had resident (VmHWM), 10⁶ bytes."""
    return _kilobytes(Path(f"/proc/{pid}/status"), "VmHWM") * 1024 / MB


def tree_of(pid: int) -> Iterator[int]:
    """The process and all that came from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree_of(int(child))


@dataclass
class MemoryPeak:
    """The most that was seen of all processes together: shared pages count once (PSS), as a host's limit counts them."""

    leave_out: frozenset[str] = frozenset()
    """Words of a command line: what a test brings along is not the product's."""
    megabytes: float = 0.0
    by_process: dict[str, float] = field(default_factory=dict)

    def look(self, root: int) -> None:
        now = {}
        for pid in tree_of(root):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if not any(word in command for word in self.leave_out):
                    now[command.strip()] = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") * 1024 / MB
            except (FileNotFoundError, ProcessLookupError):
                continue
        if sum(now.values()) > self.megabytes:
            self.megabytes, self.by_process = sum(now.values()), now


def _kilobytes(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    assert found, f"{file} has no {name}"
    return int(found[1])
