"""Model registry in the object store: the versions that an operator may promote. Only the trainer writes it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from savo_contracts.documents import ModelReport, model_key
from savo_contracts.models import ModelRef, ModelRegistered
from savo_rollout.errors import UnknownModelError
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["Registry", "model_of", "registered_model"]


@dataclass(frozen=True)
class Registry:
    """Reads model versions."""

    store: ObjectStore

    async def report_of(self, version: str) -> ModelReport:
        """The report of a version. Raises `UnknownModelError` unless the version has a report and an ONNX file."""
        try:
            report = ModelReport.model_validate_json(await self.store.get(model_key(version, "report.json")))
        except ObjectNotFoundError:
            raise UnknownModelError(f"there is no model {version}; `savo models list` shows all versions") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "document"
            problem = f"the report of {version} cannot be read ({field}: {first['msg']})"
            raise UnknownModelError(f"{problem}: register the model again") from None
        if await self.store.head(model_key(version, "model.onnx")) is None:
            problem = f"{version} has a report, but its model.onnx is not in the object store"
            raise UnknownModelError(f"{problem}: register the model again")
        return report


def model_of(report: ModelReport) -> ModelRef:
    """The reference with which vision loads a version."""
    key = model_key(report.version, "model.onnx")
    return ModelRef(version=report.version, key=key, sha256=report.onnx_sha256, classes=report.classes)


def registered_model(event: ModelRegistered) -> ModelRef:
    """The reference in a registration's event."""
    return ModelRef(version=event.version, key=event.key, sha256=event.sha256, classes=event.classes)
