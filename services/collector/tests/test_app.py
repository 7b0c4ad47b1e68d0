"""The collector as it is wired: topics, tables and settings."""

from __future__ import annotations

import pytest

from savo_collector.adapters.tables import Base
from savo_collector.app import DEFINITION, build
from savo_collector.settings import CollectorSettings
from savo_contracts.topics import CONSENT_CHANGED, SCANS_CONFIRMED, SCANS_ERASED, SUBJECTS_ERASED, TOPICS
from savo_runtime.service import Runtime
from savo_runtime.settings import load_settings
from savo_runtime.testing import assert_migrations_match


async def test_the_service_reads_every_topic_that_names_it_as_a_consumer(runtime: Runtime) -> None:
    service = build(CollectorSettings(), runtime)
    assert {subscription.topic for subscription in service.subscriptions} == {
        topic for topic in TOPICS if "collector" in topic.consumers
    }
    assert {subscription.topic for subscription in service.subscriptions} == {
        SCANS_CONFIRMED,
        SCANS_ERASED,
        SUBJECTS_ERASED,
        CONSENT_CHANGED,
    }
    assert DEFINITION.name == service.name == "collector"


async def test_migrations_make_the_tables_of_the_code() -> None:
    await assert_migrations_match("savo_collector.migrations", Base.metadata)


def test_an_invalid_setting_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_TRAINING_THRESHOLD", "0")
    with pytest.raises(SystemExit):
        load_settings(CollectorSettings)
    assert "SAVO_TRAINING_THRESHOLD='0'" in capsys.readouterr().err
