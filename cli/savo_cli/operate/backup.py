"""`savo backup` and `savo restore`: a copy of offsets, databases and objects, in an order that loses nothing.

Offsets are copied first: events that arrive during the backup are processed again after a restore, and every effect is
idempotent. Objects are copied last: every object that a row refers to is then included.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from savo_cli.options import AsJson
from savo_operations.backup.databases import dump_databases, require_dumpable, require_restorable, restore_databases
from savo_operations.backup.erased_objects import ErasedObjects, read_erased
from savo_operations.backup.objects import copy_from_store, copy_to_store
from savo_operations.backup.offsets import CommittedOffsets, read_committed_offsets, restore_committed_offsets
from savo_runtime.command_line.output import CommandError, print_json, reported_errors
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.telemetry.logs import configure_command_logs
from savo_runtime.timing.clock import utc_now

__all__ = ["backup", "restore"]

_FORM = 1


@reported_errors()
def backup(
    output: Annotated[
        Path,
        typer.Option("--output", metavar="DIR", help="Folder; an earlier backup in it is updated."),
    ],
    as_json: AsJson = False,
) -> None:
    """Copy offsets, databases and objects to a folder while the product runs."""
    _finish(output, lambda settings: _backup(settings, output), "backed up to", as_json=as_json)


@reported_errors()
def restore(
    source: Annotated[Path, typer.Option("--input", metavar="DIR", help="Folder that `savo backup` wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Replace existing data without a question.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replace offsets, databases and objects with a backup. Stop the services first.
    What was erased since the backup stays erased.
    """
    manifest = _manifest(source)
    if not yes and not typer.confirm(f"Replace databases, objects and offsets with those of {manifest['taken_at']}?"):
        raise typer.Exit(1)
    _finish(source, lambda settings: _restore(settings, source), "restored from", as_json=as_json)


def _finish(
    folder: Path,
    act: Callable[[RuntimeSettings], Coroutine[Any, Any, dict[str, Any]]],
    what: str,
    *,
    as_json: bool,
) -> None:
    settings = load_settings(RuntimeSettings)
    configure_command_logs(settings)
    done = asyncio.run(act(settings))
    print_json(done) if as_json else typer.echo(_sentence(done, f"{what} {folder}"))


async def _backup(settings: RuntimeSettings, folder: Path) -> dict[str, Any]:
    await asyncio.to_thread(_create_folder, settings, folder)
    taken_at = utc_now().isoformat()
    positions = await read_committed_offsets(settings) if _has_kafka(settings) else None
    (folder / "offsets.json").write_text(json.dumps(positions.as_json() if positions else None, indent=1))
    databases = await asyncio.to_thread(dump_databases, settings, folder / "databases")
    store = open_store(settings)
    try:
        copied = await copy_from_store(store, folder / "objects")
    finally:
        await store.close()
    done = {
        "taken_at": taken_at,
        "databases": databases,
        "objects": vars(copied),
        "groups": len(positions.groups) if positions else 0,
    }
    # Written last: a folder without it is not a complete backup.
    (folder / "backup.json").write_text(json.dumps({"form": _FORM, **done}, indent=1))
    return done


def _create_folder(settings: RuntimeSettings, folder: Path) -> None:
    """Checks the databases first, so that an impossible backup leaves no folder behind."""
    require_dumpable(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds personal data


async def _restore(settings: RuntimeSettings, folder: Path) -> dict[str, Any]:
    await asyncio.to_thread(require_restorable, settings, folder / "databases")
    erased, partitions = ErasedObjects(), 0
    if _has_kafka(settings):
        await ensure_topics(settings)
        erased = await read_erased(settings)
        # Before the databases: this fails while a group has an active member, and no table is changed then.
        found = json.loads((folder / "offsets.json").read_text()) or {"cluster": "", "groups": {}}
        partitions = await restore_committed_offsets(settings, CommittedOffsets.from_json(found))
    databases = await asyncio.to_thread(restore_databases, settings, folder / "databases")
    store = open_store(settings)
    try:
        copied = await copy_to_store(store, folder / "objects", erased)
    finally:
        await store.close()
    return {"databases": databases, "objects": vars(copied), "partitions": partitions}


def _has_kafka(settings: RuntimeSettings) -> bool:
    """False for the embedded broker, whose offsets end with `savo up`."""
    return settings.kafka_bootstrap_servers != "embedded" and not settings.embedded_broker


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "backup.json").read_text())
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{folder} is not a complete backup: backup.json, which `savo backup` writes last, is missing or unreadable"
        ) from error
    if found.get("form") != _FORM:
        version = found.get("form")
        raise CommandError(f"{folder} has backup format {version}; this release reads format {_FORM} only")
    return found


def _sentence(done: dict[str, Any], what: str) -> str:
    objects = done["objects"]
    erased = f", {objects['left_out']} left out because they were erased" if objects["left_out"] else ""
    offsets = f"{done['groups']} groups' offsets" if "groups" in done else f"offsets of {done['partitions']} partitions"
    copied = (
        f"{objects['objects']} objects ({objects['bytes'] / 1e6:.1f} MB; {objects['kept']} already present{erased})"
    )
    return f"{what}: {len(done['databases'])} databases, {copied}, {offsets}"
