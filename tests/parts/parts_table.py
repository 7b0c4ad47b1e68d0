"""Table at the end of a test run: which parts were real, replaced by a stand-in, or skipped, with the reason.

Fixtures call `record`. Tests that only have a part's marker are counted automatically. Works under pytest-xdist, too.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest

How = Literal["real", "stood in", "skipped"]
Entry = tuple[str, str, str]

PARTS = {
    "kafka": "Kafka",
    "postgres": "PostgreSQL",
    "s3": "S3",
    "browser": "Chromium",
    "prometheus": "Prometheus",
    "kubernetes": "Kubernetes",
    "torch": "torch",
    "photos": "real photos",
}
"""Marker → name in the table."""

_WORKER_OUTPUT = "savo_parts"
_entries: dict[Entry, None] = {}
_ran: dict[str, int] = {}
_skipped: dict[str, dict[str, int]] = {}


def record(part: str, how: How, detail: str = "") -> None:
    """Add a row about a part. A repeated row is added once."""
    _entries[(part, how, detail)] = None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for marker, part in PARTS.items():
        if marker not in report.keywords:
            continue
        if report.skipped and isinstance(report.longrepr, tuple):
            reasons = _skipped.setdefault(part, {})
            reason = report.longrepr[2].removeprefix("Skipped: ")
            reasons[reason] = reasons.get(reason, 0) + 1
        elif report.when == "call":
            _ran[part] = _ran.get(part, 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_WORKER_OUTPUT] = [list(entry) for entry in _entries]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    for part, how, detail in getattr(node, "workeroutput", {}).get(_WORKER_OUTPUT, ()):
        _entries[(part, how, detail)] = None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("parts: real, stood in for, or skipped")
    for part, how, detail in rows():
        terminalreporter.write_line(f"{part:<12} {how:<10} {detail}".rstrip())


def rows() -> list[Entry]:
    """The rows in the order of `PARTS`, at least one for each part."""
    found: list[Entry] = []
    for part in dict.fromkeys([*PARTS.values(), *(entry[0] for entry in _entries)]):
        own = sorted(entry for entry in _entries if entry[0] == part)
        if part in _ran and not own:
            own = [(part, "real", f"{_ran[part]} tests")]
        for reason, count in _skipped.get(part, {}).items():
            if not any(entry[1:] == ("skipped", reason) for entry in own):
                own.append((part, "skipped", f"{reason} ({count} tests)"))
        found += own or [(part, "not used", "no test of this run needs it")]
    return found
