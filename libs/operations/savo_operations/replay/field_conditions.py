"""Whether a condition can hold at all: the field is one of the event's, and what is a number is compared with a number.

A mistyped field is no field of any record, so that without this it would be answered by silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from savo_contracts.envelope import Event
from savo_operations.replay.selection import Condition, ConditionError

__all__ = ["check_condition"]

Schema = dict[str, Any]

_NUMBERS = {"number", "integer"}


def check_condition(condition: Condition, events: Iterable[type[Event]]) -> None:
    """Against the events of all topics that are read: one of them is enough. Raises `ConditionError`."""
    schemas = [event.model_json_schema() for event in dict.fromkeys(events)]
    found = [leaf for schema in schemas for leaf in _leaves(schema, condition.path, schema)]
    if not found:
        raise ConditionError(_no_such_field(condition.path, schemas))
    types = {leaf.get("type") for leaf in found} - {"null"}
    if (
        types
        and types <= _NUMBERS
        and condition.operator != "~"
        and condition.value != "null"
        and not _is_number(condition.value)
    ):
        raise ConditionError(f"{'.'.join(condition.path)} is a number, and {condition.value!r} is none")


def _no_such_field(path: tuple[str, ...], schemas: Sequence[Schema]) -> str:
    """Names the fields at the place where the path goes astray."""
    known = max(
        count for count in range(len(path)) if any(list(_leaves(schema, path[:count], schema)) for schema in schemas)
    )
    names = {
        name
        for schema in schemas
        for place in _leaves(schema, path[:known], schema)
        for name in place.get("properties", {})
    }
    within = f" of {'.'.join(path[:known])}" if known else ""
    there = f"there are {', '.join(sorted(names))}" if names else "it has none"
    return f"no field {path[known]!r}{within}; {there}"


def _leaves(schema: Schema, path: tuple[str, ...], root: Schema) -> Iterator[Schema]:
    """What may stand at the path; of a list, at its elements."""
    if "$ref" in schema:
        yield from _leaves(root["$defs"][schema["$ref"].rpartition("/")[2]], path, root)
    elif options := [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]:
        for option in options:
            yield from _leaves(option, path, root)
    elif schema.get("type") == "array":
        for element in schema.get("prefixItems", [schema.get("items", {})]):
            yield from _leaves(element, path, root)
    elif not path:
        yield schema
    elif path[0] in schema.get("properties", {}):
        yield from _leaves(schema["properties"][path[0]], path[1:], root)
    elif rest := schema.get("additionalProperties"):
        yield from _leaves(rest, path[1:], root) if isinstance(rest, dict) else iter([{}])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
