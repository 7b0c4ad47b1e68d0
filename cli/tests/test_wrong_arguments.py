"""Mistyped options and names: each ends with an error message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.tests.conftest import Savo
from cli.tests.test_topic_commands import DEAD_LETTERS, failed, publish, publish_raw
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker

TAIL = ["topics", "tail", "scans.failed", "--from", "start", "--to", "end"]


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with EmbeddedBroker() as broker:
        monkeypatch.setenv("SAVO_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        monkeypatch.setenv("SAVO_EMBEDDED_BROKER", "true")
        yield broker.bootstrap_servers


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([*TAIL, "--where", "nofield=3"], "no field 'nofield'; there are assigned_arm, code, cost_usd"),
        (
            ["replay", "--topic", "scans.completed", "--where", "items.lable=egg"],
            "no field 'lable' of items; there are",
        ),
        (
            [*TAIL, "--where", "cost_usd>abc"],
            "cost_usd holds numbers: 'abc' is not a number; write for example cost_usd>3",
        ),
        (["topics", "tail", "scans.failed", "--from", "end", "--to", "start"], "nothing lies between end and start"),
        (["topics", "tail", "scans.failed", "--from", "9", "--to", "3"], "nothing lies between 9 and 3"),
        (["replay", "--topic", "scans.failed", "--from", "2h", "--to", "3h"], "nothing lies between 2h and 3h"),
        (["topics", "tail", "--from", "99999999d", "--to", "end"], "'99999999d' ago is before all time"),
        (["topics", "tail", "--sandbox", "BAD_NAME!", "--to", "end"], "at most 20 characters"),
        (["dlq", "redrive", "--at", "foo"], "write PARTITION/OFFSET"),
        (["dlq", "redrive", "--service", "visoin"], "no service 'visoin'; there are gateway, vision"),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_exits_with_2(
    savo: Savo, address: str, arguments: list[str], reason: str
) -> None:
    result = savo(*arguments)
    assert (result.exit_code, reason in result.stderr) == (2, True), result.output
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "conditions", [["--where", "cost_usd>0.05"], ["--where", "assigned_arm=null"], ["--where", "code~exp"]]
)
def test_a_condition_on_an_existing_field_selects_records(savo: Savo, address: str, conditions: list[str]) -> None:
    publish(address, failed(1))
    assert len(savo(*TAIL, *conditions).stdout.splitlines()) == 1


def test_a_time_before_all_records_selects_every_record(savo: Savo, address: str) -> None:
    publish(address, failed(1))
    assert len(savo("topics", "tail", "scans.failed", "--from", "99999d", "--to", "end").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["topics", "tail", "--from", "start", "--to", "end"], ["dlq", "list"], ["dlq", "redrive", "--all"]]
)
def test_an_unknown_sandbox_is_refused_with_the_list_of_sandboxes(
    savo: Savo, address: str, arguments: list[str]
) -> None:
    publish(address, failed(1))
    assert savo("replay", "--topic", "scans.failed", "--sandbox", "look").exit_code == 0
    result = savo(*arguments, "--sandbox", "nosuch")
    assert (result.exit_code, "there is no sandbox nosuch; on Kafka there are: look" in result.stderr) == (1, True), (
        result.output
    )


def test_an_unused_reason_sends_nothing_back_and_lists_the_existing_reasons(savo: Savo, address: str) -> None:
    publish_raw(address, DEAD_LETTERS, b"{}", dlq_reason=b"headers")
    for options in (["--reason", "nope"], ["--at", "0/99"], ["--reason", "nope", "--dry-run"]):
        result = savo("dlq", "redrive", *options)
        assert (result.exit_code, "nothing was sent back; existing reasons: headers (1)" in result.stderr) == (
            1,
            True,
        ), result.output
    assert "no dead letter matches the selection" in savo("dlq", "list", "--reason", "nope").stdout


def test_a_long_error_is_cut_and_an_empty_one_shows_the_exception(savo: Savo, address: str) -> None:
    publish_raw(
        address, DEAD_LETTERS, b"{}", dlq_reason=b"long", dlq_error_message=b"the database did not answer " * 12
    )
    publish_raw(address, DEAD_LETTERS, b"{}", dlq_reason=b"mute", dlq_error_message=b"", dlq_error_type=b"TimeoutError")
    listed = savo("dlq", "list").stdout
    assert "…" in listed
    assert "TimeoutError" in listed
    assert {"databas", "answe", "th"} & set(listed.split()) == set()


def test_a_sandbox_of_the_embedded_broker_is_deleted_once(savo: Savo, address: str, tmp_path: Path) -> None:
    publish(address, failed(1))
    assert savo("replay", "--topic", "scans.failed", "--sandbox", "look3").exit_code == 0
    assert "dropped sandbox look3" in savo("topics", "drop-sandbox", "look3", "--yes").stdout
    again = savo("topics", "drop-sandbox", "look3", "--yes")
    assert (again.exit_code, "there is nothing of sandbox look3 to delete" in again.stderr) == (1, True), again.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["topics", "tail", "no.such"], "no.such"),
        (["topics", "tail", "--from", "end", "--to", "start"], "nothing lies between end and start"),
        (["topics", "tail", "--type", "Nothing"], "no event 'Nothing'"),
        (["topics", "tail", "--where", "nofield=3"], "no field 'nofield'"),
        (["topics", "lag", "no.such"], "no.such"),
        (["replay"], "give a topic with --topic, or a model with --model"),
        (["replay", "--topic", "no.such"], "no.such"),
        (["replay", "--topic", "scans.failed", "--from", "9", "--to", "3"], "nothing lies between 9 and 3"),
        (["replay", "--topic", "scans.failed", "--sandbox", "BAD_NAME!"], "at most 20 characters"),
        (["replay", "--model", "v3", "--topic", "samples.stored"], "--model replays scans"),
        (["dlq", "list", "--service", "visoin"], "no service 'visoin'"),
        (["dlq", "list", "--sandbox", "BAD_NAME!"], "at most 20 characters"),
        (["dlq", "show", "--at", "foo"], "write PARTITION/OFFSET"),
        (["dlq", "redrive", "--topic", "no.such", "--reason", "x"], "no.such"),
        (["rebuild", "visoin"], "no service 'visoin'"),
        (["topics", "drop-sandbox", "BAD_NAME!"], "at most 20 characters"),
    ],
)
def test_wrong_arguments_are_reported_before_an_unknown_broker(savo: Savo, arguments: list[str], reason: str) -> None:
    result = savo(*arguments)
    assert (result.exit_code, reason in result.stderr, "no broker" in result.stderr) == (2, True, False), result.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["rollout", "set", "2", "--reason", "x"], "'2' is not allowed; allowed is 1 or less"),
        (["rollout", "set", "nan", "--reason", "x"], "'nan' is not allowed"),
        (["rollout", "set", "half", "--reason", "x"], "'half' is not allowed; allowed is a number"),
        (["topics", "tail", "--limit", "0"], "'0' is not allowed; allowed is 1 or more"),
        (["topics", "tail", "--limit", "2.5"], "'2.5' is not allowed; allowed is a whole number"),
        (["replay", "--topic", "scans.failed", "--into", "live"], "'live' is not one of 'sandbox', 'original'"),
    ],
)
def test_a_value_outside_its_range_is_reported_with_what_is_allowed(
    savo: Savo, arguments: list[str], reason: str
) -> None:
    result = savo(*arguments)
    assert (result.exit_code, reason in result.stderr) == (2, True), result.output
