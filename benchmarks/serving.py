"""Served scans: a photo over HTTP in, boxes out, four clients at a time. Ours with all its duties (checked, stored, through Kafka, kept in the
database) beside LitServe and BentoML, which answer from the plain export of the same network with Pillow and ONNX
Runtime and do nothing else.

Ours runs on the engine that vision takes by itself, and then on those that round, where they run. LitServe runs
`savo_detection` on the same engine too: what is left is what our path costs. Peers start as their guides start them, with
one worker; LitServe also with a worker a core and a thread each, which serves more (BentoML so serves less of the small
photos). All take the same form, and no photo is sent twice.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path

from benchmarks.load import Answered, ask_by, http_client
from benchmarks.measuring import Figure, long_run, of_rounds, rounds
from benchmarks.peer_servers import bento_ml, lit_serve, peers_python
from benchmarks.photo_to_boxes import by_name_alone, photos, sure_model
from benchmarks.product import Post, answering_with, best_engine, broker, one_of_many, product
from savo_detection.engines.backends import ONNX_RUNTIME
from savo_detection.engines.cpus import usable_cpus
from savo_detection.model import plain_export_path

ROUNDS = rounds(5)
CLIENTS = 4
REQUESTS = {"512 px": 32, "12 MP": 12}
"""In a turn."""
WARM_UP = 4
"""Turns that nobody counts: what is compiled as it runs, Kafka among it, takes a third less of the cores after a few hundred requests."""
FIRST_PORT = 18451

OURS = "ours"


def figures() -> Iterator[Figure]:
    for engine in _engines():
        with _contenders(engine) as (posts, words):
            for size, photo in photos().items():
                turns = asyncio.run(measure(posts, photo, REQUESTS[size]))
                ours = turns.pop(OURS)
                for peer, theirs in turns.items():
                    yield from _beside(
                        f"served scans, {size}, {engine}", ours, peer, theirs, f"{CLIENTS} clients; {words}"
                    )


def _engines() -> Sequence[str]:
    """The one that `auto` takes; in a long run also those that run here by name."""
    return (
        list(dict.fromkeys((best_engine(), ONNX_RUNTIME, *by_name_alone(sure_model()))))
        if long_run()
        else [best_engine()]
    )


def _beside(name: str, ours: list[Answered], peer_name: str, peer: list[Answered], note: str) -> Iterator[Figure]:
    yield of_rounds(name, "per s", ours, peer_name, peer, rate, higher_is_better=True, note=note)
    yield of_rounds(f"{name}, p95", "ms", ours, peer_name, peer, p95, higher_is_better=False, note=note)


def rate(turns: Sequence[Answered]) -> float:
    return sum(len(turn.seconds) for turn in turns) / sum(turn.wall for turn in turns)


def p95(turns: Sequence[Answered]) -> float:
    """Milliseconds, of all requests together."""
    seconds = sorted(one for turn in turns for one in turn.seconds)
    return 1000 * seconds[ceil(0.95 * len(seconds)) - 1]


async def measure(posts: Mapping[str, Post], photo: bytes, requests: int) -> dict[str, list[Answered]]:
    """Each contender's turns; the order within a round is turned every time, and the first rounds are for warming up."""
    names, forms = list(posts), one_of_many(photo)
    found: dict[str, list[Answered]] = {name: [] for name in names}
    async with http_client() as client:
        for turn in range(-WARM_UP, ROUNDS):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                answered = await ask_by(CLIENTS, lambda name=name: posts[name](client, next(forms)), requests)  # type: ignore[misc]
                if turn >= 0:
                    found[name].append(answered)
    return found


@contextmanager
def _contenders(engine: str) -> Iterator[tuple[dict[str, Post], str]]:
    """All of them ready, and in words what broker ours is on."""
    model, python, ports = str(sure_model().resolve()), peers_python(), itertools.count(FIRST_PORT)
    plain = str(plain_export_path(Path(model)))
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True))
        )
        brokered = stack.enter_context(broker())
        ours = product(
            folder / "savo", next(ports), brokered, {**answering_with(model), "SAVO_DETECTION_ENGINE": engine}
        )
        posts: dict[str, Post] = {OURS: stack.enter_context(ours).scan}
        for name, detector, file in (("LitServe", "plain", plain), ("LitServe + savo_detection", engine, model)):
            for workers, how in ((1, ""), (usable_cpus(), ", a worker a core")):
                posts[name + how] = stack.enter_context(
                    lit_serve(python, next(ports), detector, file, workers, folder / f"{name}{how}.log")
                )
        posts["BentoML"] = stack.enter_context(bento_ml(python, next(ports), plain, folder / "bentoml.log"))
        yield posts, brokered.words
