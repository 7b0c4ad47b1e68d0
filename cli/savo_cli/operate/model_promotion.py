"""`savo models promote` and `rollback`: an operator's choice of the champion.

The trainer adds further commands to the group `models`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from savo_cli.gateway import Gateway
from savo_cli.operate.rollout import change_rollout
from savo_cli.options import AsJson, By, Key, Reason, Url
from savo_runtime.command_line.output import print_json, reported_errors, table_console

__all__ = ["promote", "rollback"]

_PROVIDER = "the vision provider"


@reported_errors()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Version, such as v3; see `savo models list`.")],
    reason: Reason,
    by: By = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if the gate rejected it, or its trial was rolled back.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a version champion at once, without a trial. It answers every scan that no candidate answers."""
    _check_version(version)
    _change_champion({"action": "promote", "version": version, "force": force}, reason, by, url, key, as_json=as_json)


@reported_errors()
def rollback(
    reason: Reason,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="VERSION", help="A former champion; default is the previous one.", show_default=False
        ),
    ] = None,
    by: By = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Return to the previous champion, or to the vision provider if there was none."""
    _check_version(to)
    _change_champion({"action": "revert", "version": to}, reason, by, url, key, as_json=as_json)


def _change_champion(
    change: dict[str, Any], reason: str, by: str | None, url: str | None, key: str | None, *, as_json: bool
) -> None:
    with Gateway(url, key) as gateway:
        before = _champion(gateway)
        report = change_rollout(gateway, change, reason, by)
    print_json(report) if as_json else _print(before, report)


def _check_version(version: str | None) -> None:
    if version is not None and not re.fullmatch(r"v[1-9][0-9]*", version):
        raise typer.BadParameter(
            f"{version!r} is not a version: versions are v1, v2 and so on; `savo models list` shows them"
        )


def _champion(gateway: Gateway) -> str | None:
    return _version(gateway.get("/admin/rollout"))


def _version(report: dict[str, Any]) -> str | None:
    return (report.get("champion") or {}).get("version")


def _print(before: str | None, report: dict[str, Any]) -> None:
    console, now = table_console(), _version(report)
    if now == before:
        console.print(f"{now or _PROVIDER} is already champion: nothing was changed", markup=False)
        return
    console.print(f"champion: {before or _PROVIDER} → {now or _PROVIDER}", style="bold", markup=False)
    console.print(f"{report['reason']} — {report['changed_by']}, {report['changed_at']}", markup=False)
    if report.get("experiment") and report["share"]:
        console.print(
            f"the trial of {report['experiment']} continues at {report['share']:.0%}, now against {now or _PROVIDER}",
            markup=False,
        )
    if not report.get("serving", True):
        console.print(
            "SAVO_USE_CUSTOM_VISION is false: no trained model answers scans until it is true",
            style="yellow",
            markup=False,
        )
    if now:
        ways = [f"--to {version}" for version in report.get("former", [])]
        console.print(
            f"to undo: savo models rollback --reason …{' (or ' + ', '.join(ways) + ')' if len(ways) > 1 else ''}",
            markup=False,
        )
