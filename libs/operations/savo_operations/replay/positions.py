"""Positions in a topic (start, end, offset, time), and the parser of their text form.

start | end | 1200 | 3/1200 (partition/offset) | 2026-11-23T08:00Z | 2026-11-23 | 90s | 15m | 2h | 3d (before now)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["AtTime", "End", "Offset", "Position", "PositionError", "Start", "parse_position", "parse_range"]

_AGO = re.compile(r"^(\d+)(s|m|h|d)$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_OFFSET = re.compile(r"^(?:(\d+)/)?(\d+)$")


class PositionError(ValueError):
    """The text is no position. The message names the allowed forms."""


@dataclass(frozen=True)
class Start:
    """The first record that the topic holds."""


@dataclass(frozen=True)
class End:
    """After the last record."""


@dataclass(frozen=True)
class Offset:
    """An offset in every partition, or in one partition; then the others are not read."""

    offset: int
    partition: int | None = None


@dataclass(frozen=True)
class AtTime:
    """The first record at or after a time, by the record's timestamp in Kafka."""

    at: datetime

    @property
    def milliseconds(self) -> int:
        return max(0, int(self.at.timestamp() * 1000))  # Kafka has no time before 1970


Position = Start | End | Offset | AtTime


def parse_position(text: str, now: datetime) -> Position:
    """The position that a text names. A time without a zone is UTC. Raises `PositionError`."""
    name = text.strip().lower()
    if name in ("start", "end"):
        return Start() if name == "start" else End()
    if match := _OFFSET.match(name):
        return Offset(int(match[2]), int(match[1]) if match[1] else None)
    if match := _AGO.match(name):
        return _ago(text, now, int(match[1]), _UNITS[match[2]])
    try:
        at = datetime.fromisoformat(text.strip().replace("z", "Z"))
    except ValueError:
        raise PositionError(
            f"{text!r} is no position in a topic: write start, end, 1200, 3/1200 (partition/offset), 2026-11-23T08:00Z,"
            " or a time before now such as 90s, 15m, 2h, 3d"
        ) from None
    return AtTime(at if at.tzinfo else at.replace(tzinfo=UTC))


def _ago(text: str, now: datetime, count: int, unit: str) -> AtTime:
    try:
        return AtTime(now - timedelta(**{unit: count}))
    except OverflowError:
        raise PositionError(f"{text!r} ago is before all time: write start to read everything") from None


def parse_range(since: str, until: str, now: datetime) -> tuple[Position, Position]:
    """The positions `since` and `until`. Raises `PositionError`, also if no record can lie between them."""
    first, last = parse_position(since, now), parse_position(until, now)
    if _is_empty(first, last, now):
        raise PositionError(f"nothing lies between {since} and {until}: --from must be before --to")
    return first, last


def _is_empty(first: Position, last: Position, now: datetime) -> bool:
    match first, last:
        case (End(), _) | (_, Start()):
            return True
        case AtTime(), AtTime():
            return first.at >= last.at
        case AtTime(), End():
            return first.at >= now
        case Offset(), Offset():
            differ = None not in (first.partition, last.partition) and first.partition != last.partition
            return differ or first.offset >= last.offset
    return False
