"""What every message has around it: CloudEvents 1.0 in binary mode (headers beside a JSON body).

Source: CloudEvents 1.0 and its Kafka protocol binding; trace context by W3C `traceparent`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Generic, Self, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

SPEC_VERSION = "1.0"
CONTENT_TYPE = b"application/json"
REPLAY_HEADER = "savo-replay"
"""Which replay an event stems from: whoever works on it sends no mail, spends nothing, and passes the header on."""

RecordHeaders = list[tuple[str, bytes]]

ScanId = Annotated[
    str, Field(min_length=1, max_length=64, description="Random id of one scan; key of all scans.* topics.")
]
Subject = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="Random stand-in for a user or device. Only the gateway's database knows who it is.",
    ),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the stored bytes, lower-case hex.")]
Moment = Annotated[AwareDatetime, Field(description="UTC time, RFC 3339.")]
Usd = Annotated[float, Field(ge=0.0, description="US dollars.")]


class Message(BaseModel):
    """A frozen part of an event. Unknown fields are ignored, so that an older reader accepts a newer writer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Event(Message):
    """Something that happened. `type` is its name and version on the wire."""

    type: ClassVar[str]


class ImageRef(Message):
    """Where a photo's bytes are. The bytes themselves never travel through Kafka."""

    key: str = Field(min_length=1, max_length=1024, description="Key in the object store.")
    sha256: Sha256
    bytes: int = Field(gt=0, description="Size of the stored object in bytes.")
    width: int = Field(gt=0, description="Pixels, of the upright photo.")
    height: int = Field(gt=0, description="Pixels, of the upright photo.")
    media_type: str = Field(default="image/jpeg", description="IANA media type of the stored bytes.")


E = TypeVar("E", bound=Event)


class InvalidHeadersError(ValueError):
    """A record whose headers are no CloudEvents headers."""


@dataclass(frozen=True)
class RecordRef:
    """Where an event stands in Kafka."""

    topic: str
    partition: int
    offset: int
    at: datetime
    """When it was published, by the producer's clock, to the millisecond."""


@dataclass(frozen=True)
class Envelope(Generic[E]):
    """An event with its identity: what a record's headers carry beside the body."""

    event: E
    id: UUID
    source: str
    time: datetime
    traceparent: str | None = None
    record: RecordRef | None = field(default=None, compare=False)
    """Where it was read; None before it was published."""
    replay: str | None = None
    """Of an event that comes from a replay, or was made because of one: the replay's id."""

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
        """From a record. Raises `InvalidHeadersError` for headers and pydantic's `ValidationError` for the body."""
        fields = _text_headers(headers)
        if fields.get("ce_type") != event_class.type:
            raise InvalidHeadersError(f"ce_type is {fields.get('ce_type')!r}; this topic carries {event_class.type!r}")
        try:
            event_id, time = UUID(fields["ce_id"]), datetime.fromisoformat(fields["ce_time"])
        except (KeyError, ValueError) as flaw:
            raise InvalidHeadersError(f"ce_id and ce_time must be a UUID and an RFC 3339 time: {flaw}") from flaw
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
    """The id of an output event: the same input gives the same id, so that a repeat is recognised."""
    return uuid5(input_id, f"{event_type}/{key}" if key else event_type)


def named_id(name: str) -> UUID:
    """The id of an event that has no input event, from a name that says what it is about."""
    return uuid5(NAMESPACE_URL, f"savo:{name}")


def _text_headers(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    try:
        return {name: value.decode() for name, value in headers if value is not None}
    except UnicodeDecodeError as flaw:
        raise InvalidHeadersError(f"a header is not UTF-8: {flaw}") from flaw
