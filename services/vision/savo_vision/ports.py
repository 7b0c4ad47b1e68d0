"""Ports of the vision service: Protocols that its domain needs and its adapters implement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from savo_contracts.documents import GoldenBox
from savo_contracts.envelope import Event, ImageRef
from savo_contracts.models import ModelRef
from savo_contracts.scans import ScanCompleted, ScanFailed, ScanRequested, ServedBy
from savo_vision.detections import Answer, RawAnswer

__all__ = [
    "EventPublisher",
    "Finished",
    "GoldenPictureFile",
    "ModelFile",
    "ModelSource",
    "PhotoStore",
    "ProviderDetector",
    "Results",
    "ScanStatus",
]

Finished = ScanCompleted | ScanFailed
"""The event of a finished scan."""


class PhotoStore(Protocol):
    """Photos of scans."""

    async def read(self, image: ImageRef) -> bytes | None:
        """None when the photo is gone. Raises `DependencyDownError` when the store is down."""
        ...


class ProviderDetector(Protocol):
    """A paid vision service that detects items in whole photos."""

    @property
    def served_by(self) -> ServedBy: ...

    @property
    def model(self) -> str:
        """The requested model; the answer may name another."""
        ...

    async def detect(self, photo: bytes) -> Answer:
        """Items in the photo, with the tokens used.

        Raises `ProviderError`, `PhotoError`, and `DependencyDownError` while the provider is known to be down.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class ScanStatus:
    """What is stored about a scan before work on it begins."""

    erased: bool = False
    finished: Finished | None = None


class Results(Protocol):
    """Finished scans, raw answers, spending, and erased scans and subjects.

    A repeated scan is answered from here and costs nothing. An erased scan is not processed again.
    """

    async def status(self, requested: ScanRequested) -> ScanStatus: ...

    async def finished(self, scan_id: str) -> Finished | None:
        """The scan's result; None when it is unknown, was erased or is older than the retention."""
        ...

    async def save(
        self, finished: Finished, spent: Sequence[tuple[str, float]] = (), raw: RawAnswer | None = None
    ) -> Finished | None:
        """Store the result unless the scan has one already, and book the spending in either case.

        `spent` is a list of (provider, US dollars). Returns the stored result: another one when this is a repeat, None
        when the scan was erased meanwhile.
        """
        ...

    async def raw_answer(self, scan_id: str) -> RawAnswer | None:
        """The provider's answer to this scan, verbatim. None when no answer is stored."""
        ...

    async def erase_scan(self, scan_id: str, at: datetime) -> None: ...

    async def erase_subject(self, subject: str, at: datetime) -> None: ...

    async def record_spending(self, provider: str, usd: float, at: datetime) -> None:
        """Book US dollars that belong to no scan's answer."""
        ...

    async def spent_since(self, provider: str, since: datetime) -> float:
        """US dollars."""
        ...


@dataclass(frozen=True)
class GoldenPictureFile:
    """A photo, and the boxes that the model found in it when it was evaluated."""

    sha256: str
    photo: bytes = field(repr=False)
    boxes: tuple[GoldenBox, ...]


@dataclass(frozen=True)
class ModelFile:
    """A model's bytes and what they are checked against.

    `sha256` and `classes` are None for a model that is not registered.
    """

    version: str
    data: bytes
    sha256: str | None = None
    classes: tuple[str, ...] | None = None
    golden: tuple[GoldenPictureFile, ...] = ()
    plain: bytes | None = field(default=None, repr=False)
    """The export before graph optimisation, for engines that optimise graphs themselves. None if absent or unused."""


class ModelSource(Protocol):
    """Where model files come from.

    Methods raise `ModelMissingError`, `ModelRefusedError` for a format that is never loaded, and `DependencyDownError`
    when the store is down.
    """

    async def registered(self, ref: ModelRef) -> ModelFile:
        """A version of the registry."""
        ...

    async def at_path(self, path: str) -> ModelFile:
        """The operator's model: a file path, an `s3://` address or `models:/ingredients@champion`."""
        ...


class EventPublisher(Protocol):
    """Publishes an event to its topic."""

    async def publish(self, event: Event, *, event_id: UUID | None = None) -> None: ...
