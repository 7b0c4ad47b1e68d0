"""The three troubles of the owner's guide, each with its cause: no data collected, storage full, training too slow.

Causes are read off the running services, not off this shell's environment, which need not be theirs: the gateway's figures, the
collector's own counters, the trainer's runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from savo_cli.diagnose.checks import Finding
from savo_cli.diagnose.sizes import in_bytes

__all__ = ["Seen", "causes"]

NEARLY_FULL = 0.9
LEAST_FREE = 1e9
SLOW_HOURS = 2.0

_NEXT_STEP = {
    "blurred": "the photos are blurred: ask for a steady hand, or lower SAVO_MIN_SHARPNESS",
    "dark": "the photos are dark: ask for light, or lower SAVO_MIN_MEAN_LUMA and SAVO_MIN_BRIGHT_LUMA",
    "too-small": "the photos are small: let the app send larger ones, or lower SAVO_MIN_PHOTO_SIDE",
    "duplicate": "the same photo again and again teaches nothing: scan something else",
    "no-consent": "nobody consents: with SAVO_REQUIRE_CONSENT=true the app must send consent=true",
    "needs-boxes": "items were confirmed without a box: let the app send bbox",
    "needs-class": "an unknown word needs SAVO_CLASS_MIN_USERS people and SAVO_CLASS_MIN_SAMPLES photos before it is a class",
    "storage-full": "make room: see `storage`",
}


@dataclass(frozen=True)
class Seen:
    """What the services say of themselves; empty where one does not answer."""

    stats: Mapping[str, Any] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    unknown: str = ""
    """Why stats or progress are empty."""
    collector: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """savo_samples_total by (outcome, reason), since the collector's start."""
    refused_models: Mapping[str, float] = field(default_factory=dict)
    """Version, or the path that was set → how often vision would not serve it, since vision's start."""
    runs: tuple[Mapping[str, Any], ...] = ()
    rooms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Bytes used and their limit (SAVO_STORAGE_LIMIT_GB as the services have it), by what is counted: samples, or the whole object folder."""
    refused_uploads: int = 0
    """That the gateway had no room for, since its start."""
    disk_free_bytes: float | None = None
    """Where the folder store is; None with a bucket."""


def causes(seen: Seen) -> Iterator[Finding]:
    if seen.stats:
        yield _collected(seen)
        yield _storage(seen)
    if seen.unknown:
        what = "refused photos" if seen.stats else "data and storage"
        yield Finding(what, "note", f"not known: {seen.unknown}", _KEY if seen.unknown.endswith("key") else "")
    if seen.runs:
        yield _training(seen.runs[0])
    for version, times in seen.refused_models.items():
        if times:
            yield Finding(
                "model", "wrong", f"vision would not serve {version}; scans are answered without it", _REFUSED
            )


_KEY = "give one with --key or SAVO_API_KEY (made by `savo keys create NAME --scope training`)"
_REFUSED = (
    "why: savo topics tail models.refused --from start --to end. A path of yours is SAVO_CUSTOM_VISION_MODEL_PATH, "
    "read at vision's start; of the registry's models see docs/runbooks/model-refused.md"
)


def _collected(seen: Seen) -> Finding:
    samples, refused = seen.stats["total_samples"], dict(seen.progress.get("refused_by_reason", {}))
    if seen.collector.get(("skipped", "collection-off")):
        return Finding(
            "data",
            "wrong",
            f"{samples} samples; the collector skips every confirmation: SAVO_COLLECT_TRAINING_DATA is false",
            _ON,
        )
    if samples:
        return Finding("data", "ok", f"{samples} samples, {seen.stats['samples_today']} of them today")
    if refused:
        reason, count = max(refused.items(), key=lambda item: item[1])
        return Finding(
            "data",
            "wrong",
            f"0 samples; {sum(refused.values())} photos were refused, {count} of them as {reason}",
            _NEXT_STEP.get(reason, _LOG),
        )
    if seen.collector.get(("skipped", "no-consent")):
        return Finding(
            "data", "wrong", "0 samples; the collector skips confirmations without consent", _NEXT_STEP["no-consent"]
        )
    return Finding(
        "data", "note", "0 samples; nothing was confirmed yet", "confirm a scan: savo confirm SCAN_ID --all-correct"
    )


_ON = "set SAVO_COLLECT_TRAINING_DATA=true for the collector and start it again; photos confirmed from then on are collected"
_LOG = "read the collector's log"


def _storage(seen: Seen) -> Finding:
    samples, uploads = seen.progress.get("refused_by_reason", {}).get("storage-full", 0), seen.refused_uploads
    refused = [f"{samples} samples" if samples else "", f"{uploads} uploads" if uploads else ""]
    used, limit = max(
        seen.rooms.values(), key=lambda room: room[0] / room[1], default=(seen.stats["storage_size_mb"] * 1e6, 0.0)
    )
    of_limit = f" of {in_bytes(limit)} (SAVO_STORAGE_LIMIT_GB={limit / 1e9:g})" if limit else ""
    found = (
        in_bytes(used)
        + of_limit
        + (f"; {' and '.join(filter(None, refused))} were refused for want of room" if any(refused) else "")
    )
    if any(refused) or (limit and used >= limit):
        return Finding("storage", "wrong", found, _ROOM)
    if seen.disk_free_bytes is not None and seen.disk_free_bytes < LEAST_FREE:
        return Finding("storage", "wrong", f"{found}; {in_bytes(seen.disk_free_bytes)} are free on the disk", _ROOM)
    if limit and used >= NEARLY_FULL * limit:
        return Finding("storage", "note", found, _ROOM)
    return Finding("storage", "ok", found)


_ROOM = "raise SAVO_STORAGE_LIMIT_GB, or move to a bucket: set the four R2_* variables (docs/deployment.md)"


def _training(run: Mapping[str, Any]) -> Finding:
    progress = run.get("progress")
    if run["state"] != "training" or not progress or not progress["epoch"]:
        return Finding("training run", "ok", f"{run['id']} is {run['state']}")
    each = progress["seconds"] / progress["epoch"]
    left = each * (progress["epochs"] - progress["epoch"]) / 3600
    found = f"{run['id']}: epoch {progress['epoch']} of {progress['epochs']}, {each:.0f} s each, {left:.1f} h to go"
    if left < SLOW_HOURS:
        return Finding("training run", "ok", found)
    return Finding("training run", "note", found, _FASTER)


_FASTER = (
    "train on a GPU (SAVO_TRAIN_DEVICE=0, on a machine that has one), or less: SAVO_TRAIN_EPOCHS, SAVO_TRAIN_IMGSZ, a smaller SAVO_TRAIN_MODEL; "
    "`savo runs cancel` ends this one"
)
