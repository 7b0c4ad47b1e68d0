"""`python -m benchmarks.without_metrics SERVICE`: a service with metrics that count nothing."""

from __future__ import annotations

import sys
from typing import Any

import prometheus_client


class NoMetric:
    """A metric whose methods do nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def labels(self, *_: Any, **__: Any) -> NoMetric:
        return self

    def _ignore(self, *_: Any, **__: Any) -> None:
        return None

    inc = dec = set = observe = remove = clear = set_function = _ignore


if __name__ == "__main__":
    for kind in ("Counter", "Gauge", "Histogram"):
        setattr(prometheus_client, kind, NoMetric)
    from savo_runtime.__main__ import main

    sys.exit(main())
