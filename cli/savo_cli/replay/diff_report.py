"""What a replay with a model found, scan by scan, in a file that the same command goes on with after an interruption."""

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

__all__ = ["DifferencesBook"]

_KINDS = ("same", "moved", "relabelled", "gained", "lost")


class DifferencesBook:
    """One row a scan. `order` is what was asked: a folder holds the answer to one order."""

    def __init__(self, folder: Path, order: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = sqlite3.connect(folder / "book.sqlite3", isolation_level=None)
        self._lines.execute(
            "CREATE TABLE IF NOT EXISTS scans (scan_id TEXT PRIMARY KEY, changes INTEGER NOT NULL, told TEXT NOT NULL)"
        )
        self._lines.execute("CREATE TABLE IF NOT EXISTS asked (told TEXT NOT NULL)")
        there = self._lines.execute("SELECT told FROM asked").fetchone()
        if there is None:
            self._lines.execute("INSERT INTO asked VALUES (?)", (json.dumps(order, sort_keys=True),))
        elif json.loads(there[0]) != order:
            self._lines.close()
            raise CommandError(
                f"{folder} holds the answer to another replay ({_order_text(json.loads(there[0]))}); give another --output, or remove it"
            )
        self.resumed = len(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def __len__(self) -> int:
        return int(self._lines.execute("SELECT count(*) FROM scans").fetchone()[0])

    def __contains__(self, scan_id: str) -> bool:
        return self._lines.execute("SELECT 1 FROM scans WHERE scan_id = ?", (scan_id,)).fetchone() is not None

    def note(self, scan: dict[str, Any]) -> None:
        """Durable when it returns."""
        changes = sum(change["kind"] != "same" for change in scan["changes"])
        self._lines.execute(
            "INSERT OR REPLACE INTO scans VALUES (?, ?, ?)",
            (scan["scan_id"], changes, json.dumps(scan, ensure_ascii=False)),
        )

    def scans(self, *, changed_first: bool = False) -> Iterator[dict[str, Any]]:
        order = "changes DESC, scan_id" if changed_first else "scan_id"
        with closing(self._lines.execute(f"SELECT told FROM scans ORDER BY {order}")) as rows:  # noqa: S608 - one of two constants
            for (scan,) in rows:
                yield json.loads(scan)

    def summary(self) -> dict[str, Any]:
        """Sums over all scans; one scan is in memory at a time."""
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
        with path.open("w", encoding="utf-8") as lines:
            for scan in self.scans():
                lines.write(json.dumps(scan, ensure_ascii=False) + "\n")


def _order_text(order: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in order.items() if value not in (None, [], {}, ""))[:300]
