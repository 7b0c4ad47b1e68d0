"""HTTP load: a number of clients, each of which sends its next request after the answer to the last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx2

__all__ = ["LoadResult", "Request", "http_client", "run_load"]

Request = Callable[[], Awaitable[object]]
"""Sends one request and waits for its answer. Raises when the answer is wrong."""


@dataclass(frozen=True)
class LoadResult:
    """Times of a run."""

    seconds: list[float]
    """Seconds of each request."""
    wall: float
    """Seconds of the whole run."""

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return len(self.seconds) / self.wall


def http_client() -> httpx2.AsyncClient:
    # Servers close idle connections while another contender runs. The client drops them sooner.
    return httpx2.AsyncClient(timeout=30, limits=httpx2.Limits(keepalive_expiry=1.0), trust_env=False)


async def run_load(clients: int, request: Request, requests: int) -> LoadResult:
    """Send `requests` requests with `clients` concurrent clients."""
    seconds: list[float] = []
    remaining = iter(range(requests))

    async def client() -> None:
        for _ in remaining:
            began = time.perf_counter()
            await request()
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return LoadResult(seconds, time.perf_counter() - began)
