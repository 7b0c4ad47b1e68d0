"""`savo models list` and `savo models show`: versions of the model registry in the object store."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markdown import Markdown
from rich.table import Table

from savo_contracts.documents import Alias, alias_key, model_key
from savo_runtime.command_line.output import CommandError, reported_errors
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.command_line.object_store import run_on_store
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import out, print_json, print_line

__all__ = ["list_models", "show_model"]

MODELS = "models/ingredients/"
ALIASES = ("champion", "challenger")


@reported_errors()
def list_models(as_json: AsJson = False) -> None:
    """List every version in the object store with its verdict and its alias, champion or challenger."""
    reports = run_on_store(_read_reports)
    if as_json:
        print_json({"models": reports})
        return
    if not reports:
        print_line(
            "no model is registered yet: `savo models register FILE` registers one, `savo runs list` shows training"
        )
        return
    table = Table("version", "verdict", "mAP@0.5", "interval", "classes", "samples", "alias")
    for report in reports:
        table.add_row(*_row(report))
    out.print(table)


@reported_errors()
def show_model(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Version, such as v3; see `savo models list`.")],
    as_json: AsJson = False,
) -> None:
    """Show a version's model card, or its report with --json."""
    name = "report.json" if as_json else "card.md"
    content = run_on_store(lambda store: _read_text(store, version, name))
    if as_json:
        print_json(json.loads(content))
    else:
        out.print(Markdown(content))


def _row(report: dict[str, Any]) -> tuple[str, ...]:
    measured = report["evaluation"]
    interval = f"{measured['map50_lower']:.3f} to {measured['map50_upper']:.3f}"
    counts = str(len(report["classes"])), str(report["train_samples"])
    figures = f"{measured['map50']:.3f}", interval, *counts
    return report["version"], report["verdict"], *figures, ", ".join(report["aliases"])


async def _read_reports(store: ObjectStore) -> list[dict[str, Any]]:
    """Reports ordered by version number, each with its aliases."""
    keys = [info.key async for info in store.list(MODELS) if info.key.endswith("/report.json")]
    reports = [json.loads(await store.get(key)) for key in keys]
    aliases = {alias: await _alias(store, alias) for alias in ALIASES}
    for report in reports:
        report["aliases"] = [alias for alias, version in aliases.items() if version == report["version"]]
    return sorted(reports, key=lambda report: int(report["version"].removeprefix("v")))


async def _alias(store: ObjectStore, alias: str) -> str | None:
    try:
        return Alias.model_validate_json(await store.get(alias_key(alias))).version
    except (ObjectNotFoundError, ValidationError):
        return None


async def _read_text(store: ObjectStore, version: str, name: str) -> str:
    try:
        return (await store.get(model_key(version, name))).decode()
    except (ObjectNotFoundError, ValueError):  # ValueError: the version makes no valid key
        message = f"there is no model {version}: `savo models list` names the existing versions"
        raise CommandError(message) from None
