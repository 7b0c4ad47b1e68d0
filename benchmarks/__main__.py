"""Command `python -m benchmarks`: measures each figure and its peer in one run, and prints the ratio."""

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

from benchmarks.measurement import Figure


@dataclass(frozen=True)
class Benchmark:
    """A module of this package with a function `figures()`. A long one runs only with --long or by name."""

    name: str
    summary: str
    long: bool = False


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("scan_round_trip", "a scan through Kafka and back; peer: bare aiokafka"),
        Benchmark("replay_rate", "events per second of tail and replay; peer: bare clients"),
        Benchmark("photo_to_boxes", "photos per second; peers: ultralytics and a plain loop"),
        Benchmark("photo_quality", "the check of a photo's quality; peer: mean, percentile and Laplacian"),
        Benchmark("added_latency", "time that a scan adds to its detection"),
        Benchmark("freeze_from_s3", "freeze and bring samples from S3; peer: a loop (--long: 20,000, and memory)"),
        Benchmark("serving", "served scans; peers: LitServe and BentoML (--long: with every engine)"),
        Benchmark("export_samples", "200 MB of samples to an archive (--long: 2 GB); peer: tar -cf"),
        Benchmark("telemetry_overhead", "a scan with metrics, logs and traces; peer: the same without", long=True),
        Benchmark("hot_swaps", "pause of model swaps under load", long=True),
        Benchmark("label_audit", "injected label errors in the top tenth of an audit; peer: a random order", long=True),
        Benchmark("vision_memory", "memory of a vision replica over thousands of scans", long=True),
    )
}


def main(arguments: list[str]) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark {', '.join(unknown)}; the benchmarks are {', '.join(BENCHMARKS)}")
    if options.long:
        os.environ["BENCH_LONG"] = "1"  # read when a benchmark is imported
    chosen = options.names or [
        benchmark.name for benchmark in BENCHMARKS.values() if options.long or not benchmark.long
    ]
    # SystemExit runs the cleanup of the benchmark, which ends the processes that it started.
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
        f"  {benchmark.name:<20}{benchmark.summary}{' (--long)' if benchmark.long else ''}"
        for benchmark in BENCHMARKS.values()
    )
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures each figure and its peer in one run, and prints the ratio.",
        epilog=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="benchmarks to run; without a name, all that are not long"
    )
    parser.add_argument(
        "--long",
        action="store_true",
        help="run the long benchmarks too, with four times the rounds: intervals are half as wide",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    return parser


def _table(figures: list[Figure]) -> Table:
    table = Table(title="ours and its peer in one run; the ratio is how many times better ours is (95 % interval)")
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
