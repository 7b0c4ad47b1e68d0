"""Runtime: the store, database, outbox, publisher and clock that `serve()` passes to a service's `build()`."""

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
    """The platform as one service gets it. `replica` is unique to the process."""

    service: str
    replica: str
    store: ObjectStore
    database: Database
    outbox: Outbox
    publisher: Publisher
    clock: Callable[[], datetime]
    live_database: Database | None = None
    """In a sandbox: the tables of the live service, where they exist. Read-only; they hold paid provider answers."""
