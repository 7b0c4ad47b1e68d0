"""Benchmark: round trip of a scan through HTTP and Kafka without inference.

The gateway checks and stores the photo, a vision service without a model answers at once, and the gateway stores and
returns the result. The peer makes the same trip without checks and storage, so the ratio is the cost of those.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import httpx2

from benchmarks.load import LoadResult, Request, http_client, run_load
from benchmarks.measurement import Figure, interval, rounds
from benchmarks.photo_to_boxes import photos
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker

ROUNDS = rounds(10)
SEQUENTIAL_SCANS = 20
CONCURRENCY = 8
BURST = 40
READY_SECONDS = 60.0
Meter = Callable[[], float]
"""Returns the CPU seconds used so far."""
OURS_PORT, BARE_PORT = 18431, 18432


def figures() -> Iterator[Figure]:
    photo = photos()["512 px"]
    with _contenders() as urls:
        ours, bare = asyncio.run(measure(urls, photo))
    for name in ("p50", "p99"):
        ours_values = [float(getattr(result, name)) for result in ours]
        peer_values = [float(getattr(result, name)) for result in bare]
        ratios = [b / a for a, b in zip(ours_values, peer_values, strict=True)]
        yield Figure(
            f"scan round trip, {name}",
            "ms",
            *medians(ours_values, peer_values, 1000),
            *ratio_of(ratios),
            "one at a time, 512-px photo",
        )
    ours_values, peer_values = [result.per_second for result in ours], [result.per_second for result in bare]
    ratios = [a / b for a, b in zip(ours_values, peer_values, strict=True)]
    yield Figure(
        "scan round trips",
        "per s",
        *medians(ours_values, peer_values, 1),
        *ratio_of(ratios),
        f"{CONCURRENCY} at a time",
    )


class Round:
    """One round of one contender. Times are in seconds."""

    def __init__(self, sequential: LoadResult, burst: LoadResult, cpu_seconds: float) -> None:
        self.p50 = statistics.median(sequential.seconds)
        self.p99 = sorted(sequential.seconds)[max(0, round(0.99 * len(sequential.seconds)) - 1)]
        self.per_second = burst.per_second
        self.cpu = cpu_seconds / (len(sequential.seconds) + len(burst.seconds))


async def measure(
    urls: tuple[str, str], photo: bytes, meters: tuple[Meter, Meter] = (float, float)
) -> tuple[list[Round], list[Round]]:
    found: tuple[list[Round], list[Round]] = ([], [])
    async with http_client() as client:
        for turn in range(-1, ROUNDS):
            for contender in (0, 1) if turn % 2 else (1, 0):
                scan = partial(_scan, client, urls[contender], photo)
                result = await _round(scan, meters[contender])
                if turn >= 0:
                    found[contender].append(result)
    return found


async def _round(scan: Request, meter: Meter) -> Round:
    cpu_before = meter()
    sequential, burst = await run_load(1, scan, SEQUENTIAL_SCANS), await run_load(CONCURRENCY, scan, BURST)
    return Round(sequential, burst, meter() - cpu_before)


async def _scan(client: httpx2.AsyncClient, url: str, photo: bytes) -> None:
    answer = await client.post(f"{url}/v1/scans?wait=20", content=photo, headers={"content-type": "image/jpeg"})
    assert answer.status_code == httpx2.codes.OK, answer.text


@contextmanager
def _contenders() -> Iterator[tuple[str, str]]:
    """Gateway with `echo_vision`, and the peer's two processes, on one embedded broker."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True))
        broker = stack.enter_context(EmbeddedBroker()).bootstrap_servers
        ours = {
            "SAVO_DATA_DIR": folder,
            "SAVO_KAFKA_BOOTSTRAP_SERVERS": broker,
            "SAVO_EMBEDDED_BROKER": "true",
            "SAVO_RATE_LIMIT_PER_MINUTE": "0",
            "SAVO_LOG_LEVEL": "warning",
        }
        stack.enter_context(process(["-m", "benchmarks.echo_vision"], ours))
        stack.enter_context(process(["-m", "savo_runtime", "gateway"], ours | {"PORT": str(OURS_PORT)}))
        stack.enter_context(process(["-m", "benchmarks.bare_round_trip", "echo", broker], {}))
        stack.enter_context(process(["-m", "benchmarks.bare_round_trip", "http", str(BARE_PORT), broker], {}))
        urls = f"http://127.0.0.1:{OURS_PORT}", f"http://127.0.0.1:{BARE_PORT}"
        for url, path in zip(urls, ("/readyz", "/docs"), strict=True):
            wait_for(url + path)
        wait_for_file(Path(folder) / "run" / "vision.json")
        yield urls


@contextmanager
def process(
    arguments: list[str], settings: dict[str, str], *, log: Path | None = None, python: str = sys.executable
) -> Iterator[int]:
    """Start a process and yield its pid. At the end it is stopped with all processes that it started."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_", "OTEL_"))}
    with log.open("wb") if log else nullcontext() as output:
        started = subprocess.Popen(
            [python, *arguments], env=clean | settings, stdout=subprocess.DEVNULL, stderr=output, start_new_session=True
        )
        try:
            yield started.pid
        finally:
            started.terminate()
            started.wait(30)
            with suppress(ProcessLookupError):  # ends workers that outlive their server
                os.killpg(started.pid, signal.SIGKILL)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx2.get(url, trust_env=False).status_code == httpx2.codes.OK:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} was not ready within {READY_SECONDS:g} s")


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} was not written within {READY_SECONDS:g} s")
        time.sleep(0.2)


def medians(
    ours: list[float], peer: list[float], scale: float, *, peer_name: str = "bare FastAPI + aiokafka"
) -> tuple[float, str, float]:
    return statistics.median(ours) * scale, peer_name, statistics.median(peer) * scale


def ratio_of(ratios: list[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), *interval(ratios)
