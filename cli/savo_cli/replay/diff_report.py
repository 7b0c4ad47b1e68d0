"""Results of a model replay, one row per scan, in a SQLite file.

After an interruption the same command continues with that file.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from savo_detection.differences.comparison import count_keys
from savo_runtime.command_line.output import CommandError

__all__ = ["DiffReport"]

_KINDS = ("same", "moved", "relabelled", "gained", "lost")


class DiffReport:
    """The compared scans of one replay. A folder holds the results of one request.

    Raises `CommandError` if the folder holds the results of another request.
    """

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / "book.sqlite3", isolation_level=None)
        # Table, column and file names stay: a folder of an earlier release can be continued.
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS scans (scan_id TEXT PRIMARY KEY, changes INTEGER NOT NULL, told TEXT NOT NULL)"
        )
        self._database.execute("CREATE TABLE IF NOT EXISTS asked (told TEXT NOT NULL)")
        known = self._database.execute("SELECT told FROM asked").fetchone()
        if known is None:
            self._database.execute("INSERT INTO asked VALUES (?)", (json.dumps(request, sort_keys=True),))
        elif json.loads(known[0]) != request:
            self._database.close()
            other = _request_text(json.loads(known[0]))
            raise CommandError(
                f"{folder} holds the results of another replay ({other}); give another --output, or delete it"
            )
        self.resumed = len(self)
        """Scans that an earlier run compared."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM scans").fetchone()[0])

    def __contains__(self, scan_id: str) -> bool:
        return self._database.execute("SELECT 1 FROM scans WHERE scan_id = ?", (scan_id,)).fetchone() is not None

    def add(self, scan: dict[str, Any]) -> None:
        """Store the result of a scan; it is durable when this returns."""
        changes = sum(change["kind"] != "same" for change in scan["changes"])
        self._database.execute(
            "INSERT OR REPLACE INTO scans VALUES (?, ?, ?)",
            (scan["scan_id"], changes, json.dumps(scan, ensure_ascii=False)),
        )

    def scans(self, *, changed_first: bool = False) -> Iterator[dict[str, Any]]:
        """Stored results, by scan id or by the number of changes."""
        sorting = "changes DESC, scan_id" if changed_first else "scan_id"
        with closing(self._database.execute(f"SELECT told FROM scans ORDER BY {sorting}")) as rows:  # noqa: S608 - one of two constants
            for (scan,) in rows:
                yield json.loads(scan)

    def summary(self) -> dict[str, Any]:
        """Sums over all scans. Reads one scan at a time."""
        states: Counter[str] = Counter()
        boxes: Counter[str] = Counter(dict.fromkeys(_KINDS, 0))
        labels: dict[str, Counter[str]] = {}
        fallbacks: Counter[str] = Counter({"would_ask_provider": 0, "answered_by_record": 0, "without_record": 0})
        for scan in self.scans():
            states[scan["state"]] += 1
            if scan["state"] != "compared":
                continue
            states["changed" if any(change["kind"] != "same" for change in scan["changes"]) else "unchanged"] += 1
            states["unanswered_before"] += scan["before"] is None
            for change in scan["changes"]:
                boxes[change["kind"]] += 1
                for label, what in count_keys(change):
                    labels.setdefault(label, Counter())[what] += 1
            if scan["after"]["falls_back"]:
                fallbacks["would_ask_provider"] += 1
                fallbacks["answered_by_record" if scan["after"]["recorded"] else "without_record"] += 1
        names = ("compared", "changed", "unchanged", "unanswered_before", "gone", "altered", "unreadable")
        by_label = [
            {"label": label, **counted}
            for label, counted in sorted(labels.items(), key=lambda entry: (-entry[1].total(), entry[0]))
        ]
        return {
            "scans": {name: states[name] for name in names},
            "boxes": dict(boxes),
            "labels": by_label,
            "fallbacks": dict(fallbacks),
        }

    def write_lines(self, path: Path) -> None:
        """Write the results as JSON lines."""
        with path.open("w", encoding="utf-8") as lines:
            for scan in self.scans():
                lines.write(json.dumps(scan, ensure_ascii=False) + "\n")


def _request_text(request: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in request.items() if value not in (None, [], {}, ""))[:300]
