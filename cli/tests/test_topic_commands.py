"""`savo topics tail`, `replay`, `dlq` and `drop-sandbox` on the embedded broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from cli.tests.conftest import Savo
from cli.tests.small_gateway import SmallGateway
from savo_contracts.envelope import Envelope
from savo_contracts.scans import ScanErased, ScanFailed
from savo_contracts.topics import SCANS_FAILED
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.messaging.publishing.publisher import record_of

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DEAD_LETTERS = SCANS_FAILED.dead_letters("rollout")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with EmbeddedBroker() as broker:
        monkeypatch.setenv("SAVO_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        monkeypatch.setenv("SAVO_EMBEDDED_BROKER", "true")
        yield broker.bootstrap_servers


def failed(number: int, subject: str = "anna") -> ScanFailed:
    return ScanFailed(
        scan_id=f"scan-{number}",
        subject=subject,
        code="expired",
        message="too late",
        cost_usd=number / 10,
        requested_at=NOON,
        failed_at=NOON,
    )


def produce(broker: str, send: Callable[[AIOKafkaProducer], Awaitable[None]]) -> None:
    async def run() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker)
        await producer.start()
        try:
            await send(producer)
        finally:
            await producer.stop()

    asyncio.run(run())


def publish(broker: str, *events: ScanFailed | ScanErased) -> None:
    async def send(producer: AIOKafkaProducer) -> None:
        for event in events:
            record = record_of(Envelope.new(event, "test", time=NOON))
            await producer.send_and_wait(record.topic, record.value, key=record.key, headers=record.headers)

    produce(broker, send)


def publish_raw(broker: str, topic: str, value: bytes, **headers: bytes) -> None:
    async def send(producer: AIOKafkaProducer) -> None:
        await producer.send_and_wait(topic, value, key=b"scan-x", headers=list(headers.items()), partition=0)

    produce(broker, send)


def tail_json(savo: Savo, *options: object) -> list[dict[str, Any]]:
    result = savo("topics", "tail", "scans.failed", "--from", "start", "--to", "end", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def scans(lines: list[dict[str, Any]]) -> set[str]:
    return {line["key"] for line in lines}


def test_tail_shows_decoded_records_by_scan_subject_type_or_field(savo: Savo, broker: str) -> None:
    publish(broker, failed(1), failed(2, subject="ben"), failed(3))
    everything = tail_json(savo)
    assert scans(everything) == {"scan-1", "scan-2", "scan-3"}
    assert everything[0]["event"]["code"] == "expired"
    assert {"topic", "partition", "offset", "key", "id", "time", "event"} == set(everything[0])
    assert scans(tail_json(savo, "--scan-id", "scan-2")) == {"scan-2"}
    assert scans(tail_json(savo, "--subject", "anna")) == {"scan-1", "scan-3"}
    assert scans(tail_json(savo, "--where", "cost_usd>=0.2", "--where", "subject!=ben")) == {"scan-3"}
    assert scans(tail_json(savo, "--type", "ScanFailed")) == {"scan-1", "scan-2", "scan-3"}
    assert tail_json(savo, "--type", "savo.scan.completed.*") == []
    assert len(tail_json(savo, "--limit", 2)) == 2
    line = savo("topics", "tail", "--from-start", "--limit", 1).stdout
    assert "scans.failed" in line
    assert '"code":"expired"' in line


def test_a_record_that_is_no_event_is_shown_as_bytes_with_the_reason(savo: Savo, broker: str) -> None:
    publish_raw(broker, "scans.failed", b"\xff\x00", ce_type=b"savo.scan.failed.v1")
    (line,) = tail_json(savo)
    assert line["error"].startswith("headers: ")
    assert line["base64"] == "/wA="
    assert "\\xff" in savo("topics", "tail", "scans.failed", "--from", "start", "--to", "end").stdout


def test_an_invalid_event_is_shown_unchanged_and_check_adds_the_error(savo: Savo, broker: str) -> None:
    publish_raw(broker, "scans.failed", b'{"scan_id": 7}', ce_type=b"savo.scan.failed.v1")
    tail = ("topics", "tail", "scans.failed", "--from", "start", "--to", "end")
    assert '{"scan_id": 7}' in savo(*tail).stdout
    checked = savo(*tail, "--check").stdout
    assert "scan_id" in checked
    assert "headers: " in checked or "schema: " in checked


def test_the_events_of_a_user_are_found_by_the_subject_from_the_gateway(
    savo: Savo, broker: str, gateway: SmallGateway
) -> None:
    publish(broker, failed(1), failed(2, subject="ben"))
    gateway.answers_with("GET", "/admin/subject", {"subject": "ben"})
    assert scans(tail_json(savo, "--user", "benjamin")) == {"scan-2"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["topics", "tail", "--from", "yesterday"], "no position in a topic"),
        (["topics", "tail", "--where", "subject"], "no condition"),
        (["topics", "tail", "--type", "Nothing"], "no event 'Nothing'"),
        (["replay", "--topic", "rollout.changed", "--into", "original"], "savo rollout set"),
        (["replay", "--topic", "scans"], "no topic 'scans'"),
        (["replay", "--topic", "scans.failed", "--sandbox", "A b"], "at most 20"),
        (["dlq", "redrive"], "select dead letters by --topic"),
        (["dlq", "list", "--topic", "scans"], "no topic 'scans'"),
    ],
)
def test_an_invalid_command_line_is_refused_with_the_next_step(
    savo: Savo, broker: str, arguments: list[str], reason: str
) -> None:
    result = savo(*arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_a_replay_fills_a_sandbox_and_prints_the_commands_to_process_it(savo: Savo, broker: str) -> None:
    publish(broker, failed(1), failed(2), failed(3), ScanErased(scan_id="scan-3", subject="anna", erased_at=NOON))
    dry = json.loads(savo("replay", "--topic", "scans.failed", "--dry-run", "--json").stdout)
    assert (dry["chosen"], dry["left_out"], dry["replay"]) == (2, {"erased": 1}, None)
    page = savo("replay", "--topic", "scans.failed", "--sandbox", "friday").stdout
    assert "2 of 3 records of scans.failed copied into sandbox friday" in page
    assert "SAVO_SANDBOX=friday SAVO_DATA_DIR=/" in page
    assert (
        f"SAVO_KAFKA_BOOTSTRAP_SERVERS={broker} SAVO_EMBEDDED_BROKER=true {sys.executable} -m savo_runtime vision"
        in page
    )
    copies = tail_json(savo, "--sandbox", "friday")
    assert scans(copies) == {"scan-1", "scan-2"}
    assert all(copy["replay"].startswith("r-") for copy in copies)


def test_a_killed_replay_continues_where_it_stopped(savo: Savo, broker: str, tmp_path: Path) -> None:
    publish(broker, *map(failed, range(60)))
    command = [sys.executable, "-m", "savo_cli", "replay", "--topic", "scans.failed", "--sandbox", "killed", "--json"]
    environment = {**os.environ, "SAVO_DATA_DIR": str(tmp_path / "data")}
    process = subprocess.Popen([*command, "--rate", "25"], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not 5 <= _sent(tmp_path / "data") < 55:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ended = json.loads(
        subprocess.run(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, check=True, timeout=120).stdout
    )
    assert (ended["resumed"], ended["sent"]) == (True, 60)
    copies = tail_json(savo, "--sandbox", "killed")
    assert (len(copies), len(scans(copies))) == (60, 60)


def test_dead_letters_are_counted_shown_and_sent_back(savo: Savo, broker: str) -> None:
    good = failed(1)
    envelope = Envelope.new(good, "test", event_id=uuid4(), time=NOON)
    reasons = {
        "dlq_topic": b"scans.failed",
        "dlq_partition": b"0",
        "dlq_offset": b"7",
        "dlq_reason": b"database-down",
        "dlq_error_message": b"it was away",
    }
    publish_raw(broker, DEAD_LETTERS, envelope.body(), **{**dict(envelope.headers()), **reasons})
    publish_raw(broker, DEAD_LETTERS, b"\xff\x00garbage", dlq_reason=b"headers", dlq_redrives=b"3")

    rows = json.loads(savo("dlq", "list", "--json").stdout)
    assert [(row["topic"], row["service"], row["reason"], row["letters"]) for row in rows] == [
        ("scans.failed", "rollout", "database-down", 1),
        ("scans.failed", "rollout", "headers", 1),
    ]
    assert "it was away" in savo("dlq", "list", "--topic", "scans.failed").stdout
    shown = savo("dlq", "show", "--topic", DEAD_LETTERS).stdout
    assert '"code": "expired"' in shown
    assert "ff 00 67 61 72" in shown

    dry = json.loads(savo("dlq", "redrive", "--reason", "database-down", "--dry-run", "--json").stdout)
    assert (dry["redriven"], dry["into"]) == (1, {"scans.failed": 1})
    assert tail_json(savo) == []
    done = savo("dlq", "redrive", "--all", "--why", "the database is back")
    assert done.exit_code == 1, "one was refused"
    assert "1 dead letters sent back to scans.failed" in done.stdout
    assert "failed again 3 times" in done.stdout
    assert scans(tail_json(savo)) == {"scan-x"}
    (entry,) = [
        json.loads(line)
        for line in savo(
            "topics", "tail", "audit.recorded", "--from", "start", "--to", "end", "--json"
        ).stdout.splitlines()
    ]
    assert (entry["event"]["action"], entry["event"]["reason"]) == ("dead-letters.redriven", "the database is back")
    assert json.loads(savo("dlq", "list", "--reason", "database-down", "--json").stdout)[0]["redriven"] == 1


def _sent(data: Path) -> int:
    for path in (data / "replays").glob("*.json"):
        return int(json.loads(path.read_text())["sent"])
    return 0


def test_a_sandbox_is_deleted_after_a_question_and_live_data_stays(broker: str, savo: Savo, tmp_path: Path) -> None:
    publish(broker, failed(1))
    assert savo("replay", "--topic", "scans.failed").exit_code == 0
    objects = tmp_path / ".savo" / "objects" / "sandbox" / "replay" / "samples"
    objects.mkdir(parents=True)
    (objects / "classes.json").write_text("{}")
    unanswered = savo("topics", "drop-sandbox", "replay")
    assert (unanswered.exit_code, "Delete all of it?" in unanswered.stdout) == (1, True)
    assert (objects / "classes.json").exists()
    done = savo("topics", "drop-sandbox", "replay", "--yes")
    assert done.exit_code == 0, done.output
    assert "dropped sandbox replay: 1 objects, 1 progress files" in done.stdout
    assert "until `savo up` ends" in done.stdout
    assert not (objects / "classes.json").exists()
    assert len(tail_json(savo)) == 1, "live records stay"


def test_a_name_that_is_no_sandbox_is_refused(broker: str, savo: Savo) -> None:
    publish(broker, failed(1))
    assert savo("replay", "--topic", "scans.failed", "--sandbox", "mine").exit_code == 0
    for name in ("scans.failed", "sandbox.mine", "../live", "*"):
        refused = savo("topics", "drop-sandbox", name, "--yes")
        assert (refused.exit_code, "there are: mine" in refused.stderr) == (2, True), refused.output
    unknown = savo("topics", "drop-sandbox", "yours", "--yes")
    assert (unknown.exit_code, "there is no sandbox yours; on Kafka there are: mine" in unknown.stderr) == (1, True)
    assert savo("topics", "drop-sandbox", "mine", "--json").exit_code == 2
    dropped = json.loads(savo("topics", "drop-sandbox", "mine", "--json", "--yes").stdout)
    assert (dropped["name"], dropped["embedded"], dropped["replays"]) == ("mine", True, 1)
    assert dropped["topics"] == ["sandbox.mine.scans.failed"]
