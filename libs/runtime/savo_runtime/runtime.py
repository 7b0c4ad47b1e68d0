"""What every service is given by `serve()`: its share of the platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from savo_runtime.database import Database
from savo_runtime.messaging.publishing.outbox import Outbox
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.storage.port import ObjectStore

__all__ = ["Runtime"]


@dataclass(frozen=True)
class Runtime:
    """What every service is given: its share of the platform, behind ports."""

    service: str
    replica: str
    store: ObjectStore
    database: Database
    outbox: Outbox
    publisher: Publisher
    clock: Callable[[], datetime]
    live: Database | None = None
    """In a sandbox: the live service's tables, where there are any. To be read only: what was answered and paid once is recorded there."""
