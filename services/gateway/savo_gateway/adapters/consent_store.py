"""Consents of people, in SQL."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import named_id
from savo_contracts.users import ConsentChanged
from savo_gateway.access.records import Person
from savo_gateway.adapters.rows import subject_for
from savo_gateway.adapters.tables import ConsentRow, SubjectRow
from savo_gateway.users.consent import Consent, ConsentChoice
from savo_runtime.database import Database, upsert
from savo_runtime.messaging.publishing.outbox import Outbox

__all__ = ["SqlConsents", "consent_of_subject"]


@dataclass(frozen=True)
class SqlConsents:
    """Implements `ports.ConsentStore`."""

    database: Database
    outbox: Outbox

    async def consent_of(self, person: Person) -> Consent | None:
        of_person = select(ConsentRow).join(SubjectRow, SubjectRow.subject == ConsentRow.subject)
        query = of_person.where(SubjectRow.kind == person.kind, SubjectRow.reference == person.reference)
        async with self.database.session(read_only=True) as session:
            row = await session.scalar(query)
            return _consent(row) if row else None

    async def set_consent(self, person: Person, choice: ConsentChoice, now: datetime) -> Consent:
        async with self.database.session() as session:
            subject, _ = await subject_for(session, person, now)
            row = await session.get(ConsentRow, subject)
            if row and _consent(row).choice == choice:
                return _consent(row)
            values = asdict(choice) | {"changed_at": now}
            await upsert(session, ConsentRow, {"subject": subject, **values}, ["subject"])
            event = ConsentChanged(subject=subject, **values)
            await self.outbox.add(session, event, event_id=named_id(f"consent/{subject}/{now.isoformat()}"))
            return Consent(choice, now)


async def consent_of_subject(session: AsyncSession, subject: str) -> bool | None:
    """Whether the person consents; None where they were never asked."""
    row = await session.get(ConsentRow, subject)
    return row.given if row else None


def _consent(row: ConsentRow) -> Consent:
    return Consent(ConsentChoice(row.given, row.text_version, row.retention_days), row.changed_at)
