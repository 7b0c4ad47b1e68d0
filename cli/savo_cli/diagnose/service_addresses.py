"""Addresses of the running services: from SAVO_SERVICES, which compose and Kubernetes set, or from `savo up`."""

from __future__ import annotations

from dataclasses import dataclass, field

from savo_cli.gateway import running_here
from savo_runtime.http.addresses import named_services

__all__ = ["Running", "find_running"]


@dataclass(frozen=True)
class Running:
    """The services that are known to run."""

    services: dict[str, str] = field(default_factory=dict)
    """URLs by name, the gateway included; empty if no running service is known."""
    elsewhere: bool = False
    """They run in containers, whose settings this shell does not know."""
    here: bool = False
    """`savo up` in this data folder started them."""

    @property
    def gateway(self) -> str | None:
        return self.services.get("gateway")


def find_running(url: str | None) -> Running:
    """`url` is the gateway's and overrides every other source. Raises `WrongServicesError`."""
    own = {"gateway": url.rstrip("/")} if url else {}
    if named := named_services():
        return Running(named | own, elsewhere=True)
    up = running_here()
    if up is None or (url and url.rstrip("/") != str(up.get("gateway_url")).rstrip("/")):
        return Running(own)
    # Earlier releases of `savo up` wrote an object with URL and pid for each service.
    services = {
        name: str(at["url"] if isinstance(at, dict) else at).rstrip("/") for name, at in up["services"].items() if at
    }
    return Running(services | own, here=True)
