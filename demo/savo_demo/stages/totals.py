"""Totals of the phones' scans: counts, latencies and costs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from savo_demo.simulated_users import ScanOutcome


@dataclass
class Totals:
    """Sums over scan outcomes. Latency and cost are those that the gateway reports for each scan."""

    scans: int = 0
    confirmed: int = 0
    corrected: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    served_by: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    _durations: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _costs: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, outcome: ScanOutcome) -> None:
        if outcome.refused:
            self.refused[outcome.refused] += 1
            return
        self.scans += 1
        if outcome.failed:
            self.failed[outcome.failed] += 1
            return
        self.confirmed += outcome.confirmed
        self.corrected += outcome.corrected
        self.served_by[str(outcome.served_by)] += 1
        self.actions.update(edit.action.value for edit in outcome.edits)
        self._durations[str(outcome.arm)].append(outcome.duration_ms)
        self._costs[str(outcome.arm)].append(outcome.cost_usd)

    def p95_ms(self) -> dict[str, float]:
        """95th percentile of the latency by assigned arm, nearest rank."""
        return {
            arm: round(sorted(values)[max(0, -(-95 * len(values) // 100) - 1)], 1)
            for arm, values in sorted(self._durations.items())
        }

    def cost_usd(self) -> dict[str, float]:
        """Mean cost of a scan by assigned arm."""
        return {arm: round(sum(values) / len(values), 9) for arm, values in sorted(self._costs.items())}
