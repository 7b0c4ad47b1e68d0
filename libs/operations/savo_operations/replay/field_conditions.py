"""Check of conditions against the events' schemas: the field exists, and a number is compared with a number.

Without this check a mistyped field would match no record, without an error.
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
    """Raises `ConditionError` if the condition can hold for none of the events."""
    schemas = [event.model_json_schema() for event in dict.fromkeys(events)]
    leaves = [leaf for schema in schemas for leaf in _leaves(schema, condition.path, schema)]
    if not leaves:
        raise ConditionError(_no_such_field(condition.path, schemas))
    types = {leaf.get("type") for leaf in leaves} - {"null"}
    is_numeric = bool(types) and types <= _NUMBERS
    accepts_any_text = condition.operator == "~" or condition.value == "null"
    if is_numeric and not accepts_any_text and not _is_number(condition.value):
        field = ".".join(condition.path)
        raise ConditionError(
            f"{field} holds numbers: {condition.value!r} is not a number;"
            f" write for example {field}{condition.operator}3"
        )


def _no_such_field(path: tuple[str, ...], schemas: Sequence[Schema]) -> str:
    """The error message: it lists the fields that exist where the path ends to be valid."""
    known = max(
        count for count in range(len(path)) if any(list(_leaves(schema, path[:count], schema)) for schema in schemas)
    )
    names = {
        name
        for schema in schemas
        for leaf in _leaves(schema, path[:known], schema)
        for name in leaf.get("properties", {})
    }
    within = f" of {'.'.join(path[:known])}" if known else ""
    fields = f"there are {', '.join(sorted(names))}" if names else "it has none"
    return f"no field {path[known]!r}{within}; {fields}"


def _leaves(schema: Schema, path: tuple[str, ...], root: Schema) -> Iterator[Schema]:
    """The schemas that are possible at the path. A list is replaced by its elements."""
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
