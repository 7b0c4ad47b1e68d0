"""Report of a demo run: its summary, printed as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from savo_contracts.figures import REFERENCE_COST_USD
from savo_demo.plan import Plan
from savo_demo.product import Product
from savo_demo.stages.totals import Totals
from savo_demo.summary import Samples, ServedBy, Summary, model_summary


def summary_of(
    totals: Totals,
    splits: Mapping[str, int],
    refused: Mapping[str, int],
    runs: Sequence[Mapping[str, Any]],
    shares: Sequence[float],
    seconds: Mapping[str, float],
) -> Summary:
    """Assemble the summary from the phones' totals and the product's figures; `seconds` are by stage."""
    return Summary(
        scans=totals.scans,
        confirmed=totals.confirmed,
        corrected=totals.corrected,
        samples=Samples(**splits),
        refused=dict(refused),
        models=[line for run in runs if (line := model_summary(run))],
        shares=list(shares),
        served_by=ServedBy(custom=totals.served_by["custom"], google=totals.served_by["google"]),
        p95_ms=totals.p95_ms(),
        cost_usd=totals.cost_usd(),
        seconds=dict(seconds),
    )


def print_summary(console: Console, summary: Summary, plan: Plan, product: Product) -> None:
    """Print the summary, its file and the address of a product that keeps running."""
    table = Table(title="Results", show_header=False, title_style="bold")
    for name, value in rows(summary):
        table.add_row(name, value)
    console.print(table)
    console.print(f"written to {plan.summary}", highlight=False, soft_wrap=True)
    if plan.keep:
        pages = f"{product.url} (page), {product.url}/training/stats, {product.url}/docs"
        console.print(f"still running: {pages}; end it with: kill {product.pid}", highlight=False, soft_wrap=True)
    else:
        console.print("DEMO_KEEP=1 keeps it running, with its web page", highlight=False)


def rows(summary: Summary) -> list[tuple[str, str]]:
    """Rows of the table: name and figure."""
    samples = summary.samples
    lines = [
        ("scans", f"{summary.scans}, of which {summary.confirmed} confirmed, {summary.corrected} with a correction"),
        ("samples", f"{samples.train} train, {samples.val} val, {samples.test} test"),
        ("refused", ", ".join(f"{reason} {count}" for reason, count in sorted(summary.refused.items())) or "none"),
    ]
    for model in summary.models:
        lines.append(
            (
                f"model {model.version}",
                f"mAP@0.5 {model.map50:.3f}, lower bound {model.map50_lower:.3f}: {model.verdict}",
            )
        )
        lines += [("", reason) for reason in model.reasons]
    lines += [
        ("share of traffic", " → ".join(f"{share:.0%}" for share in summary.shares) or "no rollout"),
        ("served by", f"custom {summary.served_by.custom}, google (its stand-in) {summary.served_by.google}"),
        ("p95", ", ".join(f"{arm} {value:.0f} ms" for arm, value in summary.p95_ms.items())),
        (
            "cost of a scan",
            ", ".join(f"{arm} ${value:.2g}" for arm, value in summary.cost_usd.items())
            + f" (the reference figure is ${REFERENCE_COST_USD:.2f})",
        ),
        (
            "time",
            f"{sum(summary.seconds.values()):.0f} s: "
            + ", ".join(f"{stage} {value:.0f}" for stage, value in summary.seconds.items()),
        ),
    ]
    return lines
