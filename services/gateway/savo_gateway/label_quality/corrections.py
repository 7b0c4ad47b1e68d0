"""Corrections by people: which label of a model's answer becomes which, by model version and week.

The sums form a confusion matrix. An item without a label on one side was missed by the model, or removed by the user.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from savo_contracts.scans import Action
from savo_gateway.confirmations.edit_merging import MergedEdits
from savo_gateway.label_quality.records import Correction, CorrectionCount, Corrections
from savo_gateway.ports import CorrectionStore

__all__ = ["ShowCorrections", "transitions", "week_of"]

Transition = tuple[str | None, str | None]
"""Label in the answer and label after the confirmation. None: the model missed the item, or the user removed it."""


@dataclass(frozen=True)
class ShowCorrections:
    """The use case of /training/corrections."""

    store: CorrectionStore
    clock: Callable[[], datetime]

    async def __call__(self, *, weeks: int, limit: int) -> Corrections:
        now = self.clock()
        shown = tuple(week_of(now - timedelta(weeks=back)) for back in range(weeks - 1, -1, -1))
        counts = await self.store.corrections_since(shown[0])
        return Corrections(weeks=shown, corrections=tuple(_rows(counts, shown)[:limit]))


def transitions(edits: MergedEdits) -> Counter[Transition]:
    """Number of items by transition. Items that were kept or moved have the same label on both sides."""
    confirmed = (None if item.action is Action.REMOVED else item.label for item in edits.items)
    return Counter(zip(edits.detected, confirmed, strict=True))


def week_of(moment: datetime) -> str:
    """ISO week in UTC. Weeks are in order as texts."""
    year, week, _ = moment.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02}"


def _rows(counts: Sequence[CorrectionCount], weeks: Sequence[str]) -> list[Correction]:
    items: dict[tuple[str, Transition], Counter[str]] = defaultdict(Counter)
    totals: dict[tuple[str, Transition], Counter[str]] = defaultdict(Counter)
    for count in counts:
        transition = (count.from_label, count.label)
        items[count.model_version, transition][count.week] += count.items
        for base in ((count.from_label, None), (None, count.label)):
            totals[count.model_version, base][count.week] += count.items
    corrected = {key: by_week for key, by_week in items.items() if key[1][0] != key[1][1] and by_week.total()}
    rows = [_row(key, by_week, totals[key[0], _base(key[1])], weeks) for key, by_week in corrected.items()]
    return sorted(rows, key=lambda row: (-row.items, row.model_version, row.from_label or "", row.label or ""))


def _base(transition: Transition) -> Transition:
    """What the items of a transition are a share of: the detections of its first label, or the items of its second."""
    from_label, label = transition
    return (from_label, None) if from_label is not None else (None, label)


def _row(
    key: tuple[str, Transition], by_week: Mapping[str, int], of: Mapping[str, int], weeks: Sequence[str]
) -> Correction:
    version, (from_label, label) = key
    older, newer = weeks[: len(weeks) // 2], weeks[len(weeks) // 2 :]
    before, after = _share(by_week, of, older), _share(by_week, of, newer)
    return Correction(
        model_version=version,
        from_label=from_label,
        label=label,
        items=sum(by_week.values()),
        of=sum(of.values()),
        share=_share(by_week, of, weeks) or 0.0,
        trend=None if before is None or after is None else round(after - before, 4),
        by_week={week: by_week[week] for week in weeks if by_week.get(week)},
    )


def _share(by_week: Mapping[str, int], of: Mapping[str, int], weeks: Sequence[str]) -> float | None:
    total = sum(of.get(week, 0) for week in weeks)
    return round(sum(by_week.get(week, 0) for week in weeks) / total, 4) if total else None
