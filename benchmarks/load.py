"""The load of every benchmark over HTTP: so many clients, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx2

__all__ = ["Answered", "Ask", "ask_by", "http_client"]

Ask = Callable[[], Awaitable[object]]
"""One request, until its answer is there. Raises when the answer is no good."""


@dataclass(frozen=True)
class Answered:
    seconds: list[float]
    """Of each request."""
    wall: float
    """Seconds that all took."""

    @property
    def per_second(self) -> float:
        return len(self.seconds) / self.wall


def http_client() -> httpx2.AsyncClient:
    # While one contender has its turn, the others' servers close their idle connections: forget them sooner than that.
    return httpx2.AsyncClient(timeout=30, limits=httpx2.Limits(keepalive_expiry=1.0), trust_env=False)


async def ask_by(clients: int, ask: Ask, requests: int) -> Answered:
    seconds: list[float] = []
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            began = time.perf_counter()
            await ask()
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Answered(seconds, time.perf_counter() - began)
