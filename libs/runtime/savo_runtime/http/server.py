"""HTTP server of one service: its own app and the health routes on one port, in the event loop of the consumers."""

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
from savo_runtime.telemetry.http import RequestTelemetry

__all__ = ["HttpServer", "PortTakenError", "with_health_routes"]

GRACE_SECONDS = 8


class PortTakenError(FatalError):
    """Another program listens on the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use:"
            " stop the program that listens there, or set SAVO_HTTP_PORT to another port",
            reason="port-in-use",
        )
        self.port = port


class HttpServer:
    """A server that binds its port on construction, so that a port in use is reported before anything else starts.

    Raises `PortTakenError`, and `FatalError` when it cannot listen on the address.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{_reachable(host)}:{self.port}"
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, app: ASGIApp, *, has_lifespan: bool) -> None:
        """Serve `app`; returns when it accepts requests. Raises `FatalError` when the app's start-up fails."""
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
                raise FatalError("the HTTP app did not start: see the log line before this one for the cause")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Accept no more connections; running requests have eight seconds to finish."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()


def with_health_routes(app: ASGIApp | None, health: ASGIApp) -> ASGIApp:
    """An app that serves the health routes without metrics and passes all else, also the lifespan, to `app`."""
    own = RequestTelemetry(app or health)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        is_health = scope["type"] == "http" and scope["path"] in HEALTH_PATHS
        await (health if is_health else own)(scope, receive, send)

    return dispatch


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: a signal stops the whole process, not only its HTTP server."""

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
            f"SAVO_HTTP_HOST={host!r}, SAVO_HTTP_PORT={port}: cannot listen on this address: {error.strerror}"
        ) from error


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
