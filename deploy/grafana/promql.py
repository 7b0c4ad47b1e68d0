"""PromQL expressions that several panels share."""

from __future__ import annotations

__all__ = ["increase_of", "quantile"]


def increase_of(metric: str, span: str, by: str = "", where: str = "") -> str:
    """The increase of a counter within `span`, summed by labels.

    `increase` ignores the first value of a series, and a counter with labels appears with its first increment: a single
    dead letter would count as 0. Therefore the first value of a series that appeared within `span` is added.
    """
    series = f"{metric}{where}"
    appeared = f"min_over_time({series}[{span}]) unless {series} offset {span}"
    total = f"increase({series}[{span}]) + (({appeared}) or increase({series}[{span}]) * 0)"
    return f"sum by ({by}) ({total})" if by else f"sum({total})"


def quantile(fraction: float, metric: str, span: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram over `span`, by labels, in the unit of the histogram."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({fraction:g}, sum by ({labels}) (rate({metric}_bucket{where}[{span}])))"
