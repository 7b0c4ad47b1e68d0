"""What the phones saw, added up."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from savo_demo.phones import Visit


@dataclass
class Tally:
    """Counts of visits. Latency and cost are the product's own figures for each scan, as the phones were told them."""

    scans: int = 0
    confirmed: int = 0
    corrected: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    served_by: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    _durations: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _costs: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, visit: Visit) -> None:
        if visit.refused:
            self.refused[visit.refused] += 1
            return
        self.scans += 1
        if visit.failed:
            self.failed[visit.failed] += 1
            return
        self.confirmed += visit.confirmed
        self.corrected += visit.corrected
        self.served_by[str(visit.served_by)] += 1
        self.actions.update(edit.action.value for edit in visit.edits)
        self._durations[str(visit.arm)].append(visit.duration_ms)
        self._costs[str(visit.arm)].append(visit.cost_usd)

    def p95_ms(self) -> dict[str, float]:
        """By assigned arm; nearest rank."""
        return {
            arm: round(sorted(values)[max(0, -(-95 * len(values) // 100) - 1)], 1)
            for arm, values in sorted(self._durations.items())
        }

    def cost_usd(self) -> dict[str, float]:
        """Mean a scan, by assigned arm."""
        return {arm: round(sum(values) / len(values), 9) for arm, values in sorted(self._costs.items())}
