"""A scan's round trip through HTTP and Kafka without inference: upload → accepted, checked, stored → Kafka → answered → Kafka → in the database → back.

The peer does the same trip without any of the product's duties, so the ratio is what those duties cost.
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
from pathlib import Path

import httpx2

from benchmarks.load import Answered, Ask, ask_by, http_client
from benchmarks.measuring import Figure, interval, rounds
from benchmarks.photo_to_boxes import photos
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker

ROUNDS = rounds(10)
ONE_BY_ONE = 20
AT_ONCE = 8
BURST = 40
READY_WITHIN = 60.0
Meter = Callable[[], float]
"""CPU seconds spent so far."""
OURS_PORT, BARE_PORT = 18431, 18432


def figures() -> Iterator[Figure]:
    photo = photos()["512 px"]
    with _contenders() as urls:
        ours, bare = asyncio.run(measure(urls, photo))
    for name in ("p50", "p99"):
        mine, theirs = [float(getattr(each, name)) for each in ours], [float(getattr(each, name)) for each in bare]
        ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
        yield Figure(
            f"scan round trip, {name}",
            "ms",
            *medians(mine, theirs, 1000),
            *ratio_of(ratios),
            "one at a time, 512-px photo",
        )
    mine, theirs = [each.per_second for each in ours], [each.per_second for each in bare]
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    yield Figure("scan round trips", "per s", *medians(mine, theirs, 1), *ratio_of(ratios), f"{AT_ONCE} at a time")


class Round:
    """One turn of one contender."""

    def __init__(self, quiet: Answered, burst: Answered, cpu_seconds: float) -> None:
        self.p50 = statistics.median(quiet.seconds)
        self.p99 = sorted(quiet.seconds)[max(0, round(0.99 * len(quiet.seconds)) - 1)]
        self.per_second = burst.per_second
        self.cpu = cpu_seconds / (len(quiet.seconds) + len(burst.seconds))


async def measure(
    urls: tuple[str, str], photo: bytes, meters: tuple[Meter, Meter] = (float, float)
) -> tuple[list[Round], list[Round]]:
    found: tuple[list[Round], list[Round]] = ([], [])
    async with http_client() as client:
        for turn in range(-1, ROUNDS):
            for place in (0, 1) if turn % 2 else (1, 0):
                one = await _round(lambda place=place: _scan(client, urls[place], photo), meters[place])  # type: ignore[misc]
                if turn >= 0:
                    found[place].append(one)
    return found


async def _round(scan: Ask, meter: Meter) -> Round:
    spent = meter()
    quiet, burst = await ask_by(1, scan, ONE_BY_ONE), await ask_by(AT_ONCE, scan, BURST)
    return Round(quiet, burst, meter() - spent)


async def _scan(client: httpx2.AsyncClient, url: str, photo: bytes) -> None:
    answer = await client.post(f"{url}/v1/scans?wait=20", content=photo, headers={"content-type": "image/jpeg"})
    assert answer.status_code == httpx2.codes.OK, answer.text


@contextmanager
def _contenders() -> Iterator[tuple[str, str]]:
    """Both on one embedded broker: ours as gateway and echo, the peer as two bare processes."""
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
    """Its pid. What it started ends with it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_", "OTEL_"))}
    with log.open("wb") if log else nullcontext() as said:
        started = subprocess.Popen(
            [python, *arguments], env=clean | settings, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        try:
            yield started.pid
        finally:
            started.terminate()
            started.wait(30)
            with suppress(ProcessLookupError):  # a server's workers may outlive it
                os.killpg(started.pid, signal.SIGKILL)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        try:
            if httpx2.get(url, trust_env=False).status_code == httpx2.codes.OK:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} was not ready in {READY_WITHIN:g} s")


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} did not come in {READY_WITHIN:g} s")
        time.sleep(0.2)


def medians(
    ours: list[float], peer: list[float], scale: float, *, peer_name: str = "bare FastAPI + aiokafka"
) -> tuple[float, str, float]:
    return statistics.median(ours) * scale, peer_name, statistics.median(peer) * scale


def ratio_of(ratios: list[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), *interval(ratios)
