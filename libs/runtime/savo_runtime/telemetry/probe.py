"""`python -m savo_runtime.telemetry.probe [PATH]`: readiness probe of the service on this machine, for containers.

Prints the answer of /readyz, or of another path. Exit code 0: ready, 1: not ready or no answer. It imports only the
standard library, so that it starts quickly.
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
        body = answer.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        print(f"no answer on port {port}: {error}")
        return 1
    print(body)
    return int(answer.status != 200)


def port_of(environ: Mapping[str, str]) -> int:
    """The port of the service, by the same rule as its settings: PORT takes precedence over SAVO_HTTP_PORT."""
    return int(environ.get("PORT") or environ.get("SAVO_HTTP_PORT") or DEFAULT_PORT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
