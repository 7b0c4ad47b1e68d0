"""Aliases `champion` and `challenger`: documents that name the model version of each. Only the rollout moves them.

The database is authoritative. After a crash between the two writes, the next `align` repairs the documents.
"""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.documents import Alias, alias_key
from savo_rollout.state import LIVE, Trial
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, ObjectStore

__all__ = ["Aliases", "aliases_of"]


def aliases_of(trial: Trial) -> tuple[Alias, Alias]:
    """Champion and challenger of a state. A candidate without a live trial is no challenger."""
    challenger = trial.candidate.version if trial.candidate and trial.state in LIVE else None
    champion = trial.champion.version if trial.champion else None
    return _alias("champion", champion, trial), _alias("challenger", challenger, trial)


@dataclass(frozen=True)
class Aliases:
    """The alias documents in the object store."""

    store: ObjectStore

    async def align(self, trial: Trial) -> None:
        """Write both documents if they differ from the trial. Idempotent."""
        for alias in aliases_of(trial):
            await self._move(alias)

    async def _move(self, alias: Alias) -> None:
        """Compare and swap until it succeeds. A document with a later time comes from a newer state and stays."""
        while True:
            current, etag = await self._read(alias.alias)
            if current and (current.version == alias.version or current.moved_at > alias.moved_at):
                return
            if current is None and alias.version is None:
                return
            try:
                document = alias.model_dump_json().encode()
                await self.store.replace(
                    alias_key(alias.alias),
                    document,
                    expected_etag=etag,
                    media_type="application/json",
                )
            except ObjectConflictError:
                continue
            return

    async def _read(self, name: str) -> tuple[Alias | None, str | None]:
        try:
            data, info = await self.store.read(alias_key(name))
        except ObjectNotFoundError:
            return None, None
        return Alias.model_validate_json(data), info.etag


def _alias(name: str, version: str | None, trial: Trial) -> Alias:
    return Alias(alias=name, version=version, moved_at=trial.changed_at, reason=trial.reason)
