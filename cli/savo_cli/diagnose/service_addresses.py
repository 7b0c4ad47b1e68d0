"""Addresses of the running services: from SAVO_SERVICES, which compose and Kubernetes set, or from `savo up`."""

from __future__ import annotations

from dataclasses import dataclass, field

from savo_cli.gateway import read_up_file
from savo_runtime.http.addresses import named_services

__all__ = ["RunningServices", "find_services"]


@dataclass(frozen=True)
class RunningServices:
    """The services that are known to run."""

    services: dict[str, str] = field(default_factory=dict)
    """URLs by name, the gateway included; empty if no running service is known."""
    in_containers: bool = False
    """They run in containers, whose settings this shell does not know."""
    is_local: bool = False
    """`savo up` in this data folder started them."""

    @property
    def gateway(self) -> str | None:
        return self.services.get("gateway")


def find_services(url: str | None) -> RunningServices:
    """`url` is the gateway's and overrides every other source. Raises `WrongServicesError`."""
    own = {"gateway": url.rstrip("/")} if url else {}
    if named := named_services():
        return RunningServices(named | own, in_containers=True)
    up = read_up_file()
    if up is None or (url and url.rstrip("/") != str(up.get("gateway_url")).rstrip("/")):
        return RunningServices(own)
    # Earlier releases of `savo up` wrote an object with URL and pid for each service.
    services = {
        name: str(at["url"] if isinstance(at, dict) else at).rstrip("/") for name, at in up["services"].items() if at
    }
    return RunningServices(services | own, is_local=True)
