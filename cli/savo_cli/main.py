"""The console script. Imports nothing of ours at first, so that Ctrl-C ends it quietly also while the commands are being loaded."""

from __future__ import annotations

import sys

__all__ = ["run"]


def run() -> None:
    try:
        from savo_cli.commands import add_commands_of_others, app

        add_commands_of_others()
    except KeyboardInterrupt:
        sys.exit(130)
    app()
    sys.exit(0)
