"""Model files from the registry in the object store, or from a path that the operator configured."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import ValidationError

from savo_contracts.documents import PLAIN_EXPORT, Alias, ModelReport, alias_key, model_key
from savo_contracts.models import ModelRef
from savo_detection.detector import onnx_path, plain_export_path
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_vision.errors import ModelMissingError
from savo_vision.ports import GoldenPictureFile, ModelFile

__all__ = ["ModelFiles"]

Document = TypeVar("Document", Alias, ModelReport)

_REGISTRY = re.compile(r"^models:/ingredients(?:@(?P<alias>[a-z]+)|/(?P<version>v[1-9][0-9]*))$")


@dataclass(frozen=True)
class ModelFiles:
    """Port: `savo_vision.ports.ModelSource`."""

    store: ObjectStore
    bucket: str | None = None
    """The store's bucket; an `s3://` address must have the same."""
    plain_exports: bool = False
    """Whether to read the export before graph optimisation too, where one is stored."""

    async def registered(self, ref: ModelRef) -> ModelFile:
        data = await self._object(ref.key, f"model {ref.version}")
        report = await self._report_of(ref.version)
        golden = await self._golden(report) if report else ()
        return ModelFile(ref.version, data, ref.sha256, ref.classes, golden, await self._plain_of(report))

    async def at_path(self, path: str) -> ModelFile:
        if path.startswith("models:"):
            return await self._of_registry(path)
        if path.startswith("s3://"):
            key = self._key(path)
            data, plain = await self._object(key, path), await self._plain(str(plain_export_path(PurePosixPath(key))))
        else:
            data, plain = await asyncio.to_thread(_read, Path(path), plain_exports=self.plain_exports)
        return ModelFile(_version(path, data), data, plain=plain)

    async def _of_registry(self, path: str) -> ModelFile:
        address = _REGISTRY.match(path)
        if address is None:
            raise ModelMissingError(
                f"{path!r} is no model address; valid are models:/ingredients@champion and models:/ingredients/v1"
            )
        version = address["version"] or await self._version_of(address["alias"])
        report = _parsed(
            ModelReport, await self._object(model_key(version, "report.json"), f"report of {version}"), version
        )
        data = await self._object(model_key(version, "model.onnx"), f"model {version}")
        return ModelFile(
            version, data, report.onnx_sha256, report.classes, await self._golden(report), await self._plain_of(report)
        )

    async def _report_of(self, version: str) -> ModelReport | None:
        """None when there is no report: a registered model needs only its event."""
        try:
            report = await self._object(model_key(version, "report.json"), f"report of {version}")
        except ModelMissingError:
            return None
        return _parsed(ModelReport, report, version)

    async def _plain_of(self, report: ModelReport | None) -> bytes | None:
        """None for a version that was registered without a plain export."""
        return (
            await self._plain(model_key(report.version, PLAIN_EXPORT)) if report and report.plain_onnx_sha256 else None
        )

    async def _plain(self, key: str) -> bytes | None:
        """The detector checks that the export belongs to the model."""
        if not self.plain_exports:
            return None
        with contextlib.suppress(ObjectNotFoundError):
            return await self.store.get(key)
        return None

    async def _golden(self, report: ModelReport) -> tuple[GoldenPictureFile, ...]:
        """The golden pictures that still exist: users may have erased theirs."""
        found = []
        for picture in report.golden:
            with contextlib.suppress(ObjectNotFoundError):
                photo = await self.store.get(picture.image_key)
                if hashlib.sha256(photo).hexdigest() == picture.sha256:
                    found.append(GoldenPictureFile(picture.sha256, photo, picture.boxes))
        return tuple(found)

    async def _version_of(self, alias: str) -> str:
        entry = _parsed(Alias, await self._object(alias_key(alias), f"alias {alias}"), alias)
        if entry.version is None:
            raise ModelMissingError(f"the alias {alias} points to no model; `savo models list` shows all versions")
        return entry.version

    async def _object(self, key: str, what: str) -> bytes:
        try:
            return await self.store.get(key)
        except ObjectNotFoundError as missing:
            place = f"no object {key!r} in bucket {self.bucket}" if self.bucket else f"no object {key!r}"
            hint = "`savo models list` shows the versions there"
            raise ModelMissingError(f"{what} is not in the object store ({place}); {hint}") from missing

    def _key(self, address: str) -> str:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        if bucket != self.bucket:
            raise ModelMissingError(
                f"{address}: this service reads only the bucket {self.bucket!r}"
                if self.bucket
                else f"{address}: no bucket is configured; set R2_BUCKET_NAME"
            )
        return key


def _read(path: Path, *, plain_exports: bool) -> tuple[bytes, bytes | None]:
    """The model file, and the plain export beside it if requested."""
    path = onnx_path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelMissingError(f"{path} cannot be read: {error.strerror}") from error
    plain = plain_export_path(path)
    return data, plain.read_bytes() if plain_exports and plain.is_file() else None


def _version(path: str, data: bytes) -> str:
    """A version for a file without one, from its name and content: `best-1a2b3c4d`, at most 60 characters."""
    return f"{Path(path).stem[:51]}-{hashlib.sha256(data).hexdigest()[:8]}"


def _parsed(kind: type[Document], data: bytes, name: str) -> Document:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise ModelMissingError(f"the document of {name} cannot be read: {error.errors()[0]['msg']}") from error
