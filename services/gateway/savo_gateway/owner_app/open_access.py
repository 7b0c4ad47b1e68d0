"""Open access: generation 1 of the app without a key (SAVO_APP_ANONYMOUS), within limits by address and a budget."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import structlog

from savo_gateway.access.callers import Mode
from savo_gateway.access.rate_limits import RateLimit
from savo_gateway.access.records import Principal, Scope
from savo_gateway.errors import AppBudgetSpentError, DailyUploadsError
from savo_gateway.owner_app.records import OpenAccessSpending
from savo_gateway.ports import AppScans

__all__ = ["OPEN_ACCESS", "AddressLimits", "DailyBudget", "OpenAccess", "source_of"]

log = structlog.get_logger()

REQUESTS_PER_MINUTE = 120
"""Of one address: four live cameras, each with a frame every two seconds."""
MEGABYTES_PER_DAY = 1000
"""Of one address: about an hour of a live camera."""
MAX_ADDRESSES = 100_000
"""Past this number of addresses in a day, the smallest counts are deleted."""

FIRST_SCAN_USD = 0.002
"""What a scan is taken to cost before the first one of a day is answered."""

OPEN_ACCESS = Principal("open-access", frozenset({Scope.SCANS, Scope.TRAINING}), open_access=True)
"""Every caller without a key, where open access is allowed."""

_IPV6_NETWORK = 64
"""Bits that a household shares."""


def source_of(address: str) -> str:
    """What is counted as one address: an IPv6 network of 64 bits, or the address itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
    return str(parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else str(parsed)


@dataclass(frozen=True)
class AddressLimits:
    """Requests per minute and bytes per UTC day of each address, in the memory of each replica."""

    requests: RateLimit
    clock: Callable[[], datetime]
    bytes_per_day: int = MEGABYTES_PER_DAY * 1_000_000
    _bytes: dict[tuple[date, str], int] = field(default_factory=dict)

    def take(self, address: str, size: int) -> None:
        """Count a request and its body. Raises `TooManyRequestsError` and `DailyUploadsError`."""
        source = source_of(address)
        self.requests.take(source)
        now = self.clock().astimezone(UTC)
        used = self._bytes.get((now.date(), source), 0) + size
        if used > self.bytes_per_day:
            raise DailyUploadsError(self.bytes_per_day, _until_tomorrow(now))
        if len(self._bytes) >= MAX_ADDRESSES:
            self._forget(now.date())
        self._bytes[now.date(), source] = used

    def _forget(self, today: date) -> None:
        kept = sorted((entry for entry in self._bytes.items() if entry[0][0] == today), key=lambda entry: -entry[1])
        self._bytes.clear()
        self._bytes.update(kept[: MAX_ADDRESSES // 2])


@dataclass(frozen=True)
class DailyBudget:
    """Dollars that scans without a key may cost in a UTC day."""

    scans: AppScans
    limit_usd: float
    clock: Callable[[], datetime]

    async def check(self) -> None:
        """Raises `AppBudgetSpentError` where one more scan could exceed the budget."""
        now = self.clock().astimezone(UTC)
        spending = await self.scans.open_access_spending(now.replace(hour=0, minute=0, second=0, microsecond=0))
        if _with_one_more(spending) > self.limit_usd:
            log.warning("app.budget_spent", spent_usd=spending.cost_usd, budget_usd=self.limit_usd)
            raise AppBudgetSpentError(self.limit_usd, _until_tomorrow(now))


@dataclass(frozen=True, kw_only=True)
class OpenAccess:
    """Whether the app gets in without a key, and within which limits."""

    allowed: bool
    limits: AddressLimits
    mode: Mode
    """How all other callers authenticate."""

    def log_at_start(self) -> None:
        """Say in the log how generation 1 of the app gets in."""
        without_sign_in = self.mode is Mode.NONE
        access = "no sign-in" if without_sign_in else "without a key" if self.allowed else "with a key only"
        log.info("app.access", first_generation=access, auth=self.mode.value)


def _with_one_more(spending: OpenAccessSpending) -> float:
    """Dollars with the scans that have no answer yet, and one more, at the mean cost of the day."""
    mean = spending.cost_usd / spending.finished if spending.finished else FIRST_SCAN_USD
    return spending.cost_usd + (spending.queued + 1) * mean


def _until_tomorrow(now: datetime) -> float:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()
