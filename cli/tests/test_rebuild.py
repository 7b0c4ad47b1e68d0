"""`savo rebuild`, on the embedded broker and the tables of an empty folder."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import Result

from cli.tests.conftest import Savo
from savo_contracts.envelope import ImageRef
from savo_contracts.samples import SampleStored, Split
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings

SHA = "a" * 64


@pytest.fixture
async def one_sample(embedded_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample on the topic that the trainer's tables lack."""
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SAVO_KAFKA_BOOTSTRAP_SERVERS", embedded_broker.bootstrap_servers)
    monkeypatch.setenv("SAVO_EMBEDDED_BROKER", "true")
    image = ImageRef(key=f"samples/images/{SHA}.jpg", sha256=SHA, bytes=10, width=4, height=4)
    stored = SampleStored(
        sha256=SHA,
        scan_id="s1",
        subject="u1",
        image=image,
        split=Split.TRAIN,
        labels={"egg": 1},
        edited=False,
        stored_at=datetime.now(UTC),
    )
    publisher = Publisher(RuntimeSettings(), "collector")
    await publisher.publish(stored)
    await publisher.stop()


def run(savo: Savo, *arguments: object) -> Result:
    """In a thread, because the command starts its own event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: savo("rebuild", *arguments)).result()


@pytest.mark.usefixtures("one_sample")
async def test_a_difference_is_shown_and_exits_with_1_until_it_is_applied(savo: Savo, tmp_path: Path) -> None:
    found = run(savo, "trainer")
    assert found.exit_code == 1, found.output
    assert f"samples {SHA} is not in the live table" in found.output
    assert "replace them with `savo rebuild trainer --apply`" in found.output
    assert "runs: state and figures of runs in progress" in found.output, "what is not rebuilt is listed"
    applied = json.loads(run(savo, "trainer", "--apply", "--json").stdout)
    assert (applied["applied"], applied["equal"], applied["records"]) == (True, False, 1)
    again = run(savo, "trainer")
    assert again.exit_code == 0, again.output
    assert "trainer's tables match its topics; nothing to do" in again.output
    assert not list((tmp_path / "data" / "db").glob("*_rebuilt*"))


@pytest.mark.usefixtures("one_sample")
async def test_the_rebuilt_tables_can_be_kept_for_inspection(savo: Savo, tmp_path: Path) -> None:
    report = json.loads(run(savo, "trainer", "--keep", "--json").stdout)
    assert report["kept_at"] == str(tmp_path / "data" / "db" / "trainer_rebuilt.sqlite3")
    assert Path(report["kept_at"]).exists()


def test_an_unknown_service_is_refused_with_the_list_of_services(savo: Savo) -> None:
    refused = run(savo, "unknown")
    assert refused.exit_code == 2
    assert "there are collector, gateway, reasoning, rollout, trainer, vision" in refused.output
