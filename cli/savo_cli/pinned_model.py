"""The model that a replay is pinned to: a registered version, an alias, or an ONNX file."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from savo_cli.speaking import CommandError

if TYPE_CHECKING:
    from savo_detection.model import Detector
    from savo_runtime.storage.port import ObjectStore

__all__ = ["PinnedModel", "pin"]

_REGISTERED = re.compile(r"^(?:models:/ingredients)?[@/]?(?:(?P<version>v[1-9][0-9]*)|(?P<alias>champion|challenger))$")


@dataclass(frozen=True)
class PinnedModel:
    version: str
    detector: Detector

    @property
    def sha256(self) -> str:
        return self.detector.version_info.sha256


async def pin(name: str, store: ObjectStore) -> PinnedModel:
    """`v3`, `champion`, `models:/ingredients@challenger`, or the path of an ONNX file. Raises `CommandError`."""
    from pydantic import ValidationError

    from savo_detection.errors import ModelRefusedError
    from savo_detection.model import Detector

    found = _REGISTERED.match(name)
    try:
        if found is None:
            detector = await asyncio.to_thread(Detector.load, _file(name))
            return PinnedModel(f"{Path(name).stem}-{detector.version_info.sha256[:8]}", detector)
        version = found["version"] or await _version_of(found["alias"], store)
        return await _registered(version, store)
    except ModelRefusedError as flaw:
        raise CommandError(f"{name} is not used: {flaw}") from flaw
    except ValidationError as flaw:
        raise CommandError(f"the registry's document of {name} cannot be read: {flaw.errors()[0]['msg']}") from flaw


async def _registered(version: str, store: ObjectStore) -> PinnedModel:
    from savo_contracts.documents import ModelReport, model_key
    from savo_detection.model import Detector

    report = ModelReport.model_validate_json(await _object(store, model_key(version, "report.json"), f"there is no model {version}"))
    data = await _object(store, model_key(version, "model.onnx"), f"the file of {version} is gone")
    detector = await asyncio.to_thread(Detector.load, data, expected_sha256=report.onnx_sha256, expected_classes=report.classes)
    return PinnedModel(version, detector)


async def _version_of(alias: str, store: ObjectStore) -> str:
    from savo_contracts.documents import Alias, alias_key

    entry = Alias.model_validate_json(await _object(store, alias_key(alias), f"nothing is {alias} yet"))
    if entry.version is None:
        raise CommandError(f"no model is {alias} now: the vision provider answers; `savo models list` shows what there is")
    return entry.version


async def _object(store: ObjectStore, key: str, trouble: str) -> bytes:
    from savo_runtime.storage.port import ObjectNotFoundError

    try:
        return await store.get(key)
    except ObjectNotFoundError as gone:
        raise CommandError(f"{trouble} (no object {key}); `savo models list` shows what there is") from gone


def _file(name: str) -> Path:
    if not Path(name).is_file():
        raise CommandError(f"{name} is no model: give a version such as v3, champion or challenger, or the path of an ONNX file")
    return Path(name)
