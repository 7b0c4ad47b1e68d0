"""Where models come from: the registry in the object store, or a place that the operator named."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from savo_contracts.documents import Alias, ModelReport, alias_key, model_key
from savo_contracts.models import ModelRef
from savo_detection.model import onnx_of
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_vision.errors import ModelMissingError
from savo_vision.ports import GoldenPhoto, ModelFile

__all__ = ["ModelFiles"]

Document = TypeVar("Document", Alias, ModelReport)

_REGISTRY = re.compile(r"^models:/ingredients(?:@(?P<alias>[a-z]+)|/(?P<version>v[1-9][0-9]*))$")


@dataclass(frozen=True)
class ModelFiles:
    store: ObjectStore
    bucket: str | None = None
    """Name of the store's bucket, which an `s3://` address must name."""

    async def registered(self, ref: ModelRef) -> ModelFile:
        data = await self._object(ref.key, f"model {ref.version}")
        return ModelFile(ref.version, data, ref.sha256, ref.classes, await self._golden_of(ref.version))

    async def named(self, path: str) -> ModelFile:
        if path.startswith("models:"):
            return await self._of_registry(path)
        if path.startswith("s3://"):
            data = await self._object(self._key(path), path)
        else:
            data = await asyncio.to_thread(_read, Path(path))
        return ModelFile(_version(path, data), data)

    async def _of_registry(self, path: str) -> ModelFile:
        found = _REGISTRY.match(path)
        if found is None:
            raise ModelMissingError(f"{path!r} names no model; models:/ingredients@champion and models:/ingredients/v1 do")
        version = found["version"] or await self._version_of(found["alias"])
        report = _parsed(ModelReport, await self._object(model_key(version, "report.json"), f"report of {version}"), version)
        data = await self._object(model_key(version, "model.onnx"), f"model {version}")
        return ModelFile(version, data, report.onnx_sha256, report.classes, await self._golden(report))

    async def _golden_of(self, version: str) -> tuple[GoldenPhoto, ...]:
        """None for a model whose report is not there: the event that names the model is what counts."""
        try:
            report = await self._object(model_key(version, "report.json"), f"report of {version}")
        except ModelMissingError:
            return ()
        return await self._golden(_parsed(ModelReport, report, version))

    async def _golden(self, report: ModelReport) -> tuple[GoldenPhoto, ...]:
        """Those that are still there: users may have had theirs erased."""
        found = []
        for picture in report.golden:
            with contextlib.suppress(ObjectNotFoundError):
                photo = await self.store.get(picture.image_key)
                if hashlib.sha256(photo).hexdigest() == picture.sha256:
                    found.append(GoldenPhoto(picture.sha256, photo, picture.boxes))
        return tuple(found)

    async def _version_of(self, alias: str) -> str:
        entry = _parsed(Alias, await self._object(alias_key(alias), f"alias {alias}"), alias)
        if entry.version is None:
            raise ModelMissingError(f"the alias {alias} points to no model")
        return entry.version

    async def _object(self, key: str, what: str) -> bytes:
        try:
            return await self.store.get(key)
        except ObjectNotFoundError as missing:
            raise ModelMissingError(f"{what} is not in the object store (no object {key!r})") from missing

    def _key(self, address: str) -> str:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        if bucket != self.bucket:
            raise ModelMissingError(f"{address}: this service reads the bucket {self.bucket!r} only" if self.bucket else f"{address}: no bucket is configured")
        return key


def _read(path: Path) -> bytes:
    path = onnx_of(path)
    try:
        return path.read_bytes()
    except OSError as flaw:
        raise ModelMissingError(f"{path} cannot be read: {flaw.strerror}") from flaw


def _version(path: str, data: bytes) -> str:
    """`best-1a2b3c4d`: a file has no version, so its content gives it one."""
    return f"{Path(path).stem[:60]}-{hashlib.sha256(data).hexdigest()[:8]}"


def _parsed(kind: type[Document], data: bytes, name: str) -> Document:
    try:
        return kind.model_validate_json(data)
    except ValidationError as flaw:
        raise ModelMissingError(f"the document of {name} cannot be read: {flaw.errors()[0]['msg']}") from flaw
