"""Merging of a scan's confirmation requests, in order, into the items of `scans.confirmed`.

An edit names an item of the result, or one that the user added before. A request that names any other item is refused
as a whole. An item of the result that no edit names is neither right nor wrong: it stays out of the event, and the
photo counts as not exhaustive. Otherwise the item would become background in val or test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Action, BoxSource, ConfirmedItem, Detection
from savo_gateway.confirmations.records import ConfirmationRequest, ItemEdit, canonical_label
from savo_gateway.errors import NotInAnswerError

__all__ = ["SAME_BOX_IOU", "MergedEdits", "check_fits", "merge_edits"]

SAME_BOX_IOU = 0.98
"""Boxes with at least this overlap are the same box: clients round coordinates."""

SAME_ADDITION_IOU = 0.5

Errors = tuple[tuple[str, str], ...]
"""Pairs of a field and its error."""


@dataclass(frozen=True, kw_only=True)
class MergedEdits:
    """The merged items of all accepted requests."""

    items: tuple[ConfirmedItem, ...]
    detected: tuple[str | None, ...]
    """The label of each item in the result; None for an item that the user added."""
    nothing_missing: bool
    unspoken: tuple[str, ...]
    """Labels of the result that no edit names."""
    refused: Mapping[int, Errors]
    """Errors of the refused requests, by their index."""


@dataclass
class _Entry:
    """An item of the result, or one that the user added, with the newest edit of it."""

    detection: Detection | None
    confirmed: ConfirmedItem | None = None
    edited: bool = False
    """Whether the current request edited it."""

    @property
    def names(self) -> set[str]:
        detected = {_label(self.detection)} if self.detection else set()
        return detected | ({self.confirmed.label} if self.confirmed else set())

    @property
    def is_removed_addition(self) -> bool:
        """Whether the user added the item and removed it again: that says nothing about the detector."""
        removed = self.confirmed is not None and self.confirmed.action is Action.REMOVED
        return removed and self.detection is None

    def overlap(self, bbox: BoundingBox | None) -> float:
        boxes = [item.bbox for item in (self.detection, self.confirmed) if item and item.bbox]
        return max((bbox.iou(own) for own in boxes), default=0.0) if bbox else 0.0

    def can_be_at(self, bbox: BoundingBox | None) -> bool:
        unplaced = bbox is None or self.confirmed is None or self.confirmed.bbox is None
        return unplaced or self.overlap(bbox) >= SAME_ADDITION_IOU


def merge_edits(
    detections: Iterable[Detection] | None,
    served_by: str | None,
    requests: Sequence[ConfirmationRequest],
) -> MergedEdits:
    """`detections`: None while there is no result; then every request is accepted."""
    entries, refused = [_Entry(detection) for detection in detections or ()], dict[int, Errors]()
    nothing_missing = False
    for index, request in enumerate(requests):
        errors = () if detections is None else _errors(entries, request)
        if errors:
            refused[index] = errors
            continue
        entries = _applied(entries, request, served_by)
        nothing_missing = request.nothing_missing
    unspoken = tuple(entry.detection.label for entry in entries if entry.detection and entry.confirmed is None)
    confirmed = [(entry.confirmed, entry.detection) for entry in entries if entry.confirmed is not None]
    return MergedEdits(
        items=tuple(item for item, _ in confirmed),
        detected=tuple(_label(detection) if detection else None for _, detection in confirmed),
        nothing_missing=nothing_missing and not unspoken,
        unspoken=unspoken,
        refused=refused,
    )


def check_fits(
    detections: Iterable[Detection],
    served_by: str | None,
    before: Sequence[ConfirmationRequest],
    request: ConfirmationRequest,
) -> None:
    """Raises `NotInAnswerError` for a request that names an item which is not there after the requests `before` it."""
    detections = tuple(detections)
    if errors := merge_edits(detections, served_by, [*before, request]).refused.get(len(before)):
        items = merge_edits(detections, served_by, before).items if before else ()
        raise NotInAnswerError(
            errors, sorted({_label(detection) for detection in detections} | {item.label for item in items})
        )


def _errors(entries: Sequence[_Entry], request: ConfirmationRequest) -> Errors:
    edits = request.items or ()
    found = _assigned(entries, edits)
    return tuple(
        (f"items.{index}", _reason(entries, edit))
        for index, edit in enumerate(edits)
        if edit.action is not Action.ADDED and index not in found
    )


def _reason(entries: Sequence[_Entry], edit: ItemEdit) -> str:
    name, allowed = edit.target_label, sorted({name for entry in entries for name in entry.names})
    times = sum(name in entry.names for entry in entries)
    if times:
        return f"the answer has {name!r} {times} time{'s' if times > 1 else ''}; this request names it more often"
    choice = f"it has {', '.join(allowed)}" if allowed else "it is empty"
    missed = "send an item that it missed as `added`"
    return f"the answer has no {name!r} that could be {edit.action.value}: {choice}; {missed}"


def _applied(entries: list[_Entry], request: ConfirmationRequest, served_by: str | None) -> list[_Entry]:
    if request.all_correct:
        return _all_kept(entries, served_by)
    return _edited(entries, request.items or (), served_by)


def _all_kept(entries: list[_Entry], served_by: str | None) -> list[_Entry]:
    detections = [entry.detection for entry in entries if entry.detection]
    kept = [ItemEdit(label=detection.label, action=Action.KEPT) for detection in detections]
    return [
        _Entry(detection, _confirmed(edit, detection, served_by))
        for detection, edit in zip(detections, kept, strict=True)
    ]


def _edited(entries: list[_Entry], edits: Sequence[ItemEdit], served_by: str | None) -> list[_Entry]:
    entries = [replace(entry, edited=False) for entry in entries]
    found = _assigned(entries, edits)
    # Additions last: the other edits name entries that were there before.
    for index in sorted(range(len(edits)), key=lambda index: edits[index].action is Action.ADDED):
        edit = edits[index]
        entry = _addition(entries, edit) if edit.action is Action.ADDED else found.get(index)
        if entry is None:
            entry = _Entry(None)
            entries.append(entry)
        entry.confirmed = _confirmed(_relative_to_detection(entry, edit), entry.detection, served_by)
        entry.edited = True
    return [entry for entry in entries if not entry.is_removed_addition]


def _assigned(entries: Sequence[_Entry], edits: Sequence[ItemEdit]) -> dict[int, _Entry]:
    """The entry that each edit names, by the edit's index.

    It is the entry under the edit's box, or another one of the same name where that is assigned already. A maximum
    bipartite matching by augmenting paths (Kuhn 1955), so that as many edits as possible get an entry.
    """
    choices = {index: _candidates(entries, edit) for index, edit in enumerate(edits) if edit.action is not Action.ADDED}
    holders: dict[int, int] = {}
    # A moved item's new box may cover its neighbour's old one. Items that stayed are therefore assigned first, those
    # with a box before those without.
    for index in sorted(choices, key=lambda index: (edits[index].action is Action.MOVED, edits[index].bbox is None)):
        _augment(index, choices, holders, set())
    return {index: entries[entry] for entry, index in holders.items()}


def _candidates(entries: Sequence[_Entry], edit: ItemEdit) -> list[int]:
    """Indexes of the entries that the edit may name, by decreasing overlap."""
    named = [index for index, entry in enumerate(entries) if edit.target_label in entry.names]
    return sorted(named, key=lambda index: -entries[index].overlap(edit.bbox))


def _augment(edit: int, choices: Mapping[int, Sequence[int]], holders: dict[int, int], tried: set[int]) -> bool:
    """Assign an entry to the edit, if necessary by moving other edits to another of their candidates."""
    for entry in choices[edit]:
        if entry not in holders:
            holders[entry] = edit
            return True
    for entry in choices[edit]:
        if entry not in tried:
            tried.add(entry)
            if _augment(holders[entry], choices, holders, tried):
                holders[entry] = edit
                return True
    return False


def _addition(entries: list[_Entry], edit: ItemEdit) -> _Entry | None:
    """The entry of the same addition in an earlier request."""
    additions = (
        entry for entry in entries if entry.detection is None and not entry.edited and edit.label in entry.names
    )
    return next((entry for entry in additions if entry.can_be_at(edit.bbox)), None)


def _relative_to_detection(entry: _Entry, edit: ItemEdit) -> ItemEdit:
    """The edit as a difference from the detection, independent of earlier edits.

    A corrected item that is later kept is still a correction: the detector was wrong.
    """
    bbox = edit.bbox or (entry.confirmed.bbox if entry.confirmed else None)
    if edit.action in (Action.ADDED, Action.REMOVED):
        return edit
    if entry.detection is None:
        # An item that the user added stays an addition when it is renamed, moved or kept later.
        was_added = entry.confirmed is not None and entry.confirmed.action is Action.ADDED
        return edit.model_copy(update={"action": Action.ADDED, "from_label": None, "bbox": bbox}) if was_added else edit
    detected = _label(entry.detection)
    if edit.action is Action.RENAMED and edit.label == detected:
        moved = edit.bbox and entry.detection.bbox and edit.bbox.iou(entry.detection.bbox) < SAME_BOX_IOU
        return edit.model_copy(update={"action": Action.MOVED if moved else Action.KEPT, "from_label": None})
    if edit.action is not Action.RENAMED and edit.label != detected:
        return edit.model_copy(update={"action": Action.RENAMED, "from_label": detected, "bbox": bbox})
    return edit


def _confirmed(edit: ItemEdit, detection: Detection | None, served_by: str | None) -> ConfirmedItem:
    bbox, source = _box(edit, detection, served_by)
    return ConfirmedItem(
        label=edit.label,
        action=edit.action,
        bbox=bbox,
        from_label=edit.from_label if edit.action is Action.RENAMED else None,
        quantity_estimate=edit.quantity_estimate or (detection.quantity_estimate if detection else None),
        storage_hint=edit.storage_hint or (detection.storage_hint if detection else None),
        box_source=source,
        confidence=detection.confidence if detection else None,
    )


def _box(
    edit: ItemEdit,
    detection: Detection | None,
    served_by: str | None,
) -> tuple[BoundingBox | None, str | None]:
    """The valid box, and who drew it."""
    if edit.bbox and (edit.action in (Action.MOVED, Action.ADDED) or _is_redrawn(edit, detection)):
        return edit.bbox, BoxSource.USER
    bbox = detection.bbox if detection else edit.bbox
    return bbox, served_by if bbox else None


def _is_redrawn(edit: ItemEdit, detection: Detection | None) -> bool:
    """Whether the user drew the box: where the detector gave none, or another box with a new name."""
    if detection is None or edit.bbox is None:
        return False
    return detection.bbox is None or (edit.action is Action.RENAMED and edit.bbox.iou(detection.bbox) < SAME_BOX_IOU)


def _label(detection: Detection) -> str:
    """The catalogue's label. The name that a model gives may be a synonym by now."""
    try:
        return canonical_label(detection.label)
    except ValueError:
        return detection.label
