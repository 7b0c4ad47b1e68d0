"""`champion` and `challenger`: which model each name means, for tools and people. The rollout alone moves them.

The database decides and the documents follow, so a crash between the two is mended by the next `align`.
"""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.documents import Alias, alias_key
from savo_rollout.state import LIVE, Trial
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, ObjectStore

__all__ = ["Aliases", "aliases_of"]


def aliases_of(trial: Trial) -> tuple[Alias, Alias]:
    """A candidate that was rolled back, or has no traffic, is no challenger any more."""
    challenger = trial.experiment if trial.state in LIVE else None
    champion = trial.champion.version if trial.champion else None
    return _alias("champion", champion, trial), _alias("challenger", challenger, trial)


@dataclass(frozen=True)
class Aliases:
    store: ObjectStore

    async def align(self, trial: Trial) -> None:
        """Make both documents say what the trial says. Doing it twice changes nothing."""
        for alias in aliases_of(trial):
            await self._move(alias)

    async def _move(self, alias: Alias) -> None:
        """Compare and swap until it stands; a document younger than ours is another replica's newer word and stays."""
        while True:
            standing, etag = await self._read(alias.alias)
            if standing and (standing.version == alias.version or standing.moved_at > alias.moved_at):
                return
            if standing is None and alias.version is None:
                return
            try:
                await self.store.replace(alias_key(alias.alias), alias.model_dump_json().encode(), expected_etag=etag, media_type="application/json")
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
