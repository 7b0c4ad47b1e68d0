"""`python -m savo_runtime.migrate [SERVICE …]`: upgrade the tables of services before a deploy starts new replicas.

A service also upgrades its tables at every start. This command does the same and ends, so that a deploy stops at a
failed migration while the old release still runs. `--to REVISION` upgrades or downgrades one service to that revision;
a downgrade loses the data of newer tables and columns. Exit code 0: done, 1: the database is unavailable or refuses, 2:
wrong use.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points

from savo_runtime.database import Database
from savo_runtime.errors import FatalError, SavoError
from savo_runtime.schema import migrate, move_tables
from savo_runtime.service import ServiceDefinition
from savo_runtime.settings import SERVICE_GROUP, RuntimeSettings, load_settings
from savo_runtime.telemetry.logs import configure_logs
from savo_runtime.telemetry.redaction import Redaction, secrets_of
from savo_runtime.timing.availability import START_SECONDS, until_available

__all__ = ["main", "migrate_all"]


def main(arguments: Sequence[str] | None = None) -> int:
    installed = {entry.name: entry for entry in entry_points(group=SERVICE_GROUP)}
    parser = argparse.ArgumentParser(prog="python -m savo_runtime.migrate", description=__doc__)
    parser.add_argument(
        "services", nargs="*", metavar="SERVICE", help=f"some of {', '.join(sorted(installed))}; default is all"
    )
    parser.add_argument("--to", metavar="REVISION", help="upgrade or downgrade one service to this revision")
    chosen = parser.parse_args(arguments)
    names = list(dict.fromkeys(chosen.services)) or sorted(installed)
    if unknown := [name for name in names if name not in installed]:
        parser.error(f"no service {', '.join(unknown)} is installed here; there are {', '.join(sorted(installed))}")
    if chosen.to and len(names) != 1:
        parser.error("--to needs exactly one service: python -m savo_runtime.migrate gateway --to 0002")
    settings = load_settings(RuntimeSettings)
    configure_logs([settings])
    try:
        if chosen.to:
            print(asyncio.run(_move(settings, installed[names[0]].load(), chosen.to)))
            return 0
        asyncio.run(migrate_all(settings, {name: installed[name].load() for name in names}))
    except SavoError as error:
        print("savo: " + " ".join(Redaction(secrets_of(settings)).text(str(error)).split()), file=sys.stderr)
        return 1
    print(f"tables of {', '.join(names)} are in their newest form")
    return 0


async def _move(settings: RuntimeSettings, definition: ServiceDefinition, revision: str) -> str:
    if not definition.migrations:
        raise FatalError(f"{definition.name} has no tables of its own: --to applies to services with migrations")
    database = Database.open(settings, definition.name)
    try:
        before = await move_tables(database, definition.migrations, revision)
    finally:
        await database.close()
    return f"tables of {definition.name} went from {before} to {revision}"


async def migrate_all(settings: RuntimeSettings, definitions: Mapping[str, ServiceDefinition]) -> None:
    """Upgrade the tables of one service after another.

    Raises `DependencyDownError` when the database is still unavailable after 90 s, `FatalError` when it refuses.
    """
    for name, definition in definitions.items():
        database = Database.open(settings, name)
        try:
            await until_available(partial(migrate, database, definition.migrations), within=START_SECONDS)
        finally:
            await database.close()


if __name__ == "__main__":
    raise SystemExit(main())
