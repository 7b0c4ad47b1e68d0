"""Whether a changed event still understands, and is understood by, what was written before.

Old messages must decode with the new code (replay), and old code must decode new messages (a rolling deploy).
What breaks either needs a new version in `ce_type`, beside the old one.

One exception: a closed set of values may be opened (`savo_contracts.open_values`). Every old message decodes with the new code;
old code refuses only values that nobody writes yet, because readers are deployed one release before the first new value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from savo_contracts.open_values import OPEN_VALUE, is_open_value

__all__ = ["breaking_changes"]

Schema = dict[str, Any]

# Raising a lower limit or lowering an upper one refuses messages that were fine.
_LOWER_LIMITS = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER_LIMITS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Every way in which JSON Schema `new` breaks readers or writers of `old`, in words; empty when it breaks none."""
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
            yield f"{path}.{name}: no longer required, and older readers insist on it"
    for name in sorted(before.keys() & after.keys()):
        yield from _compare(before[name], after[name], old_root, new_root, f"{path}.{name}")


def _closed_sets(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if _is_opened(old, new):
        return
    for word in ("enum", "const", "pattern"):
        before, after = old.get(word), new.get(word)
        if before == after:
            continue
        if word == "enum" and isinstance(before, list) and isinstance(after, list):
            if gone := sorted(set(before) - set(after)):
                yield f"{path}: values removed: {gone}"
            if come := sorted(set(after) - set(before)):
                yield f"{path}: values added that older readers refuse: {come}"
        else:
            yield f"{path}: {word} changed from {before!r} to {after!r}"


def _is_opened(old: Schema, new: Schema) -> bool:
    """A set that was closed takes any well-formed value now, and all of its old ones."""
    values = old.get("enum", [])
    opened = new.get("pattern") == OPEN_VALUE and not {"enum", "const"} & new.keys()
    return bool(values) and opened and all(map(is_open_value, values))


def _limits(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for word in _LOWER_LIMITS:
        if new.get(word, float("-inf")) > old.get(word, float("-inf")):
            yield f"{path}: {word} raised from {old.get(word)} to {new[word]}"
    for word in _UPPER_LIMITS:
        if new.get(word, float("inf")) < old.get(word, float("inf")):
            yield f"{path}: {word} lowered from {old.get(word)} to {new[word]}"


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
