"""What is mistyped is told, never answered by silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.tests.conftest import Savo
from cli.tests.test_replaying import LETTERS, failed, publish, publish_raw
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker

TAIL = ["topics", "tail", "scans.failed", "--from", "start", "--to", "end"]


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with EmbeddedBroker() as broker:
        monkeypatch.setenv("SAVO_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        monkeypatch.setenv("SAVO_EMBEDDED_BROKER", "true")
        yield broker.bootstrap_servers


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([*TAIL, "--where", "nofield=3"], "no field 'nofield'; there are assigned_arm, code, cost_usd"),
        (
            ["replay", "--topic", "scans.completed", "--where", "items.lable=egg"],
            "no field 'lable' of items; there are",
        ),
        ([*TAIL, "--where", "cost_usd>abc"], "cost_usd is a number, and 'abc' is none"),
        (["topics", "tail", "scans.failed", "--from", "end", "--to", "start"], "nothing lies between end and start"),
        (["topics", "tail", "scans.failed", "--from", "9", "--to", "3"], "nothing lies between 9 and 3"),
        (["replay", "--topic", "scans.failed", "--from", "2h", "--to", "3h"], "nothing lies between 2h and 3h"),
        (["topics", "tail", "--from", "99999999d", "--to", "end"], "'99999999d' ago is before all time"),
        (["topics", "tail", "--sandbox", "BAD_NAME!", "--to", "end"], "at most 20 long"),
        (["dlq", "redrive", "--at", "foo"], "write PARTITION/OFFSET"),
        (["dlq", "redrive", "--service", "visoin"], "no service 'visoin'; there are gateway, vision"),
    ],
)
def test_a_mistake_is_wrong_use_and_told_in_one_line(savo: Savo, address: str, words: list[str], why: str) -> None:
    told = savo(*words)
    assert (told.exit_code, why in told.stderr) == (2, True), told.output
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["--where", "cost_usd>0.05"], ["--where", "assigned_arm=null"], ["--where", "code~exp"]]
)
def test_a_field_that_is_one_is_looked_for(savo: Savo, address: str, words: list[str]) -> None:
    publish(address, failed(1))
    assert len(savo(*TAIL, *words).stdout.splitlines()) == 1


def test_a_time_before_all_records_takes_everything(savo: Savo, address: str) -> None:
    publish(address, failed(1))
    assert len(savo("topics", "tail", "scans.failed", "--from", "99999d", "--to", "end").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["topics", "tail", "--from", "start", "--to", "end"], ["dlq", "list"], ["dlq", "redrive", "--all"]]
)
def test_a_sandbox_that_is_not_there_is_told_with_those_that_are(savo: Savo, address: str, words: list[str]) -> None:
    publish(address, failed(1))
    assert savo("replay", "--topic", "scans.failed", "--sandbox", "look").exit_code == 0
    told = savo(*words, "--sandbox", "nosuch")
    assert (told.exit_code, "there is no sandbox nosuch; on Kafka there are: look" in told.stderr) == (1, True), (
        told.output
    )


def test_a_reason_that_no_letter_has_sends_nothing_back_and_the_reasons_there_are_are_named(
    savo: Savo, address: str
) -> None:
    publish_raw(address, LETTERS, b"{}", dlq_reason=b"headers")
    for words in (["--reason", "nope"], ["--at", "0/99"], ["--reason", "nope", "--dry-run"]):
        told = savo("dlq", "redrive", *words)
        assert (told.exit_code, "nothing went back; the reasons there are: headers (1)" in told.stderr) == (1, True), (
            told.output
        )
    assert "no dead letters of that kind" in savo("dlq", "list", "--reason", "nope").stdout


def test_what_a_letter_says_is_cut_at_a_word_and_an_empty_text_is_the_exceptions_name(savo: Savo, address: str) -> None:
    publish_raw(address, LETTERS, b"{}", dlq_reason=b"long", dlq_error_message=b"the database did not answer " * 12)
    publish_raw(address, LETTERS, b"{}", dlq_reason=b"mute", dlq_error_message=b"", dlq_error_type=b"TimeoutError")
    listed = savo("dlq", "list").stdout
    assert "…" in listed
    assert "TimeoutError" in listed
    assert {"databas", "answe", "th"} & set(listed.split()) == set()


def test_a_sandbox_of_the_embedded_broker_is_dropped_once(savo: Savo, address: str, tmp_path: Path) -> None:
    publish(address, failed(1))
    assert savo("replay", "--topic", "scans.failed", "--sandbox", "look3").exit_code == 0
    assert "dropped sandbox look3" in savo("topics", "drop-sandbox", "look3", "--yes").stdout
    again = savo("topics", "drop-sandbox", "look3", "--yes")
    assert (again.exit_code, "there is nothing of sandbox look3 to drop" in again.stderr) == (1, True), again.output
