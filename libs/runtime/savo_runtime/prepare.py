"""`python -m savo_runtime.prepare`: create the bucket and the topics that services need before their first start.

Existing ones are not changed, so the command may run before every start. Exit code 0: all exist, 1: Kafka or the object
store is unavailable or refuses.
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
        created = asyncio.run(prepare(settings))
    except SavoError as error:
        print("savo: " + " ".join(Redaction(secrets_of(settings)).text(str(error)).split()), file=sys.stderr)
        return 1
    print(f"made {', '.join(created)}" if created else "all topics and the bucket were there")
    return 0


async def prepare(settings: RuntimeSettings) -> list[str]:
    """Create the missing bucket and topics; returns their names.

    Raises `DependencyDownError` when Kafka or the store is still unavailable after 90 s, `FatalError` when it refuses.
    """
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
