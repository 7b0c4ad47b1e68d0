"""Message envelope: CloudEvents 1.0 in binary mode, with the event's identity in headers and a JSON body.

Sources: CloudEvents 1.0 and its Kafka protocol binding; W3C Trace Context for `traceparent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Generic, Self, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

SPEC_VERSION = "1.0"
CONTENT_TYPE = b"application/json"
REPLAY_HEADER = "savo-replay"
"""Id of the replay that an event comes from. Its consumers send no mail, spend no money and pass the header on."""

RecordHeaders = list[tuple[str, bytes]]

ScanId = Annotated[
    str, Field(min_length=1, max_length=64, description="Random id of one scan; key of all scans.* topics.")
]
Subject = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="Random pseudonym of a user or device. Only the gateway's database can resolve it.",
    ),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the stored bytes, lower-case hex.")]
Moment = Annotated[AwareDatetime, Field(description="UTC time, RFC 3339.")]
Usd = Annotated[float, Field(ge=0.0, description="US dollars.")]


class Message(BaseModel):
    """Base of events and their parts: immutable. Unknown fields are ignored, so older readers accept newer events."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Event(Message):
    """Base of events. `type` is the event's name and version on the wire."""

    type: ClassVar[str]


class ImageRef(Message):
    """Reference to a photo in the object store. The bytes themselves never travel through Kafka."""

    key: str = Field(min_length=1, max_length=1024, description="Key in the object store.")
    sha256: Sha256
    bytes: int = Field(gt=0, description="Size of the stored object in bytes.")
    width: int = Field(gt=0, description="Pixels, of the upright photo.")
    height: int = Field(gt=0, description="Pixels, of the upright photo.")
    media_type: str = Field(default="image/jpeg", description="IANA media type of the stored bytes.")


E = TypeVar("E", bound=Event)
T = TypeVar("T")


class InvalidHeadersError(ValueError):
    """The record's headers are not valid CloudEvents headers of its topic's event type."""


@dataclass(frozen=True)
class RecordRef:
    """Position of an event in Kafka."""

    topic: str
    partition: int
    offset: int
    at: datetime
    """Publication time by the producer's clock, with millisecond precision."""


@dataclass(frozen=True)
class Envelope(Generic[E]):
    """An event together with the identity and trace context that its record's headers carry."""

    event: E
    id: UUID
    source: str
    time: datetime
    traceparent: str | None = None
    record: RecordRef | None = field(default=None, compare=False)
    """Position that the event was read from; None for an event that is not published yet."""
    replay: str | None = None
    """Id of the replay that the event comes from or was caused by."""

    @classmethod
    def new(
        cls,
        event: E,
        source: str,
        *,
        event_id: UUID | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
        replay: str | None = None,
    ) -> Self:
        return cls(event, event_id or uuid4(), source, time or datetime.now(UTC), traceparent, replay=replay)

    def headers(self) -> RecordHeaders:
        headers = [
            ("ce_id", str(self.id).encode()),
            ("ce_type", self.event.type.encode()),
            ("ce_source", self.source.encode()),
            ("ce_time", self.time.isoformat().encode()),
            ("ce_specversion", SPEC_VERSION.encode()),
            ("content-type", CONTENT_TYPE),
        ]
        if self.traceparent:
            headers.append(("traceparent", self.traceparent.encode()))
        if self.replay:
            headers.append((REPLAY_HEADER, self.replay.encode()))
        return headers

    def body(self) -> bytes:
        return self.event.model_dump_json().encode()

    @classmethod
    def decode(cls, event_class: type[E], body: bytes, headers: Iterable[tuple[str, bytes | None]]) -> Self:
        """Read a record.

        Raises `InvalidHeadersError` for invalid headers and pydantic's `ValidationError` for an invalid body.
        """
        fields = _text_headers(headers)
        if fields.get("ce_type") != event_class.type:
            raise InvalidHeadersError(
                f"header ce_type is {fields['ce_type'][:100]!r}; this topic carries {event_class.type!r}"
                if "ce_type" in fields
                else "header ce_type is missing"
            )
        event_id = _parsed(fields, "ce_id", UUID, "a UUID")
        time = _parsed(fields, "ce_time", datetime.fromisoformat, "an RFC 3339 time")
        event = event_class.model_validate_json(body)
        return cls(
            event,
            event_id,
            fields.get("ce_source", ""),
            time,
            fields.get("traceparent"),
            replay=fields.get(REPLAY_HEADER),
        )


def derived_id(input_id: UUID, event_type: str, key: str = "") -> UUID:
    """Id of an output event (UUIDv5): the same input gives the same id, so consumers recognise a repeat."""
    return uuid5(input_id, f"{event_type}/{key}" if key else event_type)


def named_id(name: str) -> UUID:
    """Id of an event without an input event (UUIDv5), derived from a name for its subject."""
    return uuid5(NAMESPACE_URL, f"savo:{name}")


def _parsed(fields: Mapping[str, str], name: str, parse: Callable[[str], T], required: str) -> T:
    if name not in fields:
        raise InvalidHeadersError(f"header {name} is missing")
    try:
        return parse(fields[name])
    except ValueError as error:
        raise InvalidHeadersError(f"header {name} is {fields[name][:100]!r}: {required} is required") from error


def _text_headers(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    try:
        return {name: value.decode() for name, value in headers if value is not None}
    except UnicodeDecodeError as error:
        raise InvalidHeadersError(f"a header is not UTF-8: {error}") from error
