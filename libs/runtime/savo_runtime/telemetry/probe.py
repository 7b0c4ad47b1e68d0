"""`python -m savo_runtime.telemetry.probe`: is this machine's service ready? A container's health check: quick, by the standard library alone.

Prints what /readyz, or the path given, says. Exit 0 ready, 1 not ready or not there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

__all__ = ["main", "port_of"]

DEFAULT_PORT = 8000
ANSWER_SECONDS = 5.0


def main(path: str = "/readyz") -> int:
    port = port_of(os.environ)
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace")
    except (OSError, HTTPException) as flaw:
        print(f"no answer on port {port}: {flaw}")
        return 1
    print(said)
    return int(answer.status != 200)


def port_of(environ: Mapping[str, str]) -> int:
    """As the services find theirs: PORT comes first."""
    return int(environ.get("PORT") or environ.get("SAVO_HTTP_PORT") or DEFAULT_PORT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
