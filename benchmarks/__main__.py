"""`make bench`: every figure beside its peer, measured in this run, as a ratio. `--json` for programs, names to choose some."""

from __future__ import annotations

import importlib
import json
import signal
import sys

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.measuring import Figure

FIGURES = ("scan_round_trip", "telemetry_overhead", "replay_rate", "photo_to_boxes", "added_latency", "serving", "hot_swaps", "vision_memory")


def main(arguments: list[str]) -> int:
    wanted = [name for name in arguments if not name.startswith("-")] or list(FIGURES)
    if unknown := set(wanted) - set(FIGURES):
        sys.stderr.write(f"no benchmark {', '.join(unknown)}; there are {', '.join(FIGURES)}\n")
        return 2
    # So that a benchmark that is ended also ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: list[Figure] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name in progress.track(wanted, description="measuring"):
            found += importlib.import_module(f"benchmarks.{name}").figures()
    if "--json" in arguments:
        sys.stdout.write(json.dumps([figure.as_json() for figure in found], indent=2) + "\n")
    else:
        Console().print(_table(found))
    return 0


def _table(figures: list[Figure]) -> Table:
    table = Table(title="ours beside its peer, in one run; the ratio says how many times better ours is (95 % interval)")
    for heading in ("figure", "ours", "peer", "peer's", "ratio", "note"):
        table.add_column(heading, justify="left" if heading in ("figure", "peer", "note") else "right")
    for row in figures:
        ratio = f"{row.ratio:.2f}× ({row.ratio_lower:.2f}–{row.ratio_upper:.2f})"
        table.add_row(row.name, f"{row.ours:.1f} {row.unit}", row.peer_name, f"{row.peer:.1f} {row.unit}", ratio, row.note)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
