"""Compatibility check of JSON Schemas: changes of an event that break older messages or older readers.

Old messages must decode with the new code (replay), and old code must decode new messages (a rolling deploy).
A change that breaks either needs a new version in `ce_type` beside the old version.

The exception: a closed set of values may be opened (`savo_contracts.open_values`). Every old message decodes with the
new code. Old code refuses the new values only, and readers are deployed one release before the first of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from savo_contracts.open_values import OPEN_VALUE, is_open_value

__all__ = ["breaking_changes"]

Schema = dict[str, Any]

# A raised lower limit or a lowered upper limit refuses messages that were valid before.
_LOWER_LIMITS = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER_LIMITS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """A description of each change from JSON Schema `old` to `new` that breaks readers or writers."""
    return list(_compare(old, new, old, new, "$"))


def _compare(old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    if _kinds(old, old_root) != _kinds(new, new_root):
        yield f"{path}: type changed from {_kinds(old, old_root)} to {_kinds(new, new_root)}"
        return
    yield from _closed_sets(old, new, path)
    yield from _limits(old, new, path)
    yield from _properties(old, new, old_root, new_root, path)
    for part in ("items", "additionalProperties"):
        if isinstance(old.get(part), dict) and isinstance(new.get(part), dict):
            yield from _compare(old[part], new[part], old_root, new_root, f"{path}[]")
    for before, after in zip(_variants(old, old_root), _variants(new, new_root), strict=False):
        yield from _compare(before, after, old_root, new_root, path)


def _properties(old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in before.keys() - after.keys():
        yield f"{path}.{name}: removed"
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{path}.{name}: required now, and older messages may lack it"
    for name in sorted(set(old.get("required", ())) - set(new.get("required", ()))):
        if name in after:
            yield f"{path}.{name}: no longer required, but older readers require it"
    for name in sorted(before.keys() & after.keys()):
        yield from _compare(before[name], after[name], old_root, new_root, f"{path}.{name}")


def _closed_sets(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if _is_opened(old, new):
        return
    for keyword in ("enum", "const", "pattern"):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        if keyword == "enum" and isinstance(before, list) and isinstance(after, list):
            if removed := sorted(set(before) - set(after)):
                yield f"{path}: values removed: {removed}"
            if added := sorted(set(after) - set(before)):
                yield f"{path}: values added that older readers refuse: {added}"
        else:
            yield f"{path}: {keyword} changed from {before!r} to {after!r}"


def _is_opened(old: Schema, new: Schema) -> bool:
    """Whether a closed set now accepts any well-formed value, including all old values."""
    values = old.get("enum", [])
    opened = new.get("pattern") == OPEN_VALUE and not {"enum", "const"} & new.keys()
    return bool(values) and opened and all(map(is_open_value, values))


def _limits(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for keyword in _LOWER_LIMITS:
        if new.get(keyword, float("-inf")) > old.get(keyword, float("-inf")):
            yield f"{path}: {keyword} raised from {old.get(keyword)} to {new[keyword]}"
    for keyword in _UPPER_LIMITS:
        if new.get(keyword, float("inf")) < old.get(keyword, float("inf")):
            yield f"{path}: {keyword} lowered from {old.get(keyword)} to {new[keyword]}"


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _variants(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of `anyOf` in a stable order."""
    return sorted(
        (_resolved(part, root) for part in schema.get("anyOf", ())),
        key=lambda part: str(part.get("type", part.get("title"))),
    )


def _kinds(schema: Schema, root: Schema) -> list[str]:
    if "anyOf" in schema:
        return [str(variant.get("type")) for variant in _variants(schema, root)]
    return [str(schema.get("type"))]
