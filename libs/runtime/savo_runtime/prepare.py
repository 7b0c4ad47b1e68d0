"""`python -m savo_runtime.prepare`: what must be there before the first service: the bucket and the registry's topics.

Makes what is missing and leaves alone what is there, so it may run before every start. Exit 0 all is there, 1 something refused or did not come up.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from savo_runtime.errors import DependencyDownError, SavoError
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.s3 import S3Store
from savo_runtime.telemetry.logs import configure_logs
from savo_runtime.telemetry.redaction import Redaction, secrets_of

__all__ = ["main", "patiently", "prepare"]

PATIENCE_SECONDS = 90.0
PAUSE_SECONDS = 1.0

T = TypeVar("T")


def main() -> int:
    settings = load_settings(RuntimeSettings)
    configure_logs([settings])
    try:
        made = asyncio.run(prepare(settings))
    except SavoError as error:
        print("savo: " + " ".join(Redaction(secrets_of(settings)).text(str(error)).split()), file=sys.stderr)
        return 1
    print(f"made {', '.join(made)}" if made else "all topics and the bucket were there")
    return 0


async def prepare(settings: RuntimeSettings) -> list[str]:
    """Names of what was made. Raises `DependencyDownError` when something is still away after 90 s, `FatalError` when it refuses."""
    bucket = await patiently(lambda: _bucket(settings))
    topics = await patiently(lambda: ensure_topics(settings))
    return [*([f"bucket {bucket}"] if bucket else []), *topics]


async def patiently(attempt: Callable[[], Awaitable[T]], *, seconds: float = PATIENCE_SECONDS, pause: float = PAUSE_SECONDS) -> T:
    """Again while a dependency is still coming up."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while True:
        try:
            return await attempt()
        except DependencyDownError:
            if clock() > deadline:
                raise
            await asyncio.sleep(pause)


async def _bucket(settings: RuntimeSettings) -> str | None:
    """Its name when it was made. A folder needs none, and it makes itself."""
    store = open_store(settings)
    try:
        if isinstance(store, S3Store) and await store.ensure_bucket():
            return store.bucket
        return None
    finally:
        await store.close()


if __name__ == "__main__":
    raise SystemExit(main())
