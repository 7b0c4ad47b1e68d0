"""Selection of records by scan, subject, type or any field.

The record's key and headers are checked before its body, and a body is parsed only if a condition needs it.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pydantic_core
from aiokafka import ConsumerRecord

from savo_contracts.topics import Topic

__all__ = ["Condition", "ConditionError", "Selection", "parse_condition"]

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_CONDITION = re.compile(r"^([A-Za-z_][\w.]*)\s*(!=|>=|<=|=|>|<|~)\s*(.*)$", re.DOTALL)


class ConditionError(ValueError):
    """The text is no valid condition. The message shows how to write one."""


@dataclass(frozen=True)
class Condition:
    """A comparison of one field with a value. A list matches if any element does."""

    path: tuple[str, ...]
    operator: str
    value: str

    def holds(self, event: Any) -> bool:
        """Whether the event, as parsed JSON, fulfils the condition."""
        quantifier = all if self.operator == "!=" else any
        return quantifier(self._matches(value) for value in _values(event, self.path))

    def _matches(self, value: Any) -> bool:
        match self.operator:
            case "=":
                return _text_of(value) == self.value
            case "!=":
                return _text_of(value) != self.value
            case "~":
                return self.value.lower() in _text_of(value).lower()
        try:
            number, limit = float(value), float(self.value)
        except (TypeError, ValueError):
            return _COMPARISONS[self.operator](_text_of(value), self.value)  # RFC 3339 times are ordered as text
        return _COMPARISONS[self.operator](number, limit)


def parse_condition(text: str) -> Condition:
    """The condition that a text such as `items.label=egg` means. Raises `ConditionError`."""
    match = _CONDITION.match(text.strip())
    if match is None:
        raise ConditionError(
            f"{text!r} is no condition: write FIELD=VALUE, or !=, ~ (contains), >, <, >=, <= instead of =,"
            " such as served_by=google or items.label=egg"
        )
    return Condition(tuple(match[1].split(".")), match[2], match[3].strip())


@dataclass(frozen=True)
class Selection:
    """Conditions on a record; all must hold. Without any it matches every record."""

    scan_ids: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    """Event types (header `ce_type`), with * and ? as in file names."""
    conditions: tuple[Condition, ...] = ()

    @property
    def matches_all(self) -> bool:
        return not (self.scan_ids or self.subjects or self.types or self.conditions)

    def matches(self, record: ConsumerRecord, topic: Topic[Any] | None) -> bool:
        """Whether the record is selected. `topic` defines the meaning of the key; None if it is unknown."""
        if self.types and not self._has_type(record):
            return False
        body = _Body(record)
        return (
            _is_about(record, topic, "scan_id", self.scan_ids, body)
            and _is_about(record, topic, "subject", self.subjects, body)
            and self._conditions_hold(body)
        )

    def _conditions_hold(self, body: _Body) -> bool:
        if not self.conditions:
            return True
        return body.fields is not None and all(condition.holds(body.fields) for condition in self.conditions)

    def _has_type(self, record: ConsumerRecord) -> bool:
        values = (value for name, value in record.headers if name == "ce_type" and value is not None)
        event_type = next(values, b"").decode(errors="replace")
        return any(fnmatch.fnmatchcase(event_type, pattern) for pattern in self.types)

    def as_json(self) -> dict[str, Any]:
        """The conditions in a fixed order, which identify the same selection."""
        conditions = sorted("".join((".".join(each.path), each.operator, each.value)) for each in self.conditions)
        return {
            "scan_ids": sorted(self.scan_ids),
            "subjects": sorted(self.subjects),
            "types": sorted(self.types),
            "where": conditions,
        }


@dataclass
class _Body:
    """A record's body, parsed at the first use. `fields` is None if the body is no JSON object."""

    record: ConsumerRecord

    @cached_property
    def fields(self) -> dict[str, Any] | None:
        try:
            found = pydantic_core.from_json(self.record.value or b"")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def _is_about(
    record: ConsumerRecord, topic: Topic[Any] | None, field: str, wanted: frozenset[str], body: _Body
) -> bool:
    if not wanted:
        return True
    if topic is not None and topic.key_name == field:
        return (record.key or b"").decode(errors="replace") in wanted
    if record.value is None or not any(value.encode() in record.value for value in wanted):
        return False
    return body.fields is not None and body.fields.get(field) in wanted


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


def _text_of(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
