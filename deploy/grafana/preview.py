"""Preview of the dashboards as pictures: `python -m deploy.grafana.preview PROMETHEUS_URL FOLDER [--minutes 15]`.

The queries run on a real Prometheus; the drawing differs from Grafana's. It needs matplotlib, from the extra `yolo`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import httpx2
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deploy.grafana.__main__ import dashboards

__all__ = ["draw", "main"]

COLUMNS = 24
ROW_INCHES = 0.42
STEPS = 120


def main() -> int:
    """Write a picture of each dashboard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=int, default=15)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, text in dashboards().items():
        draw(json.loads(text), arguments.url, arguments.minutes).savefig(
            arguments.folder / f"{Path(name).stem}.png", dpi=70
        )
    print(f"pictures of {', '.join(dashboards())} in {arguments.folder}")
    return 0


def draw(board: dict[str, Any], url: str, minutes: int) -> Figure:
    """Draw a dashboard with the last `minutes` of the Prometheus at `url`."""
    mpl.rcParams["font.size"] = 8
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    figure = Figure(figsize=(18, rows * ROW_INCHES))
    for panel in board["panels"]:
        place = panel["gridPos"]
        box = (
            place["x"] / COLUMNS + 0.03,
            1 - (place["y"] + place["h"] - 0.9) / rows,
            place["w"] / COLUMNS - 0.045,
            (place["h"] - 2.1) / rows,
        )
        if panel["type"] == "row":
            figure.text(0.01, 1 - (place["y"] + 0.7) / rows, panel["title"], fontsize=12, weight="bold")
            continue
        axes = figure.add_axes(box)
        axes.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults'].get('unit', '')})", loc="left", fontsize=9)
        _SHAPES[panel["type"]](axes, panel, url, minutes)
    return figure


def _lines(axes: Axes, panel: dict[str, Any], url: str, minutes: int) -> None:
    end = time.time()
    for target in panel["targets"]:
        parameters = {
            "query": _filled(target["expr"], minutes),
            "start": end - minutes * 60,
            "end": end,
            "step": minutes * 60 / STEPS,
        }
        for series in _query(f"{url}/api/v1/query_range", parameters):
            times, values = zip(*((float(at) - end, float(value)) for at, value in series["values"]), strict=True)
            axes.plot([moment / 60 for moment in times], values, label=_legend(target, series), linewidth=1)
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ()):
        if step["value"] is not None:
            axes.axhline(step["value"], color="red", linestyle="--", linewidth=0.8)
    axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=6, loc="upper left", ncols=2)


def _bars(axes: Axes, panel: dict[str, Any], url: str, minutes: int) -> None:
    found = _now(panel, url, minutes)
    axes.barh([name for name, _ in found][::-1], [value for _, value in found][::-1])


def _number(axes: Axes, panel: dict[str, Any], url: str, minutes: int) -> None:
    axes.set_axis_off()
    text = "   ".join(f"{name} {value:.4g}".strip() for name, value in _now(panel, url, minutes)) or "no data"
    axes.text(0.0, 0.3, text, fontsize=13 if len(text) > 12 else 20)


_SHAPES = {"timeseries": _lines, "bargauge": _bars, "stat": _number}


def _now(panel: dict[str, Any], url: str, minutes: int) -> list[tuple[str, float]]:
    found = [
        (_legend(target, series), float(series["value"][1]))
        for target in panel["targets"]
        for series in _query(f"{url}/api/v1/query", {"query": _filled(target["expr"], minutes)})
    ]
    return [(name, value) for name, value in found if math.isfinite(value)]


def _query(url: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    answer = httpx2.get(url, params=parameters, trust_env=False, timeout=30).raise_for_status().json()
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def _filled(expression: str, minutes: int) -> str:
    """An expression with its dashboard variables set to the last `minutes` and all values."""
    filled = re.sub(r"\$__range\b|\$window\b", f"{minutes}m", expression).replace("$__rate_interval", "1m")
    return re.sub(r"\$(topic|figure)\b", ".*", filled)


def _legend(target: dict[str, Any], series: dict[str, Any]) -> str:
    return re.sub(r"{{(\w+)}}", lambda label: str(series["metric"].get(label[1], "")), target.get("legendFormat", ""))


if __name__ == "__main__":
    raise SystemExit(main())
