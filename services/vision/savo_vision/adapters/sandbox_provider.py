"""The provider of a sandbox: what the live service heard from it is recorded, and nobody is asked anything."""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.scans import ServedBy
from savo_providers.errors import ProviderError
from savo_vision.detections import Answer

__all__ = ["Unasked"]


@dataclass(frozen=True)
class Unasked:
    """Implements `Provider`."""

    served_by: ServedBy
    model: str

    async def look(self, photo: bytes) -> Answer:
        raise ProviderError(self.served_by.value, "was not asked: a sandbox spends nothing")

    async def close(self) -> None:
        return None
