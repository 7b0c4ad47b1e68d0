"""`savo dataset list`: the frozen versions in the object store."""

from __future__ import annotations

from rich.table import Table

from savo_runtime.command_line.output import reported_errors, table_console
from savo_trainer.command_line.dataset.freeze import version_json
from savo_trainer.command_line.object_store import run_on_store
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import print_json, print_line
from savo_trainer.versions.catalogue import StoredVersion, stored_versions

__all__ = ["list_versions"]


@reported_errors()
def list_versions(as_json: AsJson = False) -> None:
    """List the frozen versions with their samples, who froze them, and the models that were trained on them."""
    versions = run_on_store(stored_versions)
    if as_json:
        print_json({"versions": [version_json(version) for version in versions]})
        return
    if not versions:
        print_line("no version is frozen yet: `savo dataset freeze` freezes one, as every training run does")
        return
    table = Table("version", "frozen", "train", "val", "test", "boxes", "by", "models", "reason")
    for version in versions:
        table.add_row(*_row(version))
    table_console().print(table)


def _row(version: StoredVersion) -> tuple[str, ...]:
    models = ", ".join(version.models)
    name = version.name if version.is_complete else f"{version.name} (incomplete)"
    described = version.description
    if described is None:
        return name, *([""] * 6), models, "by an earlier release"
    counts = [f"{described.samples.get(split, 0):,}" for split in ("train", "val", "test")]
    origin = described.run_id or described.by or ""
    boxes = f"{sum(described.boxes.values()):,}"
    return name, f"{described.frozen_at:%Y-%m-%d %H:%M}", *counts, boxes, origin, models, described.reason
