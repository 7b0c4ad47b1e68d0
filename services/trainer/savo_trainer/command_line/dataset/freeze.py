"""`savo dataset freeze`: a version of all samples that stays as it is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from savo_runtime.command_line.output import reported_errors
from savo_runtime.telemetry.audit import this_user
from savo_trainer.command_line.dataset.version_writers import run_freeze
from savo_trainer.command_line.object_store import run_on_store
from savo_trainer.command_line.options import AsJson, By
from savo_trainer.command_line.terminal import err, print_json, print_line
from savo_trainer.versions.catalogue import StoredVersion, stored_version
from savo_trainer.versions.freeze import DatasetFreeze, Origin

__all__ = ["freeze", "version_json"]

DATASET = "ingredients"


@reported_errors()
def freeze(
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for `savo dataset list`.", show_default=False)
    ] = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Freeze all collected samples as a version: later corrections, merges of classes and new photos do not change it.

    Erased photos leave every version. Without a change since your newest version, that version is named again. The same
    command continues an interrupted freeze. A training run freezes in the same way, but only with samples of train and
    test.
    """
    with err.status("freezing"), tempfile.TemporaryDirectory(prefix="savo-freeze-") as folder:
        name = run_freeze(lambda frozen: _frozen(frozen, Origin(by=by or this_user(), reason=reason), Path(folder)))
    version = run_on_store(lambda store: stored_version(name, store))
    if as_json:
        print_json(version_json(version))
        return
    samples = version.description.samples if version.description else {}
    print_line(f"{name}: {', '.join(f'{split} {count:,}' for split, count in samples.items())}")
    print_line(f"next: savo dataset checkout {name} --output DIR")


def version_json(version: StoredVersion) -> dict[str, object]:
    described = version.description.model_dump(mode="json", exclude={"removed_at"}) if version.description else {}
    return described | {"version": version.name, "complete": version.is_complete, "models": list(version.models)}


async def _frozen(freeze: DatasetFreeze, origin: Origin, folder: Path) -> str:
    return (await freeze(DATASET, origin, folder)).version
