"""One service's HTTP: its own app and the health routes behind one port, in the loop that the consumers run in."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from savo_runtime.errors import FatalError
from savo_runtime.telemetry.health import HEALTH_PATHS
from savo_runtime.telemetry.http import Measured

__all__ = ["HttpServer", "PortTakenError", "beside_health"]

GRACE_SECONDS = 8


class PortTakenError(FatalError):
    """Another program listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use: end the program that listens there, or choose another port by SAVO_HTTP_PORT",
            reason="port-in-use",
        )
        self.port = port


class HttpServer:
    """Takes its port when it is made, so that a taken one stops the start before anything else happens."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{_reachable(host)}:{self.port}"
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, app: ASGIApp, *, has_lifespan: bool) -> None:
        """Raises `FatalError` when the app's own start-up fails."""
        config = uvicorn.Config(
            app,
            lifespan="on" if has_lifespan else "off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                raise FatalError("the HTTP app did not start; its log line says why")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """No new connection; running requests get eight seconds."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()


def beside_health(app: ASGIApp | None, health: ASGIApp) -> ASGIApp:
    """The health routes unmeasured, everything else to the service's own app, its lifespan included."""
    own = Measured(app or health)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        is_health = scope["type"] == "http" and scope["path"] in HEALTH_PATHS
        await (health if is_health else own)(scope, receive, send)

    return dispatch


class _Server(uvicorn.Server):
    """Leaves signals alone: they stop the whole process, not only its HTTP."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(host, port) from error
        raise FatalError(
            f"SAVO_HTTP_HOST={host!r}, SAVO_HTTP_PORT={port}: cannot listen there: {error.strerror}"
        ) from error


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
