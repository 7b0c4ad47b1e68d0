"""A model of the registry in the object store, by the names that people use: `v3`, `champion`, `models:/ingredients@challenger`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydantic import ValidationError

from savo_contracts.documents import Alias, ModelReport, alias_key, model_key
from savo_runtime.errors import SavoError
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["StoredModel", "UnknownModelError", "stored_model"]

_REGISTERED = re.compile(r"^(?:models:/ingredients)?[@/]?(?:(?P<version>v[1-9][0-9]*)|(?P<alias>champion|challenger))$")
_WHAT_THERE_IS = "`savo models list` shows what there is"


class UnknownModelError(SavoError):
    """The registry has no such model; the message says what to do."""


@dataclass(frozen=True)
class StoredModel:
    version: str
    onnx: bytes = field(repr=False)
    report: ModelReport


async def stored_model(name: str, store: ObjectStore) -> StoredModel | None:
    """None for what is no name of the registry: a path, perhaps. The bytes are as they lie there: compare them with the report's hash.

    Raises `UnknownModelError`.
    """
    found = _REGISTERED.match(name)
    if found is None:
        return None
    try:
        version = found["version"] or await _version_of(found["alias"], store)
        report = ModelReport.model_validate_json(
            await _object(store, model_key(version, "report.json"), f"there is no model {version}")
        )
    except ValidationError as flaw:
        raise UnknownModelError(
            f"the registry's document of {name} cannot be read: {flaw.errors()[0]['msg']}"
        ) from flaw
    return StoredModel(
        version, await _object(store, model_key(version, "model.onnx"), f"the file of {version} is gone"), report
    )


async def _version_of(alias: str, store: ObjectStore) -> str:
    entry = Alias.model_validate_json(await _object(store, alias_key(alias), f"nothing is {alias} yet"))
    if entry.version is None:
        raise UnknownModelError(f"no model is {alias} now: the vision provider answers; {_WHAT_THERE_IS}")
    return entry.version


async def _object(store: ObjectStore, key: str, trouble: str) -> bytes:
    try:
        return await store.get(key)
    except ObjectNotFoundError as gone:
        raise UnknownModelError(f"{trouble} (no object {key}); {_WHAT_THERE_IS}") from gone
