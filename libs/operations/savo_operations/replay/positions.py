"""Where in a topic: its beginning, its end, an offset, or a time; and how a person writes it.

start | end | 1200 | 3/1200 (partition/offset) | 2026-11-23T08:00Z | 2026-11-23 | 90s | 15m | 2h | 3d (so long ago)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["End", "Moment", "Offset", "Position", "PositionError", "Start", "parse_position", "parse_range"]

_AGO = re.compile(r"^(\d+)(s|m|h|d)$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_OFFSET = re.compile(r"^(?:(\d+)/)?(\d+)$")


class PositionError(ValueError):
    """No position. The message names what is allowed."""


@dataclass(frozen=True)
class Start:
    pass


@dataclass(frozen=True)
class End:
    pass


@dataclass(frozen=True)
class Offset:
    """In every partition, or in one: then the others are left out."""

    offset: int
    partition: int | None = None


@dataclass(frozen=True)
class Moment:
    """The first record at or after it, by Kafka's time of the record."""

    at: datetime

    @property
    def milliseconds(self) -> int:
        return max(0, int(self.at.timestamp() * 1000))  # Kafka knows no time before 1970


Position = Start | End | Offset | Moment


def parse_position(text: str, now: datetime) -> Position:
    """Raises `PositionError`. A time without a zone is UTC."""
    word = text.strip().lower()
    if word in ("start", "end"):
        return Start() if word == "start" else End()
    if match := _OFFSET.match(word):
        return Offset(int(match[2]), int(match[1]) if match[1] else None)
    if match := _AGO.match(word):
        return _ago(text, now, int(match[1]), _UNITS[match[2]])
    try:
        at = datetime.fromisoformat(text.strip().replace("z", "Z"))
    except ValueError:
        raise PositionError(
            f"{text!r} is no place in a topic: start, end, 1200, 3/1200 (partition/offset), 2026-11-23T08:00Z, or 90s, 15m, 2h, 3d ago"
        ) from None
    return Moment(at if at.tzinfo else at.replace(tzinfo=UTC))


def _ago(text: str, now: datetime, count: int, unit: str) -> Moment:
    try:
        return Moment(now - timedelta(**{unit: count}))
    except OverflowError:
        raise PositionError(f"{text!r} ago is before all time: start, if everything is meant") from None


def parse_range(since: str, until: str, now: datetime) -> tuple[Position, Position]:
    """Raises `PositionError`, also for a range that nothing can lie in."""
    first, last = parse_position(since, now), parse_position(until, now)
    if _is_empty(first, last, now):
        raise PositionError(f"nothing lies between {since} and {until}: --from is to come before --to")
    return first, last


def _is_empty(first: Position, last: Position, now: datetime) -> bool:
    match first, last:
        case (End(), _) | (_, Start()):
            return True
        case Moment(), Moment():
            return first.at >= last.at
        case Moment(), End():
            return first.at >= now
        case Offset(), Offset():
            other = None not in (first.partition, last.partition) and first.partition != last.partition
            return other or first.offset >= last.offset
    return False
