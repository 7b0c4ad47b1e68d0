"""What becomes of a record, by what its handler says: on the embedded broker and on Kafka."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from libs.runtime.tests.messaging.bench import NOON, PATIENCE, Bench, asked, eventually, suggested
from savo_contracts.envelope import Envelope, derived_id
from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.topics import RECIPES_REQUESTED, RECIPES_SUGGESTED, TRAINING_THRESHOLD_REACHED
from savo_contracts.training import TrainingThresholdReached
from savo_runtime.errors import DependencyDownError, FatalError, InvalidMessageError, RetryableError
from savo_runtime.messaging.consuming.policy import PolicyLimits
from savo_runtime.messaging.consuming.progress import UnhealthyError
from savo_runtime.messaging.consuming.subscriptions import Kinds, Subscription, bind, consumes, publishes
from savo_runtime.messaging.publishing.publisher import Publisher

LETTERS = RECIPES_REQUESTED.dead_letters("reasoning")


class Kitchen:
    """A handler that does what a record's `recipe_id` asks of it."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.down = False

    def subscription(self, concurrency: int = 1) -> Subscription:
        @consumes(RECIPES_REQUESTED)
        @publishes(RECIPES_SUGGESTED)
        async def on_asked(event: RecipesRequested) -> RecipesSuggested | TrainingThresholdReached | None:
            return self.answer(event.recipe_id)

        return bind(on_asked, concurrency=concurrency)

    def answer(self, wish: str) -> RecipesSuggested | TrainingThresholdReached | None:
        self.calls[wish] += 1
        if self.down:
            raise DependencyDownError("provider", "503")
        faults: dict[str, Exception] = {
            "retryable": RetryableError("again"),
            "bug": KeyError("our own"),
            "invalid": InvalidMessageError("no such ingredient", reason="no-ingredient"),
            "fatal": FatalError("no key"),
        }
        if wish in faults:
            raise faults[wish]
        if wish == "flaky" and self.calls[wish] < 3:
            raise RetryableError("again")
        if wish == "undeclared":
            return TrainingThresholdReached(
                reason="operator", new_samples=1, total_samples=1, threshold=1, reached_at=NOON
            )
        return None if wish == "silent" else suggested(wish)


def envelope(wish: str) -> Envelope[RecipesRequested]:
    return Envelope.new(asked(wish), "test", time=NOON)


Raw = tuple[bytes | None, list[tuple[str, bytes | None]]]


def as_is(wish: str) -> Raw:
    sent = envelope(wish)
    return sent.body(), list(sent.headers())


def without(name: str, wish: str = "good") -> Raw:
    body, headers = as_is(wish)
    return body, [(key, value) for key, value in headers if key != name]


def with_header(name: str, value: bytes | None) -> Raw:
    body, headers = without(name)
    return body, [*headers, (name, value)]


def with_body(body: bytes | None) -> Raw:
    return body, as_is("good")[1]


TABLE: dict[str, tuple[Raw, str | None]] = {
    "good": (as_is("good"), None),
    "silent": (as_is("silent"), None),
    "flaky": (as_is("flaky"), None),
    "without content type": (without("content-type"), None),
    "retryable for ever": (as_is("retryable"), "RetryableError"),
    "a bug of ours": (as_is("bug"), "KeyError"),
    "invalid": (as_is("invalid"), "InvalidMessageError"),
    "an event that is not declared": (as_is("undeclared"), "UndeclaredEventError"),
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
async def test_each_kind_of_record_ends_as_meant_and_the_whole_partition_is_committed(
    bench: Bench, concurrency: int
) -> None:
    kitchen = Kitchen()
    offsets = {name: await bench.send(RECIPES_REQUESTED.name, *raw) for name, (raw, _) in TABLE.items()}
    await bench.consume(kitchen.subscription(concurrency))

    meant = {offsets[name]: error for name, (_, error) in TABLE.items() if error}
    letters = await bench.read(LETTERS, len(meant))
    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), len(TABLE)))

    reasons = [dict(letter.headers) for letter in letters]
    assert {int(each["dlq_offset"]): each["dlq_error_type"].decode() for each in reasons} == meant
    assert await bench.size(LETTERS) == len(meant), "each once"
    assert await bench.size(RECIPES_SUGGESTED.name) == 3, "of the good ones only"
    assert (kitchen.calls["flaky"], kitchen.calls["retryable"], kitchen.calls["bug"], kitchen.calls["invalid"]) == (
        3,
        3,
        3,
        1,
    )


async def test_a_dead_letter_is_the_record_as_it_came_with_the_reasons_beside_it(bench: Bench) -> None:
    body, headers = with_header("x-odd", None)
    offset = await bench.send(RECIPES_REQUESTED.name, body, headers, key=b"\xff\x00key")
    await bench.consume(Kitchen().subscription())

    (letter,) = await bench.read(LETTERS, 1)

    assert (letter.value, letter.key) == (body, b"\xff\x00key")
    assert letter.headers[: len(headers)] == tuple((name, value or b"") for name, value in headers)
    assert dict(letter.headers[len(headers) :]) == {
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
    event_id = await bench.publish(asked("good"))
    await bench.consume(Kitchen().subscription())

    (record,) = await bench.read(RECIPES_SUGGESTED.name, 1)
    found = Envelope.decode(RecipesSuggested, record.value, record.headers)

    assert found.event == suggested("good")
    assert found.id == derived_id(event_id, RecipesSuggested.type, "good")
    assert found.source == "reasoning"


async def test_a_dependency_that_is_down_pauses_and_nothing_becomes_a_dead_letter(bench: Bench) -> None:
    kitchen = Kitchen()
    kitchen.down = True
    consumers = await bench.consume(kitchen.subscription())
    for number in range(5):
        await bench.publish(asked(number))
    topic_consumer = consumers._topic_consumers[0]

    await eventually(lambda: kitchen.calls["0"] >= 4)
    assert topic_consumer.policy.paused_for == "provider is down: 503"
    assert topic_consumer.subscriber is not None
    consumer = topic_consumer.subscriber.consumer
    assert consumer is not None
    assert set(consumer.paused()) == set(consumer.assignment())
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == 0
    kitchen.down = False

    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), 5))
    assert consumer.paused() == set()
    await consumers.check()
    assert await bench.size(LETTERS) == 0


async def test_while_what_one_kind_needs_is_away_the_others_go_on_and_who_needs_it_too_joins_that_kind(
    bench: Bench,
) -> None:
    """`oven` needs the oven, `either` finds out at work that it does, `plain` does not."""
    oven_is_away, done, tried = True, list[str](), Counter[str]()

    @consumes(RECIPES_REQUESTED)
    async def on_asked(event: RecipesRequested) -> None:
        wish = event.recipe_id.split("-")[0]
        tried[event.recipe_id] += 1
        if oven_is_away and wish in {"oven", "either"}:
            raise DependencyDownError("oven", "cold")
        done.append(event.recipe_id)

    kinds = Kinds(lambda event: "oven" if event.recipe_id.startswith("oven") else "plain", {"oven": 2, "plain": 2})
    consumers = await bench.consume(bind(on_asked, kinds=kinds))
    wishes = ["oven-1", "oven-2", "oven-3", "either-1", "either-2", "either-3", "plain-1", "plain-2", "plain-3"]
    for wish in wishes:
        await bench.publish(asked(wish))
    (topic_consumer,) = consumers._topic_consumers
    await eventually(lambda: set(done) == {"plain-1", "plain-2", "plain-3"})
    assert topic_consumer.policy.paused_for == "oven is down: cold"
    assert not topic_consumer.policy.pauses["plain"].is_active()
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == 0
    oven_is_away = False

    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), len(wishes)))
    assert sorted(done) == sorted(wishes), "each once"
    assert topic_consumer.policy.paused_for is None


async def test_when_no_kind_gets_on_the_partitions_pause(bench: Bench) -> None:
    is_away = True

    @consumes(RECIPES_REQUESTED)
    async def on_asked(_: RecipesRequested) -> None:
        if is_away:
            raise DependencyDownError("database", "locked")

    consumers = await bench.consume(bind(on_asked, kinds=Kinds(lambda event: event.recipe_id, {"oven": 2, "plain": 2})))
    await bench.publish(asked("oven"))
    await bench.publish(asked("plain"))
    (topic_consumer,) = consumers._topic_consumers
    assert topic_consumer.subscriber is not None
    consumer = topic_consumer.subscriber.consumer
    assert consumer is not None
    await eventually(lambda: set(consumer.paused()) == set(consumer.assignment()) != set())
    is_away = False

    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), 2))
    assert consumer.paused() == set()


async def test_a_dependency_says_when_to_come_again(bench: Bench) -> None:
    calls: list[float] = []

    @consumes(RECIPES_REQUESTED)
    async def on_asked(_: RecipesRequested) -> None:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            raise DependencyDownError("provider", "429", retry_after=0.7)

    await bench.consume(bind(on_asked))
    await bench.publish(asked("good"))

    await eventually(lambda: len(calls) == 2)
    assert 0.7 <= calls[1] - calls[0] < 2.0


async def test_a_publish_that_fails_is_tried_again_and_the_handler_is_not(bench: Bench) -> None:
    class Stubborn(Publisher):
        refusals = 3

        async def publish(self, event: Any, *, event_id: Any = None) -> None:
            if self.refusals:
                self.refusals -= 1
                raise DependencyDownError("kafka", "not acknowledged")
            await super().publish(event, event_id=event_id)

    publisher = Stubborn(bench.settings, "reasoning")
    bench.stack.push_async_callback(publisher.stop)
    kitchen = Kitchen()
    await bench.publish(asked("good"))
    await bench.consume(kitchen.subscription(), publisher=publisher)

    await bench.read(RECIPES_SUGGESTED.name, 1)
    await eventually(lambda: _is(bench.committed("reasoning", RECIPES_REQUESTED), 1))
    assert kitchen.calls["good"] == 1
    assert publisher.refusals == 0


async def test_without_its_dead_letter_a_record_is_not_committed(bench: Bench) -> None:
    class WithoutDeadLetters(Publisher):
        asked = 0

        async def send(self, record: Any) -> None:
            self.asked += 1
            raise DependencyDownError("kafka", "not acknowledged")

    publisher = WithoutDeadLetters(bench.settings, "reasoning")
    await bench.publish(asked("invalid"))
    await bench.consume(Kitchen().subscription(), publisher=publisher)

    await eventually(lambda: publisher.asked >= 3)
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == 0


async def test_a_fatal_error_ends_the_service_and_commits_nothing(bench: Bench) -> None:
    consumers = await bench.consume(Kitchen().subscription())
    await bench.publish(asked("fatal"))

    await asyncio.wait_for(consumers.fatal.wait(), PATIENCE)

    assert isinstance(consumers.fault, FatalError)
    with pytest.raises(UnhealthyError, match="no key"):
        await consumers.check()
    await consumers.stop()
    assert await bench.committed("reasoning", RECIPES_REQUESTED) == 0


async def test_a_deploy_that_fails_on_everything_stops_at_the_cap_and_goes_on_when_mended(bench: Bench) -> None:
    broken = True

    @consumes(TRAINING_THRESHOLD_REACHED)
    async def on_reached(_: TrainingThresholdReached) -> None:
        if broken:
            raise InvalidMessageError("all of them")

    limits = PolicyLimits(cap_consecutive=10, cap_probe=0.4)
    letters = TRAINING_THRESHOLD_REACHED.dead_letters("trainer")
    reached = TrainingThresholdReached(reason="operator", new_samples=1, total_samples=1, threshold=1, reached_at=NOON)
    consumers = await bench.consume(bind(on_reached), service="trainer", limits=limits)
    for _ in range(40):
        await bench.publish(reached)

    await eventually(lambda: consumers._topic_consumers[0].policy.cap.reason is not None)
    with pytest.raises(
        UnhealthyError,
        match=r"dead-letter cap reached on training\.threshold-reached, partition 0: the last reason was InvalidMessageError",
    ):
        await consumers.check()
    assert 10 <= await bench.size(letters) <= 13, "one more for each probe at most"
    broken = False

    await eventually(lambda: _is(bench.committed("trainer", TRAINING_THRESHOLD_REACHED), 40))
    assert consumers._topic_consumers[0].policy.cap.reason is None
    assert await bench.size(letters) <= 15


async def test_a_handler_is_given_the_records_id(bench: Bench) -> None:
    seen = []

    @consumes(RECIPES_REQUESTED)
    async def on_asked(_: RecipesRequested, event_id: Any) -> None:
        seen.append(event_id)

    sent = await bench.publish(asked("good"), uuid4())
    await bench.consume(bind(on_asked))

    await eventually(lambda: seen == [sent])


async def test_a_service_that_starts_again_goes_on_where_it_was(bench: Bench) -> None:
    first, second = Kitchen(), Kitchen()
    await bench.publish(asked("one"))
    consumers = await bench.consume(first.subscription())
    await eventually(lambda: first.calls["one"] == 1)
    await consumers.stop()

    await bench.publish(asked("two"))
    await bench.consume(second.subscription())
    await eventually(lambda: second.calls["two"] == 1)

    assert second.calls == {"two": 1}


async def _is(found: Any, wanted: int) -> bool:
    return bool(await found == wanted)
