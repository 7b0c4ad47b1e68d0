"""Command-line options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["AsJson", "By", "Key", "Reason", "Url"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="SAVO_URL",
        help="URL of the gateway; default is the one that `savo up` started here.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        envvar="SAVO_API_KEY",
        help="API key, if the gateway requires one.",
        show_default=False,
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason for the audit log.", show_default=False)]
By = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Name for the audit log; default is the user of this shell.", show_default=False
    ),
]
