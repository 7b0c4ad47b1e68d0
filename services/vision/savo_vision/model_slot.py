"""The models that this replica holds: loaded in a thread, checked, warmed up, and only then put in place by one assignment.

A scan takes its model once and keeps it to the end; a model that is put out of place is freed when its last scan is done.
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
from savo_detection.engines.cpus import lower_thread_priority
from savo_detection.engines.selection import Engines
from savo_detection.errors import ModelRefusedError, error_summary
from savo_detection.evaluation.golden_pictures import first_difference
from savo_detection.model import DetectedBox, Detector
from savo_detection.photos.decoding import Pixels
from savo_runtime.telemetry.metrics import MODEL_SWAP, MODELS_REFUSED
from savo_vision.errors import ModelMissingError
from savo_vision.ports import Announcer, ModelFile, ModelSource

__all__ = ["Engine", "LoadedModel", "ModelSlot", "load_engine", "timed_detection"]

log = structlog.get_logger()

PATIENCE = 15.0
"""Seconds that a scan waits for a model which is being loaded, before it is answered without it. Only a replica that has
just started lets scans wait, and all services may start together with it."""

_REASON_LIMIT = 1000


class Engine(Protocol):
    """What `savo_detection.Detector` is to this service."""

    @property
    def batch(self) -> int:
        """Photos in one pass, at most."""
        ...

    def decode(self, photo: bytes) -> Pixels: ...

    def detect_array(self, rgb: Pixels) -> list[DetectedBox]: ...

    def detect_batch(self, pictures: Sequence[Pixels]) -> list[list[DetectedBox]]: ...


def load_engine(file: ModelFile, engines: Engines | None = None) -> Detector:
    """Blocking; run it in a thread. Raises `ModelRefusedError`.

    `engines`: which may run it, None for ONNX Runtime alone. An engine that the operator named is checked by the golden
    photos, or on one picture where there are none.
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
    except Exception as error:  # whatever an engine raises on its first pictures, it would raise on users' photos
        raise ModelRefusedError(f"it fails on the pictures that it is tried with: {error_summary(error)}") from error
    for golden, change in changes:
        if change:
            raise ModelRefusedError(
                f"it does not see what it saw when it was measured: in photo {golden.sha256[:12]}… {change}"
            )
    log.info(
        "engine.chosen",
        asked_for=engines.wanted,
        optimized=bool(detector.version_info.plain_sha256),
        **asdict(detector.choice),
    )
    return detector


def timed_detection(engine: Engine, photo: bytes) -> tuple[list[DetectedBox], float, float]:
    """Blocking: boxes, and the seconds that decoding and detecting took."""
    began = time.perf_counter()
    pixels = engine.decode(photo)
    decoded = time.perf_counter()
    boxes = engine.detect_array(pixels)
    return boxes, decoded - began, time.perf_counter() - decoded


@dataclass(frozen=True)
class LoadedModel:
    version: str
    engine: Engine


@dataclass
class ModelSlot:
    source: ModelSource
    announcer: Announcer
    replica: str
    clock: Callable[[], datetime]
    load: Callable[[ModelFile], Engine] = load_engine
    patience: float = PATIENCE
    champion: LoadedModel | None = None
    """The last champion that could be loaded: it serves on when the next one is refused."""
    _models: Mapping[str, LoadedModel] = field(default_factory=lambda: MappingProxyType({}))
    _named: dict[str, str] = field(default_factory=dict)
    """Version of what the operator's path led to: who waited for the one asks for the other."""
    _expected: dict[str, asyncio.Event] = field(default_factory=dict)
    _refused: set[tuple[str, str]] = field(default_factory=set)

    def holds(self, version: str) -> bool:
        return version in self._models

    def versions(self) -> tuple[str, ...]:
        return tuple(self._models)

    def expect(self, *versions: str) -> None:
        """They are about to be loaded: scans may wait for them."""
        for version in versions:
            if version not in self._models:
                self._expected.setdefault(version, asyncio.Event())

    async def find(self, version: str) -> LoadedModel | None:
        """None when it is not here and not on its way, or takes longer than `patience`."""
        if version not in self._models and (on_its_way := self._expected.get(version)):
            try:
                async with asyncio.timeout(self.patience):
                    await on_its_way.wait()
            except TimeoutError:
                log.warning("model.load_timed_out", version=version, waited_seconds=self.patience)
        return self._models.get(self._named.get(version, version))

    async def bring(self, ref: ModelRef) -> LoadedModel | None:
        """The registered model, loaded now if it was not. None when it is refused, which is announced once. Raises `DependencyDownError`."""
        if (ref.version, ref.sha256) not in self._refused and ref.version not in self._models:
            try:
                await self._place(await self.source.registered(ref))
            except (ModelRefusedError, ModelMissingError) as flaw:
                await self._refuse(ref.version, ref.sha256, str(flaw))
        self._settle(ref.version)
        return self._models.get(ref.version)

    async def bring_named(self, path: str) -> LoadedModel | None:
        """The operator's own model. None when it is refused or missing."""
        version = path[-120:]
        try:
            file = await self.source.named(path)
            version = self._named[path] = file.version
            if version not in self._models:
                await self._place(file)
        except (ModelRefusedError, ModelMissingError) as flaw:
            await self._refuse(version, path, str(flaw))
        self._settle(path)
        return self._models.get(version)

    def keep_only(self, versions: Iterable[str]) -> None:
        wanted = {*versions, *([self.champion.version] if self.champion else [])}
        self._models = MappingProxyType(
            {version: model for version, model in self._models.items() if version in wanted}
        )

    async def _place(self, file: ModelFile) -> None:
        began = time.perf_counter()
        try:
            engine = await self._loaded(file)
        except ModelRefusedError:
            raise
        except Exception as flaw:
            log.exception("model.load_failed", version=file.version)
            raise ModelRefusedError(f"it could not be loaded: {error_summary(flaw)}") from flaw
        self._models = MappingProxyType({**self._models, file.version: LoadedModel(file.version, engine)})
        MODEL_SWAP.observe(time.perf_counter() - began)
        log.info("model.loaded", version=file.version, seconds=round(time.perf_counter() - began, 3))

    async def _loaded(self, file: ModelFile) -> Engine:
        """In a thread of its own, which gives way to the scans that other models answer meanwhile."""
        thread = ThreadPoolExecutor(1, "vision-loader", initializer=lower_thread_priority if self._models else None)
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, copy_context().run, self.load, file)
        finally:
            thread.shutdown(wait=False)

    async def _refuse(self, version: str, content: str, reason: str) -> None:
        if (version, content) in self._refused:
            return
        MODELS_REFUSED.labels(version).inc()
        log.error("model.refused", version=version, reason=reason)
        event = ModelRefused(
            version=version, replica=self.replica, reason=reason[:_REASON_LIMIT], refused_at=self.clock()
        )
        await self.announcer.publish(event, event_id=named_id(f"models.refused/{self.replica}/{version}/{content}"))
        self._refused.add((version, content))

    def _settle(self, version: str) -> None:
        if on_its_way := self._expected.pop(version, None):
            on_its_way.set()
