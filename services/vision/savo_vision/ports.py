"""What the domain needs from outside."""

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
    "Announcer",
    "Finished",
    "GoldenPhoto",
    "ModelFile",
    "ModelSource",
    "PhotoStore",
    "Provider",
    "Results",
    "Standing",
]

Finished = ScanCompleted | ScanFailed


class PhotoStore(Protocol):
    async def read(self, image: ImageRef) -> bytes | None:
        """None when the photo is gone. Raises `DependencyDownError` when the store is away."""
        ...


class Provider(Protocol):
    """A vision service that looks at whole photos."""

    @property
    def served_by(self) -> ServedBy: ...

    @property
    def model(self) -> str: ...

    async def look(self, photo: bytes) -> Answer:
        """Raises `ProviderError`s, `PhotoError`s, and `DependencyDownError` while the provider is known to be away."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Standing:
    """What is known of a scan before work on it begins."""

    erased: bool = False
    finished: Finished | None = None


class Results(Protocol):
    """Finished scans, so that a repeat pays nothing, and the erased, so that nothing comes back."""

    async def standing(self, requested: ScanRequested) -> Standing: ...

    async def keep(
        self, finished: Finished, spent: Sequence[tuple[str, float]] = (), raw: RawAnswer | None = None
    ) -> Finished | None:
        """Store unless a result is there; gives the one that stands, None when the scan was erased meanwhile. `spent`: (provider, US dollars)."""
        ...

    async def raw_answer(self, scan_id: str) -> RawAnswer | None:
        """What a provider said of this scan, word for word."""
        ...

    async def erase_scan(self, scan_id: str, at: datetime) -> None: ...

    async def erase_subject(self, subject: str, at: datetime) -> None: ...

    async def book(self, provider: str, usd: float, at: datetime) -> None:
        """Money that no scan's answer cost."""
        ...

    async def spent_since(self, provider: str, since: datetime) -> float:
        """US dollars."""
        ...


@dataclass(frozen=True)
class GoldenPhoto:
    """A photo, and what the model saw in it when it was measured."""

    sha256: str
    photo: bytes = field(repr=False)
    boxes: tuple[GoldenBox, ...]


@dataclass(frozen=True)
class ModelFile:
    """A model's bytes, and what they must be. `sha256` and `classes` are None where nobody registered them."""

    version: str
    data: bytes
    sha256: str | None = None
    classes: tuple[str, ...] | None = None
    golden: tuple[GoldenPhoto, ...] = ()
    plain: bytes | None = field(default=None, repr=False)
    """The export that it was made from, for engines that optimise graphs themselves; None where none is kept or wanted."""


class ModelSource(Protocol):
    """Raises `ModelMissingError`, `ModelRefusedError` for what is never loaded, `DependencyDownError` when the store is away."""

    async def registered(self, ref: ModelRef) -> ModelFile: ...

    async def named(self, path: str) -> ModelFile:
        """What the operator named by a path, an `s3://` address or `models:/ingredients@champion`."""
        ...


class Announcer(Protocol):
    async def publish(self, event: Event, *, event_id: UUID | None = None) -> None: ...
