"""Expressions that more than one panel needs."""

from __future__ import annotations

__all__ = ["grown", "quantile"]


def grown(metric: str, span: str, by: str = "", where: str = "") -> str:
    """How much a counter grew within `span`, summed by labels.

    `increase` alone does not see the first count of a series, and a counter with labels appears with its first count: one dead letter would be
    none. So the value with which a series appeared within the span is added.
    """
    series = f"{metric}{where}"
    appeared = f"min_over_time({series}[{span}]) unless {series} offset {span}"
    total = f"increase({series}[{span}]) + (({appeared}) or increase({series}[{span}]) * 0)"
    return f"sum by ({by}) ({total})" if by else f"sum({total})"


def quantile(fraction: float, metric: str, span: str, by: str = "", where: str = "") -> str:
    """Of a histogram, in its unit."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({fraction:g}, sum by ({labels}) (rate({metric}_bucket{where}[{span}])))"
