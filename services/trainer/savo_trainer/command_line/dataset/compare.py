"""`savo dataset diff`: what changed from one version to another, with pictures of both."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from savo_runtime.command_line.output import reported_errors
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.port import ObjectStore
from savo_trainer.command_line.dataset.compare_page import write_comparison
from savo_trainer.command_line.object_store import run_on_store
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import err, out, print_json, print_line
from savo_trainer.versions.comparison import compare_versions

__all__ = ["compare"]

_LISTED = 10


@reported_errors()
def compare(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Version, such as ds-000003.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Version to compare with it.")],
    html: Annotated[bool, typer.Option("--html", help="Write a page with pictures before and after.")] = False,
    output: Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Folder for the page.")] = None,
    pictures: Annotated[int, typer.Option("--pictures", metavar="N", min=1, help="At most N pictures.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Compare two versions: samples that were added, removed, relabelled or moved, classes, boxes by label."""
    folder = output or load_settings(RuntimeSettings).data_dir / "dataset_diffs" / f"{before}-{after}"

    async def compared(store: ObjectStore) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="savo-diff-") as scratch:
            diff = await compare_versions(before, after, store, Path(scratch))
        page = await write_comparison(diff, store, folder, pictures) if html else None
        return diff.as_dict() | ({"html": str(page)} if page else {})

    with err.status("comparing"):
        summary = run_on_store(compared)
    print_json(summary) if as_json else _print(summary)


def _print(summary: dict[str, Any]) -> None:
    counts = ", ".join(f"{kind} {count:,}" for kind, count in summary["counts"].items())
    print_line(f"{summary['before']} → {summary['after']}: {counts}")
    for kind, names in summary["samples"].items():
        for name in names[:_LISTED]:
            print_line(f"  {kind}: {name}")
        if len(names) > _LISTED:
            print_line(f"  and {len(names) - _LISTED:,} more {kind}; --json lists all")
    if summary["classes"]["added"]:
        print_line(f"new classes: {', '.join(summary['classes']['added'])}")
    for label, target in summary["classes"]["merged"].items():
        print_line(f"merged: {label} → {target}")
    if summary["boxes"]:
        table = Table("label", f"boxes {summary['before']}", f"boxes {summary['after']}")
        for label, boxes in summary["boxes"].items():
            table.add_row(label, *map(str, boxes))
        out.print(table)
    for side in ("before", "after"):
        if models := summary["models"][side]:
            print_line(f"trained on {summary[side]}: {', '.join(models)}")
    print_line(f"page: {summary['html']}" if "html" in summary else "next: --html shows pictures of both")
