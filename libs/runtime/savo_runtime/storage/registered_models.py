"""Registered models in the object store, by version or alias: `v3`, `champion`, `models:/ingredients@challenger`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydantic import ValidationError

from savo_contracts.documents import Alias, ModelReport, alias_key, model_key
from savo_runtime.errors import SavoError
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["StoredModel", "UnknownModelError", "stored_model"]

_REGISTERED = re.compile(r"^(?:models:/ingredients)?[@/]?(?:(?P<version>v[1-9][0-9]*)|(?P<alias>champion|challenger))$")
_NEXT_STEP = "`savo models list` shows all models"


class UnknownModelError(SavoError):
    """The registry has no such model, or its document cannot be read."""


@dataclass(frozen=True)
class StoredModel:
    """A registered model: its version, ONNX file and report."""

    version: str
    onnx: bytes = field(repr=False)
    report: ModelReport


async def stored_model(name: str, store: ObjectStore) -> StoredModel | None:
    """The model with that version or alias; None when `name` has neither form, for example a path.

    The bytes are not verified: compare them with the report's hash. Raises `UnknownModelError`.
    """
    found = _REGISTERED.match(name)
    if found is None:
        return None
    try:
        version = found["version"] or await _version_of(found["alias"], store)
        report = ModelReport.model_validate_json(
            await _object(store, model_key(version, "report.json"), f"there is no model {version}")
        )
    except ValidationError as error:
        raise UnknownModelError(
            f"the registry's document of {name} cannot be read: {error.errors()[0]['msg']}"
        ) from error
    onnx = await _object(store, model_key(version, "model.onnx"), f"the model file of {version} is missing")
    return StoredModel(version, onnx, report)


async def _version_of(alias: str, store: ObjectStore) -> str:
    entry = Alias.model_validate_json(await _object(store, alias_key(alias), f"alias {alias} does not exist yet"))
    if entry.version is None:
        raise UnknownModelError(f"alias {alias} points to no model, so the vision provider answers scans; {_NEXT_STEP}")
    return entry.version


async def _object(store: ObjectStore, key: str, problem: str) -> bytes:
    try:
        return await store.get(key)
    except ObjectNotFoundError as error:
        raise UnknownModelError(f"{problem} (no object {key}); {_NEXT_STEP}") from error
