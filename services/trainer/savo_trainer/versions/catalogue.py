"""Data set versions in the object store: which there are, what they have, and which models were trained on them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from savo_contracts.documents import (
    CLASSES_KEY,
    DatasetVersion,
    ModelReport,
    dataset_classes_key,
    dataset_version_key,
)
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.errors import RunImpossibleError, UnknownVersionError
from savo_trainer.versions.freeze import RESTORE_CLASSES
from savo_trainer.versions.manifest import ManifestFile, fetch_manifest

__all__ = [
    "StoredVersion",
    "fetch_version",
    "models_by_version",
    "stored_version",
    "stored_versions",
    "version_classes",
    "version_number",
    "versions_with_manifest",
]

_VERSION = re.compile(r"^ds-\d{6,}$")
_REPORT = re.compile(r"^models/ingredients/v\d+/report\.json$")


@dataclass(frozen=True)
class StoredVersion:
    """A version in the object store."""

    name: str
    description: DatasetVersion | None
    """None for a version of an earlier release."""
    is_complete: bool
    """It has its manifest, and it is not removed."""
    models: tuple[str, ...] = field(default=())
    """Model versions that were trained on it."""


async def stored_versions(store: ObjectStore) -> list[StoredVersion]:
    """All versions that are not removed, in the order of their numbers."""
    files = await _files_by_version(store)
    models = await models_by_version(store)
    found = [await _stored(name, "manifest.jsonl" in files[name], models.get(name, ()), store) for name in files]
    return [version for version in found if version is not None]


async def versions_with_manifest(store: ObjectStore) -> list[str]:
    """The names of all versions that are complete, or whose removal was interrupted. Reads no document."""
    return [name for name, files in (await _files_by_version(store)).items() if "manifest.jsonl" in files]


async def stored_version(name: str, store: ObjectStore) -> StoredVersion:
    """Raises `UnknownVersionError`; a version whose freeze or removal was interrupted is known."""
    if _VERSION.match(name):
        files = {info.key.rpartition("/")[2] async for info in store.list(f"datasets/{name}/")}
        models = (await models_by_version(store)).get(name, ()) if files else ()
        if files and (version := await _stored(name, "manifest.jsonl" in files, models, store)):
            return version
    raise UnknownVersionError(name)


async def fetch_version(name: str, store: ObjectStore, folder: Path) -> ManifestFile:
    """Download the manifest of a complete version to `folder`. Raises `UnknownVersionError`."""
    description = await _description(name, store) if _VERSION.match(name) else None
    if not _VERSION.match(name) or (description and description.removed_at):
        raise UnknownVersionError(name)
    try:
        return await fetch_manifest(name, store, folder)
    except ObjectNotFoundError as error:
        raise UnknownVersionError(name) from error


async def version_classes(name: str, store: ObjectStore) -> bytes:
    """The class list of the version; the current one for a version of an earlier release.

    Raises `RunImpossibleError` where there is none.
    """
    for key in (dataset_classes_key(name), CLASSES_KEY):
        try:
            return await store.get(key)
        except ObjectNotFoundError:
            continue
    raise RunImpossibleError(f"{CLASSES_KEY} is missing: class ids in label files have no names", (RESTORE_CLASSES,))


async def models_by_version(store: ObjectStore) -> dict[str, tuple[str, ...]]:
    """Models with a report, by the data set version that they were trained on."""
    found: dict[str, list[str]] = {}
    async for info in store.list("models/ingredients/v"):
        if not _REPORT.match(info.key):
            continue
        try:
            report = ModelReport.model_validate_json(await store.get(info.key))
        except (ObjectNotFoundError, ValidationError):
            continue
        found.setdefault(report.dataset_version, []).append(report.version)
    return {
        version: tuple(sorted(models, key=lambda model: int(model.removeprefix("v"))))
        for version, models in found.items()
    }


def version_number(name: str) -> int:
    return int(name.removeprefix("ds-"))


def count_samples(manifest: ManifestFile) -> dict[str, int]:
    """Number of samples by split."""
    return dict(Counter(line.split.value for line in manifest))


async def _files_by_version(store: ObjectStore) -> dict[str, set[str]]:
    """File names by version, in the order of the versions' numbers."""
    files: dict[str, set[str]] = {}
    async for info in store.list("datasets/ds-"):
        _, name, file = info.key.split("/", 2)
        files.setdefault(name, set()).add(file)
    return {name: files[name] for name in sorted(filter(_VERSION.match, files), key=version_number)}


async def _stored(name: str, has_manifest: bool, models: tuple[str, ...], store: ObjectStore) -> StoredVersion | None:
    """None for a version that is removed."""
    description = await _description(name, store)
    is_removed = description is not None and description.removed_at is not None
    if is_removed and not has_manifest:
        return None
    return StoredVersion(name, description, has_manifest and not is_removed, models)


async def _description(name: str, store: ObjectStore) -> DatasetVersion | None:
    try:
        return DatasetVersion.model_validate_json(await store.get(dataset_version_key(name)))
    except ObjectNotFoundError:
        return None
