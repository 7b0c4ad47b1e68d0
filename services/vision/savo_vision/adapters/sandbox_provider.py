"""Provider of a sandbox: it refuses every call, because a replay uses recorded answers and costs nothing."""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.scans import ServedBy
from savo_providers.errors import ProviderError
from savo_vision.detections import Answer

__all__ = ["SandboxProvider"]


@dataclass(frozen=True)
class SandboxProvider:
    """Port: `savo_vision.ports.ProviderDetector`."""

    served_by: ServedBy
    model: str

    async def detect(self, photo: bytes) -> Answer:
        raise ProviderError(self.served_by.value, "was not asked: a sandbox spends nothing")

    async def close(self) -> None:
        return None
