"""Which records: by scan, subject, type or any field. What the key or a header tells is not looked for in the body, and no body is parsed in vain."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pydantic_core
from aiokafka import ConsumerRecord

from savo_contracts.topics import Topic

__all__ = ["Condition", "ConditionError", "Selection", "parse_condition"]

_CONDITION = re.compile(r"^([A-Za-z_][\w.]*)\s*(!=|>=|<=|=|>|<|~)\s*(.*)$", re.DOTALL)


class ConditionError(ValueError):
    """The message says how a condition is written."""


@dataclass(frozen=True)
class Condition:
    """One field of the event against one value; of a list any element may fulfil it."""

    path: tuple[str, ...]
    operator: str
    value: str

    def holds(self, event: Any) -> bool:
        found = list(_values(event, self.path))
        return (
            all(self._fulfilled(value) for value in found)
            if self.operator == "!="
            else any(self._fulfilled(value) for value in found)
        )

    def _fulfilled(self, value: Any) -> bool:
        match self.operator:
            case "=":
                return _written(value) == self.value
            case "!=":
                return _written(value) != self.value
            case "~":
                return self.value.lower() in _written(value).lower()
        try:
            number, limit = float(value), float(self.value)
        except (TypeError, ValueError):
            here, there = _written(value), self.value  # times in RFC 3339 sort as they are written
            return {">": here > there, "<": here < there, ">=": here >= there, "<=": here <= there}[self.operator]
        return {">": number > limit, "<": number < limit, ">=": number >= limit, "<=": number <= limit}[self.operator]


def parse_condition(text: str) -> Condition:
    """Raises `ConditionError`."""
    match = _CONDITION.match(text.strip())
    if match is None:
        raise ConditionError(
            f"{text!r} is no condition: write FIELD=VALUE, or !=, ~ (contains), >, <, >=, <= in the place of =; such as served_by=google or items.label=egg"
        )
    return Condition(tuple(match[1].split(".")), match[2], match[3].strip())


@dataclass(frozen=True)
class Selection:
    """All that is given must hold. Empty takes everything."""

    scan_ids: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    """`ce_type`s, with * and ? as in file names."""
    conditions: tuple[Condition, ...] = ()

    @property
    def matches_all(self) -> bool:
        return not (self.scan_ids or self.subjects or self.types or self.conditions)

    def matches(self, record: ConsumerRecord, topic: Topic[Any] | None) -> bool:
        """`topic` tells what the key is; None where it is not known."""
        if self.types and not self._has_type(record):
            return False
        event = _Body(record)
        return (
            _is_about(record, topic, "scan_id", self.scan_ids, event)
            and _is_about(record, topic, "subject", self.subjects, event)
            and (
                not self.conditions
                or (event.fields is not None and all(condition.holds(event.fields) for condition in self.conditions))
            )
        )

    def _has_type(self, record: ConsumerRecord) -> bool:
        told = next((value for name, value in record.headers if name == "ce_type" and value is not None), b"").decode(
            errors="replace"
        )
        return any(fnmatch.fnmatchcase(told, pattern) for pattern in self.types)

    def as_json(self) -> dict[str, Any]:
        """What was asked for, to recognise the same request."""
        conditions = sorted("".join((".".join(each.path), each.operator, each.value)) for each in self.conditions)
        return {
            "scan_ids": sorted(self.scan_ids),
            "subjects": sorted(self.subjects),
            "types": sorted(self.types),
            "where": conditions,
        }


@dataclass
class _Body:
    """Parsed when first asked for. None for what is no JSON object."""

    record: ConsumerRecord

    @cached_property
    def fields(self) -> dict[str, Any] | None:
        try:
            found = pydantic_core.from_json(self.record.value or b"")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def _is_about(
    record: ConsumerRecord, topic: Topic[Any] | None, field: str, wanted: frozenset[str], event: _Body
) -> bool:
    if not wanted:
        return True
    if topic is not None and topic.key_name == field:
        return (record.key or b"").decode(errors="replace") in wanted
    if record.value is None or not any(one.encode() in record.value for one in wanted):
        return False
    return event.fields is not None and event.fields.get(field) in wanted


def _values(event: Any, path: tuple[str, ...]) -> Iterable[Any]:
    if isinstance(event, list):
        for element in event:
            yield from _values(element, path)
    elif not path:
        yield event
    elif isinstance(event, dict):
        yield from _values(event.get(path[0]), path[1:])
    else:
        yield None


def _written(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
