"""All that was said about a scan, in order, over what was detected.

A word speaks of items that are there: of the answer, or added by the user before. One that speaks of anything else is
left out whole. An item of the answer that nobody spoke of is neither right nor wrong: it stays out of the event, and the
photo counts as not exhaustive, so that it becomes no silent background in val or test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Action, BoxSource, ConfirmedItem, Detection, ServedBy
from savo_gateway.confirmations.confirmation import ConfirmationRequest, ItemEdit, canonical
from savo_gateway.errors import NotInAnswerError

__all__ = ["SAME_BOX_IOU", "Settled", "check_possible", "settle"]

SAME_BOX_IOU = 0.98
"""Above this two boxes are one: clients round what they show."""

SAME_ADDITION_IOU = 0.5

Flaws = tuple[tuple[str, str], ...]
"""Field and what is wrong with it."""


@dataclass(frozen=True)
class Settled:
    """What counts of all that was said."""

    items: tuple[ConfirmedItem, ...]
    nothing_missing: bool
    unspoken: tuple[str, ...]
    """Labels of the answer that nobody spoke of."""
    refused: Mapping[int, Flaws]
    """By its place among the requests, why a word does not count."""


@dataclass
class _Entry:
    """An item of the answer, or one the user added, and the last word on it."""

    seen: Detection | None
    said: ConfirmedItem | None = None
    touched: bool = False

    @property
    def names(self) -> set[str]:
        return ({_label(self.seen)} if self.seen else set()) | ({self.said.label} if self.said else set())

    def overlap(self, bbox: BoundingBox | None) -> float:
        boxes = [item.bbox for item in (self.seen, self.said) if item and item.bbox]
        return max((bbox.iou(own) for own in boxes), default=0.0) if bbox else 0.0

    def may_be_at(self, bbox: BoundingBox | None) -> bool:
        nowhere = bbox is None or self.said is None or self.said.bbox is None
        return nowhere or self.overlap(bbox) >= SAME_ADDITION_IOU


def settle(detections: Iterable[Detection] | None, served_by: ServedBy | None, requests: Sequence[ConfirmationRequest]) -> Settled:
    """`detections` None: there is no answer yet, so nothing can be held against it."""
    entries, refused = [_Entry(seen) for seen in detections or ()], dict[int, Flaws]()
    nothing_missing = False
    for place, request in enumerate(requests):
        flaws = () if detections is None else _flaws(entries, request)
        if flaws:
            refused[place] = flaws
            continue
        entries = _all_kept(entries, served_by) if request.all_correct else _edited(entries, request.items or (), served_by)
        nothing_missing = request.nothing_missing
    unspoken = tuple(entry.seen.label for entry in entries if entry.seen and entry.said is None)
    items = tuple(entry.said for entry in entries if entry.said is not None)
    return Settled(items, nothing_missing and not unspoken, unspoken, refused)


def check_possible(detections: Iterable[Detection], served_by: ServedBy | None, before: Sequence[ConfirmationRequest], request: ConfirmationRequest) -> None:
    """Raises `NotInAnswerError` for a word that speaks of what is not there."""
    detections = tuple(detections)
    said = [*before, request]
    if flaws := settle(detections, served_by, said).refused.get(len(before)):
        items = settle(detections, served_by, before).items if before else ()
        raise NotInAnswerError(flaws, sorted({_label(seen) for seen in detections} | {item.label for item in items}))


def _flaws(entries: Sequence[_Entry], request: ConfirmationRequest) -> Flaws:
    edits = request.items or ()
    found = _assigned(entries, edits)
    return tuple((f"items.{place}", _why(entries, edit)) for place, edit in enumerate(edits) if edit.action is not Action.ADDED and place not in found)


def _why(entries: Sequence[_Entry], edit: ItemEdit) -> str:
    name, allowed = edit.spoken_of, sorted({name for entry in entries for name in entry.names})
    times = sum(name in entry.names for entry in entries)
    if times:
        return f"the answer has {name!r} {times} time{'s' if times > 1 else ''}, and more of them are named here"
    choice = f"it has {', '.join(allowed)}" if allowed else "it is empty"
    return f"the answer has no {name!r} that could be {edit.action.value}: {choice}; what it missed is `added`"


def _all_kept(entries: list[_Entry], served_by: ServedBy | None) -> list[_Entry]:
    kept = [entry.seen for entry in entries if entry.seen]
    return [_Entry(seen, _said(ItemEdit(label=seen.label, action=Action.KEPT), seen, served_by)) for seen in kept]


def _edited(entries: list[_Entry], edits: Sequence[ItemEdit], served_by: ServedBy | None) -> list[_Entry]:
    entries = [replace(entry, touched=False) for entry in entries]
    found = _assigned(entries, edits)
    for place in sorted(range(len(edits)), key=lambda place: edits[place].action is Action.ADDED):
        edit = edits[place]
        entry = _addition(entries, edit) if edit.action is Action.ADDED else found.get(place)
        if entry is None:
            entry = _Entry(None)
            entries.append(entry)
        entry.said, entry.touched = _said(_compared(entry, edit), entry.seen, served_by), True
    return [entry for entry in entries if not _taken_back(entry)]


def _assigned(entries: Sequence[_Entry], edits: Sequence[ItemEdit]) -> dict[int, _Entry]:
    """Which entry each edit speaks of: the one under its box, or another of its name where that is taken (augmenting paths, Kuhn 1955)."""
    wishes = {place: _wished(entries, edit) for place, edit in enumerate(edits) if edit.action is not Action.ADDED}
    holders: dict[int, int] = {}
    # A moved item's new box may lie over its neighbour's old one, so those that stayed choose first; of them, those that say where they are.
    for place in sorted(wishes, key=lambda place: (edits[place].action is Action.MOVED, edits[place].bbox is None)):
        _seat(place, wishes, holders, set())
    return {place: entries[seat] for seat, place in holders.items()}


def _wished(entries: Sequence[_Entry], edit: ItemEdit) -> list[int]:
    """Places of the entries that the edit may mean, the likeliest first."""
    meant = [place for place, entry in enumerate(entries) if edit.spoken_of in entry.names]
    return sorted(meant, key=lambda place: -entries[place].overlap(edit.bbox))


def _seat(place: int, wishes: Mapping[int, Sequence[int]], holders: dict[int, int], tried: set[int]) -> bool:
    for seat in wishes[place]:
        if seat not in holders:
            holders[seat] = place
            return True
    for seat in wishes[place]:
        if seat not in tried:
            tried.add(seat)
            if _seat(holders[seat], wishes, holders, tried):
                holders[seat] = place
                return True
    return False


def _addition(entries: list[_Entry], edit: ItemEdit) -> _Entry | None:
    """The same addition, said again."""
    additions = (entry for entry in entries if entry.seen is None and not entry.touched and edit.label in entry.names)
    return next((entry for entry in additions if entry.may_be_at(edit.bbox)), None)


def _compared(entry: _Entry, edit: ItemEdit) -> ItemEdit:
    """The edit against what was detected, whatever was said in between: a correction that is kept is no hit of the detector's."""
    bbox = edit.bbox or (entry.said.bbox if entry.said else None)
    if edit.action in (Action.ADDED, Action.REMOVED):
        return edit
    if entry.seen is None:
        # What the user added stays added, however it is renamed, moved or kept later.
        was_added = entry.said is not None and entry.said.action is Action.ADDED
        return edit.model_copy(update={"action": Action.ADDED, "from_label": None, "bbox": bbox}) if was_added else edit
    detected = _label(entry.seen)
    if edit.action is Action.RENAMED and edit.label == detected:
        moved = edit.bbox and entry.seen.bbox and edit.bbox.iou(entry.seen.bbox) < SAME_BOX_IOU
        return edit.model_copy(update={"action": Action.MOVED if moved else Action.KEPT, "from_label": None})
    if edit.action is not Action.RENAMED and edit.label != detected:
        return edit.model_copy(update={"action": Action.RENAMED, "from_label": detected, "bbox": bbox})
    return edit


def _taken_back(entry: _Entry) -> bool:
    """An addition that was removed again says nothing about the detector."""
    return entry.seen is None and entry.said is not None and entry.said.action is Action.REMOVED


def _said(edit: ItemEdit, seen: Detection | None, served_by: ServedBy | None) -> ConfirmedItem:
    bbox, source = _box(edit, seen, served_by)
    return ConfirmedItem(
        label=edit.label,
        action=edit.action,
        bbox=bbox,
        from_label=edit.from_label if edit.action is Action.RENAMED else None,
        quantity_estimate=edit.quantity_estimate or (seen.quantity_estimate if seen else None),
        storage_hint=edit.storage_hint or (seen.storage_hint if seen else None),
        box_source=source,
        confidence=seen.confidence if seen else None,
    )


def _box(edit: ItemEdit, seen: Detection | None, served_by: ServedBy | None) -> tuple[BoundingBox | None, BoxSource | None]:
    """The box that counts now, and who drew it."""
    if edit.bbox and (edit.action in (Action.MOVED, Action.ADDED) or _drawn_anew(edit, seen)):
        return edit.bbox, BoxSource.USER
    bbox = seen.bbox if seen else edit.bbox
    return bbox, BoxSource(served_by.value) if bbox and served_by else None


def _drawn_anew(edit: ItemEdit, seen: Detection | None) -> bool:
    """A box where the detector gave none, or another one beside the new name."""
    if seen is None or edit.bbox is None:
        return False
    return seen.bbox is None or (edit.action is Action.RENAMED and edit.bbox.iou(seen.bbox) < SAME_BOX_IOU)


def _label(seen: Detection) -> str:
    """A model may still say a name that the catalogue has made a synonym of another since."""
    try:
        return canonical(seen.label)
    except ValueError:
        return seen.label
