"""Loaded models of this replica, exchanged without a pause.

A model is loaded in a thread, checked and warmed up. One assignment then makes it available. A scan keeps the model
that it started with; a model that is removed is freed after its last scan.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

import structlog

from savo_contracts.envelope import named_id
from savo_contracts.models import ModelRef, ModelRefused
from savo_detection.detector import DetectedBox, Detector
from savo_detection.engines.cpus import lower_thread_priority
from savo_detection.engines.selection import Engines
from savo_detection.errors import ModelRefusedError, error_summary
from savo_detection.evaluation.golden_pictures import first_difference
from savo_detection.photos.decoding import Pixels
from savo_runtime.telemetry.metrics import MODEL_SWAP, MODELS_REFUSED
from savo_vision.errors import ModelMissingError
from savo_vision.ports import EventPublisher, ModelFile, ModelSource

__all__ = ["Engine", "LoadedModel", "LoadedModels", "load_engine", "timed_detection"]

log = structlog.get_logger()

LOAD_TIMEOUT_SECONDS = 15.0
"""How long a scan waits for a model that is being loaded. After that it is answered without the model.

Scans wait only in a replica that has just started, possibly together with all other services.
"""

_REASON_LIMIT = 1000


class Engine(Protocol):
    """The part of `savo_detection.Detector` that this service uses. All methods block."""

    @property
    def batch(self) -> int:
        """The largest number of photos in one pass."""
        ...

    def decode(self, photo: bytes) -> Pixels:
        """Raises `PhotoError`."""
        ...

    def detect_array(self, rgb: Pixels) -> list[DetectedBox]: ...

    def detect_batch(self, pictures: Sequence[Pixels]) -> list[list[DetectedBox]]:
        """Boxes of each picture, in order."""
        ...


def load_engine(file: ModelFile, engines: Engines | None = None) -> Detector:
    """Load a model, check it and warm it up. Blocks; run it in a thread.

    `engines` are the engines that may run the model; None means ONNX Runtime alone. An engine that the operator named
    must find the boxes of the golden pictures, or where it has none, those of ONNX Runtime on one picture.

    Raises `ModelRefusedError`.
    """
    engines = engines or Engines()
    detector = Detector.load(
        file.data,
        plain=file.plain,
        expected_sha256=file.sha256,
        expected_classes=file.classes,
        engines=engines,
        compare=not file.golden,
    )
    try:
        detector.warm_up()
        changes = [(golden, first_difference(golden.boxes, detector.detect(golden.photo))) for golden in file.golden]
    except Exception as error:  # any error here would also occur on users' photos
        raise ModelRefusedError(f"it fails on its test pictures: {error_summary(error)}") from error
    for golden, change in changes:
        if change:
            raise ModelRefusedError(
                f"it does not find the boxes recorded at its evaluation: in photo {golden.sha256[:12]}… {change}"
            )
    log.info(
        "engine.chosen",
        version=file.version,
        requested=engines.requested,
        optimized=bool(detector.version_info.plain_sha256),
        **asdict(detector.choice),
    )
    return detector


def timed_detection(engine: Engine, photo: bytes) -> tuple[list[DetectedBox], float, float]:
    """Boxes, seconds of decoding and seconds of inference. Blocks."""
    began = time.perf_counter()
    pixels = engine.decode(photo)
    decoded = time.perf_counter()
    boxes = engine.detect_array(pixels)
    return boxes, decoded - began, time.perf_counter() - decoded


@dataclass(frozen=True)
class LoadedModel:
    """An engine that is ready for photos, and the model version that it runs."""

    version: str
    engine: Engine


@dataclass
class LoadedModels:
    """Loads, holds and removes models, and publishes `models.refused` for a model that fails a check."""

    source: ModelSource
    publisher: EventPublisher
    replica: str
    clock: Callable[[], datetime]
    load: Callable[[ModelFile], Engine] = load_engine
    load_timeout: float = LOAD_TIMEOUT_SECONDS
    """Seconds."""
    champion: LoadedModel | None = None
    """The last champion that could be loaded. It continues to serve when the next champion is refused."""
    _models: Mapping[str, LoadedModel] = field(default_factory=lambda: MappingProxyType({}))
    _version_at_path: dict[str, str] = field(default_factory=dict)
    """Version of the model at an operator's path. Scans that waited under the path find the model by its version."""
    _expected: dict[str, asyncio.Event] = field(default_factory=dict)
    """Models that are about to be loaded. The event is set when the model is loaded or refused."""
    _refused: set[tuple[str, str]] = field(default_factory=set)

    def holds(self, version: str) -> bool:
        return version in self._models

    def versions(self) -> tuple[str, ...]:
        return tuple(self._models)

    def expect(self, *versions: str) -> None:
        """Let scans wait for these versions, which are about to be loaded."""
        for version in versions:
            if version not in self._models:
                self._expected.setdefault(version, asyncio.Event())

    async def wait_for(self, version: str, scan_id: str) -> LoadedModel | None:
        """The model for a scan. Waits up to `load_timeout` for an expected one; None when it is not loaded then."""
        if version not in self._models and (settled := self._expected.get(version)):
            try:
                async with asyncio.timeout(self.load_timeout):
                    await settled.wait()
            except TimeoutError:
                log.warning(
                    "scan.model_wait_timed_out", scan_id=scan_id, version=version, waited_seconds=self.load_timeout
                )
        return self._models.get(self._version_at_path.get(version, version))

    async def load_registered(self, ref: ModelRef) -> LoadedModel | None:
        """The registered model, loaded if necessary. None when it is refused, which is published once.

        Raises `DependencyDownError` when the model store is down.
        """
        if (ref.version, ref.sha256) not in self._refused and ref.version not in self._models:
            try:
                await self._install(await self.source.registered(ref))
            except (ModelRefusedError, ModelMissingError) as error:
                await self._refuse(ref.version, ref.sha256, str(error))
        self._end_wait(ref.version)
        return self._models.get(ref.version)

    async def load_from_path(self, path: str) -> LoadedModel | None:
        """The operator's model. None when it is refused or missing, which is published once.

        Raises `DependencyDownError` when the model store is down.
        """
        version = path[-120:]
        try:
            file = await self.source.at_path(path)
            version = self._version_at_path[path] = file.version
            if version not in self._models:
                await self._install(file)
        except (ModelRefusedError, ModelMissingError) as error:
            await self._refuse(version, path, str(error))
        self._end_wait(path)
        return self._models.get(version)

    def keep_only(self, versions: Iterable[str]) -> None:
        """Remove all models but these and the champion."""
        wanted = {*versions, *([self.champion.version] if self.champion else [])}
        self._models = MappingProxyType(
            {version: model for version, model in self._models.items() if version in wanted}
        )

    async def _install(self, file: ModelFile) -> None:
        began = time.perf_counter()
        try:
            engine = await self._load_in_thread(file)
        except ModelRefusedError:
            raise
        except Exception as error:
            log.exception("model.load_failed", version=file.version)
            raise ModelRefusedError(f"it could not be loaded: {error_summary(error)}") from error
        self._models = MappingProxyType({**self._models, file.version: LoadedModel(file.version, engine)})
        MODEL_SWAP.observe(time.perf_counter() - began)
        log.info("model.loaded", version=file.version, seconds=round(time.perf_counter() - began, 3))

    async def _load_in_thread(self, file: ModelFile) -> Engine:
        """In a new thread, with a lower priority than scans when other models answer scans meanwhile."""
        thread = ThreadPoolExecutor(1, "vision-loader", initializer=lower_thread_priority if self._models else None)
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, copy_context().run, self.load, file)
        finally:
            thread.shutdown(wait=False)

    async def _refuse(self, version: str, content: str, reason: str) -> None:
        if (version, content) in self._refused:
            return
        MODELS_REFUSED.labels(version).inc()
        log.error("model.refused", version=version, error=reason)
        event = ModelRefused(
            version=version, replica=self.replica, reason=reason[:_REASON_LIMIT], refused_at=self.clock()
        )
        await self.publisher.publish(event, event_id=named_id(f"models.refused/{self.replica}/{version}/{content}"))
        self._refused.add((version, content))

    def _end_wait(self, version: str) -> None:
        if settled := self._expected.pop(version, None):
            settled.set()
