"""Answers in the form of the request's JSON schema, filled by the names of its properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from savo_demo.standin.error_model import DetectedItem

Schema = Mapping[str, Any]

_LABEL = frozenset({"label", "name", "ingredient", "class", "title"})
_BOX = frozenset({"box_2d", "box2d", "bbox", "box", "bounding_box"})
_CONFIDENCE = frozenset({"confidence", "score", "probability"})
_QUANTITY = frozenset({"quantity_estimate", "quantity", "count", "pieces"})


@dataclass(frozen=True)
class Form:
    """A JSON schema with the definitions of its references."""

    schema: Schema
    definitions: Mapping[str, Schema]

    @classmethod
    def of(cls, schema: Schema) -> Form:
        return cls(schema, schema.get("$defs") or schema.get("defs") or schema.get("definitions") or {}).resolved()

    @property
    def kind(self) -> str:
        return str(self.schema.get("type", "object" if "properties" in self.schema else "")).lower()

    def properties(self) -> dict[str, Form]:
        return {
            name: Form(part, self.definitions).resolved()
            for name, part in (self.schema.get("properties") or {}).items()
        }

    def items(self) -> Form:
        return Form(self.schema.get("items") or {}, self.definitions).resolved()

    def resolved(self) -> Form:
        """Follow a reference; of alternatives, take the first that is not null."""
        schema = self.schema
        if reference := schema.get("$ref") or schema.get("ref"):
            return Form(self.definitions.get(str(reference).rsplit("/", 1)[-1], {}), self.definitions).resolved()
        if choices := schema.get("anyOf") or schema.get("any_of"):
            chosen: Schema = next((choice for choice in choices if str(choice.get("type", "")).lower() != "null"), {})
            return Form(chosen, self.definitions).resolved()
        return self


def detections(items: Sequence[DetectedItem], schema: Schema | None) -> Any:
    """The items in the form of the schema: a list, or an object with a list. Without a schema, Gemini's usual list."""
    return _filled(Form.of(schema or DEFAULT), [_item_fields(item) for item in items])


def recipes(listed: Sequence[Mapping[str, Any]], schema: Schema | None) -> Any:
    """The recipes in the form of the schema."""
    if schema is None:
        return {"recipes": [dict(recipe) for recipe in listed]}
    return _filled(Form.of(schema), [_recipe_fields(recipe) for recipe in listed])


DEFAULT: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"label": {"type": "string"}, "box_2d": {"type": "array"}, "confidence": {"type": "number"}},
    },
}

Fields = Callable[[str, Form], Any]


def _filled(form: Form, rows: Sequence[Fields]) -> Any:
    if form.kind == "array":
        return [{name: row(name, part) for name, part in form.items().properties().items()} for row in rows]
    return {
        name: _filled(part, rows) if _holds_rows(part) else _blank(part) for name, part in form.properties().items()
    }


def _holds_rows(form: Form) -> bool:
    return form.kind == "array" and bool(form.items().properties())


def _item_fields(item: DetectedItem) -> Fields:
    def field(name: str, form: Form) -> Any:
        plain = name.lower()
        if plain in _LABEL:
            return item.label.replace("_", " ")
        if plain in _BOX:
            return _box(item, form)
        if plain in _CONFIDENCE:
            return round(item.confidence, 3)
        return 1 if plain in _QUANTITY else _blank(form)

    return field


def _recipe_fields(recipe: Mapping[str, Any]) -> Fields:
    return lambda name, form: recipe.get(name, _blank(form))


def _box(item: DetectedItem, form: Form) -> Any:
    """A list is Gemini's form (ymin, xmin, ymax, xmax in 0…1000); an object is filled by its property names."""
    box = item.bbox
    y_min, x_min, y_max, x_max = box.to_gemini()
    if form.kind != "object":
        return [y_min, x_min, y_max, x_max]
    has_integers = any(part.kind == "integer" for part in form.properties().values())
    corners = (
        {"ymin": y_min, "xmin": x_min, "ymax": y_max, "xmax": x_max}
        if has_integers
        else {"ymin": box.y, "xmin": box.x, "ymax": box.bottom, "xmax": box.right}
    )
    sides = {
        "x": box.x,
        "y": box.y,
        "width": box.width,
        "height": box.height,
        "left": box.x,
        "top": box.y,
        "right": box.right,
        "bottom": box.bottom,
    }
    return {name: (corners | sides).get(name.lower().replace("_", ""), 0) for name in form.properties()}


def _blank(form: Form) -> Any:
    """A value that fits an unknown property."""
    if form.schema.get("nullable") or form.kind in {"", "null"}:
        return None
    if choices := form.schema.get("enum"):
        return choices[0]
    return {"array": [], "object": {}, "integer": 1, "number": 1.0, "boolean": False}.get(form.kind, "")
