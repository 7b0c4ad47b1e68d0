"""The object store that this shell's settings name, opened for one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.port import ObjectStore

__all__ = ["run_on_store"]

T = TypeVar("T")


def run_on_store(work: Callable[[ObjectStore], Awaitable[T]]) -> T:
    """What `work` gives; the store is closed after it, in the same event loop."""

    async def main() -> T:
        store = open_store(load_settings(RuntimeSettings))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(main())
