"""`python -m benchmarks.without_metrics SERVICE`: the service with metrics that count nothing, to see what counting costs."""

from __future__ import annotations

import sys
from typing import Any

import prometheus_client


class Nothing:
    """Takes every call of a metric."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def labels(self, *_: Any, **__: Any) -> Nothing:
        return self

    def _ignore(self, *_: Any, **__: Any) -> None:
        return None

    inc = dec = set = observe = remove = clear = set_function = _ignore


if __name__ == "__main__":
    for kind in ("Counter", "Gauge", "Histogram"):
        setattr(prometheus_client, kind, Nothing)
    from savo_runtime.__main__ import main

    sys.exit(main())
