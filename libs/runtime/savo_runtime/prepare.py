"""`python -m savo_runtime.prepare`: what must be there before the first service: the bucket and the registry's topics.

Makes what is missing and leaves alone what is there, so it may run before every start. Exit 0 all is there, 1 something refused or did not come up.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from savo_runtime.errors import SavoError
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.s3 import S3Store
from savo_runtime.telemetry.logs import configure_logs
from savo_runtime.telemetry.redaction import Redaction, secrets_of
from savo_runtime.timing.availability import until_available

__all__ = ["main", "prepare"]


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
    bucket = await until_available(partial(_bucket, settings))
    topics = await until_available(partial(ensure_topics, settings))
    return [*([f"bucket {bucket}"] if bucket else []), *topics]


async def _bucket(settings: RuntimeSettings) -> str | None:
    """The bucket's name after its creation; None where it exists, and for a folder store, which creates itself."""
    store = open_store(settings)
    try:
        if isinstance(store, S3Store) and await store.ensure_bucket():
            return store.bucket
        return None
    finally:
        await store.close()


if __name__ == "__main__":
    raise SystemExit(main())
