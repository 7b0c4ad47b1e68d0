"""Record policy: the outcome of a record for each result of its handler, on the embedded broker and on Kafka."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from libs.runtime.tests.messaging.bench import NOON, TIMEOUT, Bench, eventually, recipes_requested, recipes_suggested
from savo_contracts.envelope import Envelope, derived_id
from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.topics import RECIPES_REQUESTED, RECIPES_SUGGESTED, TRAINING_THRESHOLD_REACHED
from savo_contracts.training import TrainingThresholdReached
from savo_runtime.errors import DependencyDownError, FatalError, InvalidMessageError, RetryableError
from savo_runtime.messaging.consuming.policy import PolicyLimits
from savo_runtime.messaging.consuming.readiness import UnhealthyError
from savo_runtime.messaging.consuming.subscriptions import Kinds, Subscription, bind, consumes, publishes
from savo_runtime.messaging.publishing.publisher import Publisher

DEAD_LETTERS = RECIPES_REQUESTED.dead_letters("reasoning")


class ScriptedHandler:
    """A handler whose result is selected by the record's `recipe_id`."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.down = False

    def subscription(self, concurrency: int = 1) -> Subscription:
        @consumes(RECIPES_REQUESTED)
        @publishes(RECIPES_SUGGESTED)
        async def on_requested(event: RecipesRequested) -> RecipesSuggested | TrainingThresholdReached | None:
            return self.answer(event.recipe_id)

        return bind(on_requested, concurrency=concurrency)

    def answer(self, scenario: str) -> RecipesSuggested | TrainingThresholdReached | None:
        self.calls[scenario] += 1
        if self.down:
            raise DependencyDownError("provider", "503")
        faults: dict[str, Exception] = {
            "retryable": RetryableError("again"),
            "bug": KeyError("our own"),
            "invalid": InvalidMessageError("no such ingredient", reason="no-ingredient"),
            "fatal": FatalError("no key"),
        }
        if scenario in faults:
            raise faults[scenario]
        if scenario == "flaky" and self.calls[scenario] < 3:
            raise RetryableError("again")
        if scenario == "undeclared":
            return TrainingThresholdReached(
                reason="operator", new_samples=1, total_samples=1, threshold=1, reached_at=NOON
            )
        return None if scenario == "silent" else recipes_suggested(scenario)


def envelope(scenario: str) -> Envelope[RecipesRequested]:
    return Envelope.new(recipes_requested(scenario), "test", time=NOON)


Raw = tuple[bytes | None, list[tuple[str, bytes | None]]]


def valid(scenario: str) -> Raw:
    sent = envelope(scenario)
    return sent.body(), list(sent.headers())


def without(name: str, scenario: str = "good") -> Raw:
    body, headers = valid(scenario)
    return body, [(key, value) for key, value in headers if key != name]


def with_header(name: str, value: bytes | None) -> Raw:
    body, headers = without(name)
    return body, [*headers, (name, value)]


def with_body(body: bytes | None) -> Raw:
    return body, valid("good")[1]


RECORDS: dict[str, tuple[Raw, str | None]] = {
    "good": (valid("good"), None),
    "silent": (valid("silent"), None),
    "flaky": (valid("flaky"), None),
    "without content type": (without("content-type"), None),
    "retryable for ever": (valid("retryable"), "RetryableError"),
    "a bug of ours": (valid("bug"), "KeyError"),
    "invalid": (valid("invalid"), "InvalidMessageError"),
    "an event that is not declared": (valid("undeclared"), "UndeclaredEventError"),
    "bad JSON": (with_body(b"{half"), "UnreadableRecordError"),
    "bad JSON without content type": ((b"{half", without("content-type")[1]), "UnreadableRecordError"),
    "body that is not UTF-8": (with_body(b"\xff\xfe\x00"), "UnreadableRecordError"),
    "body against the schema": (with_body(b'{"recipe_id": 7}'), "UnreadableRecordError"),
    "no body": (with_body(None), "UnreadableRecordError"),
    "a null header": (with_header("x-odd", None), "UnreadableRecordError"),
    "a header that is not UTF-8": (with_header("x-odd", b"\xff"), "UnreadableRecordError"),
    "an unknown content type": (with_header("content-type", b"application/x-protobuf"), "UnreadableRecordError"),
    "another event's type": (with_header("ce_type", b"savo.scan.requested.v1"), "UnreadableRecordError"),
    "no id": (without("ce_id"), "UnreadableRecordError"),
}


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_each_record_ends_as_specified_and_the_whole_partition_is_committed(
    bench: Bench, concurrency: int
) -> None:
    handler = ScriptedHandler()
    offsets = {name: await bench.send(RECIPES_REQUESTED.name, *raw) for name, (raw, _) in RECORDS.items()}
    await bench.consume(handler.subscription(concurrency))

    expected = {offsets[name]: error for name, (_, error) in RECORDS.items() if error}
    dead_letters = await bench.read(DEAD_LETTERS, len(expected))
    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), len(RECORDS)))

    reasons = [dict(dead_letter.headers) for dead_letter in dead_letters]
    assert {int(headers["dlq_offset"]): headers["dlq_error_type"].decode() for headers in reasons} == expected
    assert await bench.size(DEAD_LETTERS) == len(expected), "each once"
    assert await bench.size(RECIPES_SUGGESTED.name) == 3, "only for the valid records"
    calls = {name: handler.calls[name] for name in ("flaky", "retryable", "bug", "invalid")}
    assert calls == {"flaky": 3, "retryable": 3, "bug": 3, "invalid": 1}


async def test_a_dead_letter_is_the_unchanged_record_with_added_reasons(bench: Bench) -> None:
    body, headers = with_header("x-odd", None)
    offset = await bench.send(RECIPES_REQUESTED.name, body, headers, key=b"\xff\x00key")
    await bench.consume(ScriptedHandler().subscription())

    (dead_letter,) = await bench.read(DEAD_LETTERS, 1)

    assert (dead_letter.value, dead_letter.key) == (body, b"\xff\x00key")
    assert dead_letter.headers[: len(headers)] == tuple((name, value or b"") for name, value in headers)
    assert dict(dead_letter.headers[len(headers) :]) == {
        "dlq_topic": b"recipes.requested",
        "dlq_partition": b"0",
        "dlq_offset": str(offset).encode(),
        "dlq_service": b"reasoning",
        "dlq_error_type": b"UnreadableRecordError",
        "dlq_error_message": b"header x-odd is null",
        "dlq_attempts": b"0",
        "dlq_reason": b"null-header",
        "dlq_time": NOON.isoformat().encode(),
    }


async def test_a_returned_event_is_published_under_an_id_derived_from_its_input(bench: Bench) -> None:
    event_id = await bench.publish(recipes_requested("good"))
    await bench.consume(ScriptedHandler().subscription())

    (record,) = await bench.read(RECIPES_SUGGESTED.name, 1)
    found = Envelope.decode(RecipesSuggested, record.value, record.headers)

    assert found.event == recipes_suggested("good")
    assert found.id == derived_id(event_id, RecipesSuggested.type, "good")
    assert found.source == "reasoning"


async def test_a_dependency_that_is_down_pauses_the_consumer_without_dead_letters(bench: Bench) -> None:
    handler = ScriptedHandler()
    handler.down = True
    consumers = await bench.consume(handler.subscription())
    for number in range(5):
        await bench.publish(recipes_requested(number))
    topic_consumer = consumers._topic_consumers[0]

    await eventually(lambda: handler.calls["0"] >= 4)
    assert topic_consumer.policy.paused_for == "provider is down: 503"
    assert topic_consumer.subscriber is not None
    consumer = topic_consumer.subscriber.consumer
    assert consumer is not None
    assert set(consumer.paused()) == set(consumer.assignment())
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == 0
    handler.down = False

    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), 5))
    assert consumer.paused() == set()
    await consumers.check()
    assert await bench.size(DEAD_LETTERS) == 0


async def test_a_dependency_that_is_down_pauses_only_the_records_that_need_it(
    bench: Bench,
) -> None:
    """Records `oven` need the oven by their kind, `either` need it in the handler, `plain` do not need it."""
    oven_is_down, done, tried = True, list[str](), Counter[str]()

    @consumes(RECIPES_REQUESTED)
    async def on_requested(event: RecipesRequested) -> None:
        scenario = event.recipe_id.split("-")[0]
        tried[event.recipe_id] += 1
        if oven_is_down and scenario in {"oven", "either"}:
            raise DependencyDownError("oven", "cold")
        done.append(event.recipe_id)

    kinds = Kinds(lambda event: "oven" if event.recipe_id.startswith("oven") else "plain", {"oven": 2, "plain": 2})
    consumers = await bench.consume(bind(on_requested, kinds=kinds))
    scenarios = ["oven-1", "oven-2", "oven-3", "either-1", "either-2", "either-3", "plain-1", "plain-2", "plain-3"]
    for scenario in scenarios:
        await bench.publish(recipes_requested(scenario))
    (topic_consumer,) = consumers._topic_consumers
    await eventually(lambda: set(done) == {"plain-1", "plain-2", "plain-3"})
    assert topic_consumer.policy.paused_for == "oven is down: cold"
    assert not topic_consumer.policy.pauses["plain"].is_active()
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == 0
    oven_is_down = False

    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), len(scenarios)))
    assert sorted(done) == sorted(scenarios), "each once"
    assert topic_consumer.policy.paused_for is None


async def test_partitions_are_paused_when_every_kind_is_paused(bench: Bench) -> None:
    is_down = True

    @consumes(RECIPES_REQUESTED)
    async def on_requested(_: RecipesRequested) -> None:
        if is_down:
            raise DependencyDownError("database", "locked")

    consumers = await bench.consume(
        bind(on_requested, kinds=Kinds(lambda event: event.recipe_id, {"oven": 2, "plain": 2}))
    )
    await bench.publish(recipes_requested("oven"))
    await bench.publish(recipes_requested("plain"))
    (topic_consumer,) = consumers._topic_consumers
    assert topic_consumer.subscriber is not None
    consumer = topic_consumer.subscriber.consumer
    assert consumer is not None
    await eventually(lambda: set(consumer.paused()) == set(consumer.assignment()) != set())
    is_down = False

    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), 2))
    assert consumer.paused() == set()


async def test_a_dependency_sets_the_delay_of_the_next_probe(bench: Bench) -> None:
    calls: list[float] = []

    @consumes(RECIPES_REQUESTED)
    async def on_requested(_: RecipesRequested) -> None:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            raise DependencyDownError("provider", "429", retry_after=0.7)

    await bench.consume(bind(on_requested))
    await bench.publish(recipes_requested("good"))

    await eventually(lambda: len(calls) == 2)
    assert 0.7 <= calls[1] - calls[0] < 2.0


async def test_a_failed_publish_is_repeated_without_the_handler(bench: Bench) -> None:
    class RefusingPublisher(Publisher):
        refusals = 3

        async def publish(self, event: Any, *, event_id: Any = None) -> None:
            if self.refusals:
                self.refusals -= 1
                raise DependencyDownError("kafka", "not acknowledged")
            await super().publish(event, event_id=event_id)

    publisher = RefusingPublisher(bench.settings, "reasoning")
    bench.stack.push_async_callback(publisher.stop)
    handler = ScriptedHandler()
    await bench.publish(recipes_requested("good"))
    await bench.consume(handler.subscription(), publisher=publisher)

    await bench.read(RECIPES_SUGGESTED.name, 1)
    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), 1))
    assert handler.calls["good"] == 1
    assert publisher.refusals == 0


async def test_a_record_is_not_committed_before_its_dead_letter_is_published(bench: Bench) -> None:
    class RefusingSender(Publisher):
        attempts = 0

        async def send(self, record: Any) -> None:
            self.attempts += 1
            raise DependencyDownError("kafka", "not acknowledged")

    publisher = RefusingSender(bench.settings, "reasoning")
    await bench.publish(recipes_requested("invalid"))
    await bench.consume(ScriptedHandler().subscription(), publisher=publisher)

    await eventually(lambda: publisher.attempts >= 3)
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == 0


async def test_a_fatal_error_stops_the_service_and_commits_nothing(bench: Bench) -> None:
    consumers = await bench.consume(ScriptedHandler().subscription())
    await bench.publish(recipes_requested("fatal"))

    await asyncio.wait_for(consumers.fatal.wait(), TIMEOUT)

    assert isinstance(consumers.error, FatalError)
    with pytest.raises(UnhealthyError, match="no key"):
        await consumers.check()
    await consumers.stop()
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == 0


async def test_a_faulty_release_stops_at_the_cap_and_a_fixed_one_continues(bench: Bench) -> None:
    broken = True

    @consumes(TRAINING_THRESHOLD_REACHED)
    async def on_reached(_: TrainingThresholdReached) -> None:
        if broken:
            raise InvalidMessageError("all of them")

    limits = PolicyLimits(cap_consecutive=10, cap_probe=0.4)
    dead_letters = TRAINING_THRESHOLD_REACHED.dead_letters("trainer")
    reached = TrainingThresholdReached(reason="operator", new_samples=1, total_samples=1, threshold=1, reached_at=NOON)
    consumers = await bench.consume(bind(on_reached), service="trainer", limits=limits)
    for _ in range(40):
        await bench.publish(reached)

    await eventually(lambda: consumers._topic_consumers[0].policy.cap.reason is not None)
    with pytest.raises(
        UnhealthyError,
        match=r"dead-letter cap reached on training\.threshold-reached, partition 0:"
        r" the last reason was InvalidMessageError",
    ):
        await consumers.check()
    assert 10 <= await bench.size(dead_letters) <= 13, "at most one more for each probe"
    broken = False

    await eventually(lambda: _is(bench.committed("trainer", TRAINING_THRESHOLD_REACHED), 40))
    assert consumers._topic_consumers[0].policy.cap.reason is None
    assert await bench.size(dead_letters) <= 15


async def test_a_handler_gets_the_id_of_its_record(bench: Bench) -> None:
    received_ids = []

    @consumes(RECIPES_REQUESTED)
    async def on_requested(_: RecipesRequested, event_id: Any) -> None:
        received_ids.append(event_id)

    sent = await bench.publish(recipes_requested("good"), uuid4())
    await bench.consume(bind(on_requested))

    await eventually(lambda: received_ids == [sent])


async def test_a_restarted_service_continues_at_its_committed_offset(bench: Bench) -> None:
    first, second = ScriptedHandler(), ScriptedHandler()
    await bench.publish(recipes_requested("one"))
    consumers = await bench.consume(first.subscription())
    await eventually(lambda: first.calls["one"] == 1)
    await consumers.stop()

    await bench.publish(recipes_requested("two"))
    await bench.consume(second.subscription())
    await eventually(lambda: second.calls["two"] == 1)

    assert second.calls == {"two": 1}


async def _is(found: Any, wanted: int) -> bool:
    return bool(await found == wanted)
