"""Where the running services are: as SAVO_SERVICES says (compose and Kubernetes set it), else those of `savo up` here."""

from __future__ import annotations

from dataclasses import dataclass, field

from savo_cli.gateway import running_here
from savo_runtime.http.addresses import named_services

__all__ = ["Running", "find_running"]


@dataclass(frozen=True)
class Running:
    services: dict[str, str] = field(default_factory=dict)
    """URLs by name, the gateway's among them; empty when nobody says that anything runs."""
    elsewhere: bool = False
    """In containers of their own, with settings that this shell does not know."""
    here: bool = False
    """`savo up` in this data folder started them."""

    @property
    def gateway(self) -> str | None:
        return self.services.get("gateway")


def find_running(url: str | None) -> Running:
    """`url`: the gateway's, which goes before what is written anywhere. Raises `WrongServicesError`."""
    own = {"gateway": url.rstrip("/")} if url else {}
    if named := named_services():
        return Running(named | own, elsewhere=True)
    up = running_here()
    if up is None or (url and url.rstrip("/") != str(up.get("gateway_url")).rstrip("/")):
        return Running(own)
    # An older `savo up` wrote a service's address with its pid.
    services = {
        name: str(at["url"] if isinstance(at, dict) else at).rstrip("/") for name, at in up["services"].items() if at
    }
    return Running(services | own, here=True)
