"""API keys in SQL, as hashes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CursorResult, select, update

from savo_gateway.access.records import ApiKey, Scope
from savo_gateway.adapters.tables import ApiKeyRow
from savo_runtime.database import Database

__all__ = ["SqlKeys"]


@dataclass(frozen=True)
class SqlKeys:
    """Implements `ports.KeyStore`."""

    database: Database

    async def add_key(self, key: ApiKey) -> None:
        scopes = " ".join(sorted(scope.value for scope in key.scopes))
        async with self.database.session() as session:
            session.add(
                ApiKeyRow(
                    key_id=key.key_id,
                    name=key.name,
                    secret_sha256=key.secret_sha256,
                    scopes=scopes,
                    created_at=key.created_at,
                )
            )

    async def find_key(self, key_id: str) -> ApiKey | None:
        async with self.database.session(read_only=True) as session:
            row = await session.get(ApiKeyRow, key_id)
            return _to_key(row) if row else None

    async def list_keys(self) -> list[ApiKey]:
        async with self.database.session(read_only=True) as session:
            return [_to_key(row) for row in await session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.created_at))]

    async def revoke_key(self, key_id: str, at: datetime) -> bool:
        async with self.database.session() as session:
            change = (
                update(ApiKeyRow)
                .where(ApiKeyRow.key_id == key_id, ApiKeyRow.revoked_at.is_(None))
                .values(revoked_at=at)
            )
            result = await session.execute(change)
            return isinstance(result, CursorResult) and result.rowcount == 1


def _to_key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        row.key_id,
        row.name,
        row.secret_sha256,
        frozenset(Scope(scope) for scope in row.scopes.split()),
        row.created_at,
        row.revoked_at,
    )
