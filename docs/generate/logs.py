"""Generator of docs/logs.md, the list of all log events: `python -m docs.generate.logs [--check]`.

With --check it exits with 1 if the page is out of date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LogEvent", "log_events", "logs_page"]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/logs.md"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")

HEAD = """# Log events

Generated from the code by `make generate`. Do not edit.

Each line of a log is one event: a stable name, a level and fields. With `SAVO_LOG_FORMAT=json` a line is a JSON object
with `event`, `level`, `timestamp`, `service` and the fields below; inside a request or a record also `trace_id` and
`span_id`.
`…` stands for fields that depend on the case. `exception` is an error with its traceback.

| event | level | fields | logged by |
|---|---|---|---|
"""


@dataclass(frozen=True)
class LogEvent:
    """A log event with its levels, fields and modules."""

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    places: tuple[str, ...]
    """Modules."""


def log_events(root: Path) -> list[LogEvent]:
    """Every event that a `savo_*` package below `root` logs with a literal name, sorted by name."""
    calls: dict[str, list[tuple[str, str, list[str]]]] = {}
    for path in sorted(root.rglob("savo_*/**/*.py")):
        if not {".venv", "tests"} & set(path.relative_to(root).parts):
            for name, level, fields in _calls(ast.parse(path.read_text(encoding="utf-8"))):
                calls.setdefault(name, []).append((level, _module(path), fields))
    return [
        LogEvent(
            name,
            tuple(level for level in LEVELS if level in {call[0] for call in found}),
            tuple(sorted({field for call in found for field in call[2]})),
            tuple(sorted({call[1] for call in found})),
        )
        for name, found in sorted(calls.items())
    ]


def _calls(tree: ast.Module) -> Iterator[tuple[str, str, list[str]]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=logger, attr=level),
                args=[ast.Constant(value=str(name)), *_],
                keywords=keywords,
            ) if level in LEVELS and "." in name and _is_logger(logger):
                yield name, level, [keyword.arg or "…" for keyword in keywords if keyword.arg != "exc_info"]


def _is_logger(node: ast.expr) -> bool:
    """Whether the expression is `log` or `self.log`, with or without `.bind(…)`."""
    match node:
        case ast.Name(id="log") | ast.Attribute(attr="log"):
            return True
        case ast.Call(func=ast.Attribute(value=inner, attr="bind")):
            return _is_logger(inner)
    return False


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    start = next(index for index, part in enumerate(parts) if part.startswith("savo_"))
    return ".".join(parts[start:])


def logs_page(events: Iterable[LogEvent]) -> str:
    """The page in Markdown."""
    rows = [
        [
            f"`{event.name}`",
            ", ".join(event.levels),
            ", ".join(event.fields),
            ", ".join(f"`{place}`" for place in event.places),
        ]
        for event in events
    ]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(arguments: list[str]) -> int:
    page = logs_page(log_events(ROOT))
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
    elif page != PAGE.read_text(encoding="utf-8"):
        print("docs/logs.md differs from the log calls in the code; run `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
