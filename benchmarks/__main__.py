"""`make bench` and `make bench-long`: every figure beside its peer, measured in this run, as a ratio."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.measuring import Figure


@dataclass(frozen=True)
class Benchmark:
    """A module of this package whose `figures()` measures; a long one runs in `make bench-long` or by name."""

    name: str
    sentence: str
    long: bool = False


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("scan_round_trip", "a scan through Kafka and back, beside bare aiokafka"),
        Benchmark("replay_rate", "events a second of tail and replay, beside bare clients"),
        Benchmark("photo_to_boxes", "photos a second, beside ultralytics and a plain loop"),
        Benchmark("added_latency", "what a scan adds to its detection"),
        Benchmark("serving", "served scans, beside LitServe and BentoML (--long: with every engine)"),
        Benchmark("telemetry_overhead", "a scan with metrics, logs and traces, beside one without", long=True),
        Benchmark("hot_swaps", "the pause of model swaps under load", long=True),
        Benchmark("vision_memory", "memory of a vision replica over thousands of scans", long=True),
    )
}


def main(words: list[str]) -> int:
    parser = _parser()
    options = parser.parse_args(words)
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.long:
        os.environ["BENCH_LONG"] = "1"  # read when a benchmark is imported
    chosen = options.names or [
        benchmark.name for benchmark in BENCHMARKS.values() if options.long or not benchmark.long
    ]
    # So that a benchmark that is ended also ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures: list[Figure] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name in progress.track(chosen, description="measuring"):
            began = time.monotonic()
            figures += importlib.import_module(f"benchmarks.{name}").figures()
            progress.console.print(f"{name}: measured in {time.monotonic() - began:.0f} s")
    if options.json:
        sys.stdout.write(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")
    else:
        Console().print(_table(figures))
    return 0


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(
        f"  {each.name:<20}{each.sentence}{' (--long)' if each.long else ''}" for each in BENCHMARKS.values()
    )
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="measure these alone; without a name, all that are not long"
    )
    parser.add_argument(
        "--long", action="store_true", help="the long ones too, and four times the rounds: intervals half as wide"
    )
    parser.add_argument("--json", action="store_true", help="figures for programs instead of a table")
    return parser


def _table(figures: list[Figure]) -> Table:
    table = Table(
        title="ours beside its peer, in one run; the ratio says how many times better ours is (95 % interval)"
    )
    for heading in ("figure", "ours", "peer", "peer's", "ratio", "note"):
        table.add_column(heading, justify="left" if heading in ("figure", "peer", "note") else "right")
    for row in figures:
        ratio = f"{row.ratio:.2f}× ({row.ratio_lower:.2f}–{row.ratio_upper:.2f})"
        table.add_row(
            row.name, f"{row.ours:.1f} {row.unit}", row.peer_name, f"{row.peer:.1f} {row.unit}", ratio, row.note
        )
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
