"""Sizes in bytes as readable text."""

from __future__ import annotations

__all__ = ["size_text"]


def size_text(count: float) -> str:
    """At most three significant digits below 100 GB, in a decimal unit: 981 kB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 99.95 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} GB" if count >= 99.95 else f"{count:.3g} GB"
