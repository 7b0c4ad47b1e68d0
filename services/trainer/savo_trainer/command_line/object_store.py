"""Access of the commands to the object store of the settings."""

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
    """Run `work` with the opened store, then close the store in the same event loop."""

    async def main() -> T:
        store = open_store(load_settings(RuntimeSettings))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(main())
