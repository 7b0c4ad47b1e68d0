"""Network guard: a test that connects to another machine fails."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

_NAMES = {None, "", "localhost", "0.0.0.0", "::", "::1", "ip6-localhost", socket.gethostname()}


class ExternalConnectionError(BaseException):
    """A test tried to connect to another machine.

    It is no `Exception`, so that the product's error handling cannot hide it.
    """


def _is_local(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name in _NAMES or (isinstance(name, str) and name.startswith(("127.", "::ffff:127.")))


def _check(host: object) -> None:
    if not _is_local(host):
        raise ExternalConnectionError(f"a test tried to reach {host!r}; only 127.0.0.1 is allowed")


def _guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guard(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _check(address[0])
        return connect(self, address)

    return guard


def _guarded_lookup(lookup: Callable[..., Any]) -> Callable[..., Any]:
    def guard(host: Any, *args: Any, **kwargs: Any) -> Any:
        _check(host)
        return lookup(host, *args, **kwargs)

    return guard


def pytest_configure() -> None:
    socket.socket.connect = _guarded(socket.socket.connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = _guarded(socket.socket.connect_ex)  # type: ignore[method-assign]
    socket.getaddrinfo = _guarded_lookup(socket.getaddrinfo)
