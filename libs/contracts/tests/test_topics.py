"""Topic registry: every topic has a golden message, a JSON Schema and its generated documentation."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from savo_contracts.envelope import Envelope, Event, InvalidHeadersError
from savo_contracts.specs.asyncapi import asyncapi_document
from savo_contracts.specs.compatibility import breaking_changes
from savo_contracts.specs.flow import flow_markdown
from savo_contracts.specs.generate import documents
from savo_contracts.specs.json_schema import event_schema, schema_name
from savo_contracts.topics import SERVICES, TOOLS, TOPICS, Topic, topic_named, topic_of

PACKAGE = Path(str(files("savo_contracts")))
EXAMPLES = sorted((PACKAGE / "examples").rglob("*.json"))

every_topic = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")


def record(path: Path) -> tuple[Topic[Any], dict[str, Any], list[tuple[str, bytes]]]:
    example = json.loads(path.read_text(encoding="utf-8"))
    return (
        topic_named(path.parent.name),
        example,
        [(name, value.encode()) for name, value in example["headers"].items()],
    )


@every_example
def test_an_example_decodes_and_encodes_to_the_same_record(path: Path) -> None:
    topic, example, headers = record(path)
    envelope = Envelope.decode(topic.event, json.dumps(example["value"]).encode(), headers)
    assert json.loads(envelope.body()) == example["value"]
    assert {name: value.decode() for name, value in envelope.headers()} == example["headers"]
    assert topic.key(envelope.event) == example["key"]
    assert envelope.source in topic.producers


@every_example
def test_an_example_is_valid_by_the_published_schema(path: Path) -> None:
    topic, example, _ = record(path)
    assert not list(jsonschema.Draft202012Validator(event_schema(topic)).iter_errors(example["value"]))


@every_topic
def test_every_topic_has_an_example(topic: Topic[Any]) -> None:
    assert list((PACKAGE / "examples" / topic.name).glob("*.json"))


def test_every_example_belongs_to_a_topic_and_every_topic_has_a_schema() -> None:
    assert {path.parent.name for path in EXAMPLES} == {topic.name for topic in TOPICS}
    assert {path.name for path in (PACKAGE / "schemas").iterdir()} >= {schema_name(topic) for topic in TOPICS}


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == documents()[path], f"{path.name} is stale: run `make generate`"


@every_topic
def test_the_event_is_compatible_with_its_committed_schema(topic: Topic[Any]) -> None:
    committed = json.loads((PACKAGE / "schemas" / schema_name(topic)).read_text(encoding="utf-8"))
    assert breaking_changes(committed, event_schema(topic)) == []


@every_topic
def test_a_topic_lists_known_services_and_has_a_versioned_event_type(topic: Topic[Any]) -> None:
    assert set(topic.producers) <= {*SERVICES, *TOOLS}
    assert set(topic.consumers) <= set(SERVICES)
    assert topic.producers
    assert topic.consumers
    assert topic.event.type.startswith("savo.")
    assert topic.event.type.rsplit(".", 1)[1].startswith("v")
    assert topic.key_name in topic.event.model_fields


def test_each_event_belongs_to_one_topic() -> None:
    assert len({topic.event for topic in TOPICS}) == len(TOPICS) == len({topic.name for topic in TOPICS})
    assert all(topic_of(topic.event.model_construct()) is topic for topic in TOPICS)


@every_topic
def test_every_number_has_a_description(topic: Topic[Any]) -> None:
    fields = topic.event.model_fields.items()
    assert [name for name, field in fields if _is_number(field) and not field.description] == []


def _is_number(field: FieldInfo) -> bool:
    return field.annotation in (int, float)


def test_a_result_of_an_earlier_release_has_no_alternatives() -> None:
    topic, example, headers = record(PACKAGE / "examples/scans.completed/by-the-custom-model.json")
    for item in example["value"]["items"]:
        del item["alternatives"]
    completed = Envelope.decode(topic.event, json.dumps(example["value"]).encode(), headers).event
    assert [item.alternatives for item in completed.items] == [(), ()]


def test_the_error_for_an_unknown_topic_lists_all_topics() -> None:
    with pytest.raises(KeyError, match=r"scans\.requested"):
        topic_named("scans.lost")


def test_a_newer_message_with_an_unknown_field_decodes() -> None:
    topic, example, headers = record(PACKAGE / "examples/scans.requested/minimal.json")
    newer = example["value"] | {"filter": "sepia"}
    event = Envelope.decode(topic.event, json.dumps(newer).encode(), headers).event
    assert event.model_dump(mode="json") == example["value"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"ce_type": b"savo.scan.completed.v1"}, "header ce_type is 'savo.scan.completed.v1'; this topic carries"),
        ({"ce_type": None}, "header ce_type is missing"),
        ({"ce_id": b"seven"}, "header ce_id is 'seven': a UUID is required"),
        ({"ce_id": None}, "header ce_id is missing"),
        ({"ce_time": b"\xff"}, "a header is not UTF-8"),
        ({"ce_time": b"noon"}, "header ce_time is 'noon': an RFC 3339 time is required"),
    ],
)
def test_headers_that_are_not_cloudevents_headers_are_refused(broken: dict[str, bytes | None], message: str) -> None:
    topic, example, headers = record(PACKAGE / "examples/scans.requested/minimal.json")
    with pytest.raises(InvalidHeadersError, match=message):
        Envelope.decode(topic.event, json.dumps(example["value"]).encode(), (dict(headers) | broken).items())


def test_a_body_with_a_value_out_of_range_is_refused_with_the_name_of_the_field() -> None:
    topic, example, headers = record(PACKAGE / "examples/scans.completed/by-the-custom-model.json")
    with pytest.raises(ValidationError, match="scan_confidence"):
        Envelope.decode(topic.event, json.dumps(example["value"] | {"scan_confidence": 1.2}).encode(), headers)


def test_asyncapi_lists_every_producer_and_consumer() -> None:
    operations = asyncapi_document()["operations"]
    assert {(o["action"], o["title"], o["channel"]["$ref"]) for o in operations.values()} == {
        (action, service, f"#/channels/{topic.name}")
        for topic in TOPICS
        for action, services in (("send", topic.producers), ("receive", topic.consumers))
        for service in services
    }


def test_asyncapi_and_the_flow_mark_planned_topics() -> None:
    document, flow = asyncapi_document(), flow_markdown()
    for topic in TOPICS:
        described = [document["channels"][topic.name]]
        described += [
            operation for name, operation in document["operations"].items() if name.endswith(f".{topic.name}")
        ]
        assert [shown.get("x-planned", False) for shown in described] == [topic.planned] * len(described)
        assert (f"`{topic.name}` (planned)" in flow) == topic.planned


@every_topic
def test_every_topic_about_a_scan_has_a_name_in_traces(topic: Topic[Any]) -> None:
    assert (topic.trace_label is not None) == ("scan_id" in topic.event.model_fields)


def test_events_are_frozen() -> None:
    assert all(topic.event.model_config.get("frozen") for topic in TOPICS)
    assert all(issubclass(topic.event, Event) for topic in TOPICS)
