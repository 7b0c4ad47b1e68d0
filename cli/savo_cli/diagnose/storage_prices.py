"""Prices of object storage by provider, as the product owner's guide lists them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AWS_S3",
    "CLOUDFLARE_R2",
    "RECOMMENDED",
    "RENDER_DISK",
    "STORAGE_PROVIDERS",
    "StorageCost",
    "StorageProvider",
]


@dataclass(frozen=True)
class StorageCost:
    """US dollars a month."""

    storage: float
    traffic_out: float

    @property
    def total(self) -> float:
        return self.storage + self.traffic_out


@dataclass(frozen=True)
class StorageProvider:
    """A place for the data set, with its prices. GB are 10⁹ bytes."""

    name: str
    usd_per_gb_month: float
    usd_per_gb_out: float = 0.0
    """0: traffic out is free."""

    def monthly_cost(self, stored_gb: float, out_gb: float) -> StorageCost:
        """Of `stored_gb` kept for a month, from which `out_gb` are read."""
        return StorageCost(stored_gb * self.usd_per_gb_month, out_gb * self.usd_per_gb_out)


RENDER_DISK = StorageProvider("Render Disk", 1.0)
CLOUDFLARE_R2 = StorageProvider("Cloudflare R2", 0.015)
AWS_S3 = StorageProvider("AWS S3", 0.023, 0.09)

STORAGE_PROVIDERS = (RENDER_DISK, CLOUDFLARE_R2, AWS_S3)
"""In the guide's order."""
RECOMMENDED = CLOUDFLARE_R2
