"""Benchmark: served scans over HTTP with four clients. The peers are LitServe and BentoML.

The product checks and stores each photo, sends it through Kafka and stores the result. The peers only run the plain
export of the same network with Pillow and ONNX Runtime.

The product runs vision's default engine; a long run adds engines of reduced precision. LitServe also runs
`savo_detection` on the same engine: the remaining difference is the cost of the product's path. Peers start as in their
guides, with one worker. LitServe also runs with one worker and one thread per core, which serves more. (BentoML serves
fewer small photos that way.) All accept the same form, and no photo is sent twice.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path

from benchmarks.load import LoadResult, http_client, run_load
from benchmarks.measurement import Figure, bootstrap_ratio, long_run, rounds
from benchmarks.peer_servers import bento_ml, lit_serve, peers_python
from benchmarks.photo_to_boxes import confident_model, photos, reduced_precision_detectors
from benchmarks.product_process import Post, best_engine, broker, custom_model_settings, distinct_forms, product
from savo_detection.detector import plain_export_path
from savo_detection.engines.backends import ONNX_RUNTIME
from savo_detection.engines.cpus import usable_cpus

ROUNDS = rounds(5)
CLIENTS = 4
REQUESTS = {"512 px": 32, "12 MP": 12}
"""Requests in a round."""
WARM_UP = 4
"""Rounds that are not counted. Kafka, compiled as it runs, uses a third less CPU after a few hundred requests."""
FIRST_PORT = 18451

OURS = "ours"


def figures() -> Iterator[Figure]:
    for engine in _engines():
        with _contenders(engine) as (posts, broker_description):
            for size, photo in photos().items():
                results = asyncio.run(measure(posts, photo, REQUESTS[size]))
                ours, note = results.pop(OURS), f"{CLIENTS} clients; {broker_description}"
                for peer_name, peer in results.items():
                    yield from _figures_of(f"served scans, {size}, {engine}", ours, peer_name, peer, note)


def _engines() -> Sequence[str]:
    """Vision's default engine; in a long run also ONNX Runtime and engines of reduced precision."""
    return (
        list(dict.fromkeys((best_engine(), ONNX_RUNTIME, *reduced_precision_detectors(confident_model()))))
        if long_run()
        else [best_engine()]
    )


def _figures_of(
    name: str, ours: list[LoadResult], peer_name: str, peer: list[LoadResult], note: str
) -> Iterator[Figure]:
    yield bootstrap_ratio(name, "per s", ours, peer_name, peer, rate, higher_is_better=True, note=note)
    yield bootstrap_ratio(f"{name}, p95", "ms", ours, peer_name, peer, p95, higher_is_better=False, note=note)


def rate(results: Sequence[LoadResult]) -> float:
    """Requests per second."""
    return sum(len(result.seconds) for result in results) / sum(result.wall for result in results)


def p95(results: Sequence[LoadResult]) -> float:
    """Milliseconds, over all requests."""
    seconds = sorted(request for result in results for request in result.seconds)
    return 1000 * seconds[ceil(0.95 * len(seconds)) - 1]


async def measure(posts: Mapping[str, Post], photo: bytes, requests: int) -> dict[str, list[LoadResult]]:
    """Results of each contender. The order of contenders rotates with each round; the first rounds are a warm-up."""
    names, forms = list(posts), distinct_forms(photo)
    found: dict[str, list[LoadResult]] = {name: [] for name in names}
    async with http_client() as client:
        for turn in range(-WARM_UP, ROUNDS):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                answered = await run_load(CLIENTS, lambda name=name: posts[name](client, next(forms)), requests)  # type: ignore[misc]
                if turn >= 0:
                    found[name].append(answered)
    return found


@contextmanager
def _contenders(engine: str) -> Iterator[tuple[dict[str, Post], str]]:
    """All contenders, ready, and a description of the product's broker."""
    model, python, ports = str(confident_model().resolve()), peers_python(), itertools.count(FIRST_PORT)
    plain = str(plain_export_path(Path(model)))
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True))
        )
        running_broker = stack.enter_context(broker())
        ours = product(
            folder / "savo",
            next(ports),
            running_broker,
            {**custom_model_settings(model), "SAVO_DETECTION_ENGINE": engine},
        )
        posts: dict[str, Post] = {OURS: stack.enter_context(ours).scan}
        for name, detector, file in (("LitServe", "plain", plain), ("LitServe + savo_detection", engine, model)):
            for workers, suffix in ((1, ""), (usable_cpus(), ", one worker per core")):
                posts[name + suffix] = stack.enter_context(
                    lit_serve(python, next(ports), detector, file, workers, folder / f"{name}{suffix}.log")
                )
        posts["BentoML"] = stack.enter_context(bento_ml(python, next(ports), plain, folder / "bentoml.log"))
        yield posts, running_broker.description
