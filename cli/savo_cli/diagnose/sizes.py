"""Bytes as a person reads them."""

from __future__ import annotations

__all__ = ["in_bytes"]


def in_bytes(count: float) -> str:
    """Three digits and a unit of 10³: 981 kB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 99.95 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} GB" if count >= 99.95 else f"{count:.3g} GB"
