"""Options that many commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["AsJson", "By", "Key", "Reason", "Url"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SAVO_URL",
        help="The gateway; default is the one that `savo up` started here.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="SAVO_API_KEY",
        help="API key, where the gateway asks for one.",
        show_default=False,
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.", show_default=False)]
By = Annotated[
    str | None,
    typer.Option("--by", help="Who, for the audit log; default is the user of this shell.", show_default=False),
]
