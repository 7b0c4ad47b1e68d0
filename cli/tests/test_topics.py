from __future__ import annotations

import json

from cli.tests.conftest import Savo
from savo_contracts.topics import TOPICS


def test_all_topics_are_listed_without_a_broker(savo: Savo) -> None:
    listed = json.loads(savo("topics", "list", "--json").stdout)
    assert [topic["name"] for topic in listed] == [topic.name for topic in TOPICS]
    assert {topic["name"]: topic["planned"] for topic in listed} == {topic.name: topic.planned for topic in TOPICS}
    table = savo("topics", "list").output
    assert "rollout.changed" in table
    assert ("(planned)" in table) == any(topic.planned for topic in TOPICS)


def test_a_topic_is_described_with_the_fields_of_its_event(savo: Savo) -> None:
    described = savo("topics", "describe", "rollout.changed").output
    assert "rollout.changed.vision.dlq" in described
    assert "Candidate's share of traffic." in described
    assert (
        json.loads(savo("topics", "describe", "rollout.changed", "--json").stdout)["schema"]["title"]
        == "RolloutChanged"
    )


def test_an_unknown_topic_is_refused_with_the_list_of_topics(savo: Savo) -> None:
    result = savo("topics", "describe", "scan")
    assert result.exit_code == 2
    assert "no topic 'scan'; there are scans.requested" in result.stderr


def test_without_a_broker_tail_explains_how_to_start_one(savo: Savo) -> None:
    result = savo("topics", "tail")
    assert result.exit_code == 1
    assert "savo up" in result.stderr


def test_an_unreachable_broker_is_reported_in_one_line(savo: Savo) -> None:
    result = savo("topics", "tail", "--kafka", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "Kafka at 127.0.0.1:1 does not answer" in result.stderr
