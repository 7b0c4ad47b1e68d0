"""Console script `savo`.

The commands are imported inside `run`, so that Ctrl-C during the import ends the process without a traceback.
"""

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
