"""All confirmation requests of a scan, in order, merged over what was detected.

An edit names an item of the result, or one that the user added before. A request that names anything else is refused
whole. An item of the result that no edit names is neither right nor wrong: it stays out of the event, and the photo
counts as not exhaustive, so that the item becomes no silent background in val or test.
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
"""Above this two boxes are one: clients round what they show."""

SAME_ADDITION_IOU = 0.5

Errors = tuple[tuple[str, str], ...]
"""Field and what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class MergedEdits:
    """What counts of all requests."""

    items: tuple[ConfirmedItem, ...]
    nothing_missing: bool
    unspoken: tuple[str, ...]
    """Labels of the result that no edit names."""
    refused: Mapping[int, Errors]
    """By its index among the requests, why one does not count."""


@dataclass
class _Entry:
    """An item of the result, or one that the user added, with the newest edit of it."""

    detection: Detection | None
    confirmed: ConfirmedItem | None = None
    edited: bool = False
    """By the request at hand."""

    @property
    def names(self) -> set[str]:
        detected = {_label(self.detection)} if self.detection else set()
        return detected | ({self.confirmed.label} if self.confirmed else set())

    @property
    def is_removed_addition(self) -> bool:
        """An addition that was removed again tells nothing about the detector."""
        removed = self.confirmed is not None and self.confirmed.action is Action.REMOVED
        return removed and self.detection is None

    def overlap(self, bbox: BoundingBox | None) -> float:
        boxes = [item.bbox for item in (self.detection, self.confirmed) if item and item.bbox]
        return max((bbox.iou(own) for own in boxes), default=0.0) if bbox else 0.0

    def can_be_at(self, bbox: BoundingBox | None) -> bool:
        nowhere = bbox is None or self.confirmed is None or self.confirmed.bbox is None
        return nowhere or self.overlap(bbox) >= SAME_ADDITION_IOU


def merge_edits(
    detections: Iterable[Detection] | None,
    served_by: str | None,
    requests: Sequence[ConfirmationRequest],
) -> MergedEdits:
    """`detections` None: there is no result yet, so that every request is taken."""
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
    items = tuple(entry.confirmed for entry in entries if entry.confirmed is not None)
    return MergedEdits(
        items=items,
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
    """Raises `NotInAnswerError` for a request that names what is not there, after the requests `before` it."""
    detections = tuple(detections)
    if errors := merge_edits(detections, served_by, [*before, request]).refused.get(len(before)):
        items = merge_edits(detections, served_by, before).items if before else ()
        raise NotInAnswerError(errors, sorted({_label(seen) for seen in detections} | {item.label for item in items}))


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
        return f"the answer has {name!r} {times} time{'s' if times > 1 else ''}, and more of them are named here"
    choice = f"it has {', '.join(allowed)}" if allowed else "it is empty"
    return f"the answer has no {name!r} that could be {edit.action.value}: {choice}; what it missed is `added`"


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
    """By an edit's index, the entry that it names: the one under its box, or another of its name where that is taken.

    A maximum bipartite matching by augmenting paths (Kuhn 1955): as many edits as possible find an entry.
    """
    choices = {index: _candidates(entries, edit) for index, edit in enumerate(edits) if edit.action is not Action.ADDED}
    holders: dict[int, int] = {}
    # A moved item's new box may lie over its neighbour's old one, so those that stayed choose first; of them, those
    # that have a box.
    for index in sorted(choices, key=lambda index: (edits[index].action is Action.MOVED, edits[index].bbox is None)):
        _augment(index, choices, holders, set())
    return {index: entries[entry] for entry, index in holders.items()}


def _candidates(entries: Sequence[_Entry], edit: ItemEdit) -> list[int]:
    """Indexes of the entries that the edit may name, the likeliest first."""
    named = [index for index, entry in enumerate(entries) if edit.target_label in entry.names]
    return sorted(named, key=lambda index: -entries[index].overlap(edit.bbox))


def _augment(edit: int, choices: Mapping[int, Sequence[int]], holders: dict[int, int], tried: set[int]) -> bool:
    """Give the edit an entry, where need be by moving other edits to another of theirs."""
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
    """The edit as the difference from what was detected, whatever the edits before it.

    A correction that is kept later is still a correction, and no hit of the detector.
    """
    bbox = edit.bbox or (entry.confirmed.bbox if entry.confirmed else None)
    if edit.action in (Action.ADDED, Action.REMOVED):
        return edit
    if entry.detection is None:
        # What the user added stays added, however it is renamed, moved or kept later.
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
    """The box that counts now, and who drew it."""
    if edit.bbox and (edit.action in (Action.MOVED, Action.ADDED) or _is_redrawn(edit, detection)):
        return edit.bbox, BoxSource.USER
    bbox = detection.bbox if detection else edit.bbox
    return bbox, served_by if bbox else None


def _is_redrawn(edit: ItemEdit, detection: Detection | None) -> bool:
    """A box where the detector gave none, or another one beside the new name."""
    if detection is None or edit.bbox is None:
        return False
    return detection.bbox is None or (edit.action is Action.RENAMED and edit.bbox.iou(detection.bbox) < SAME_BOX_IOU)


def _label(detection: Detection) -> str:
    """The catalogue's label: a name that a model still gives may have become a synonym of another since."""
    try:
        return canonical_label(detection.label)
    except ValueError:
        return detection.label
