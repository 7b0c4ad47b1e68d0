"""Diagnosis of the guide's three common problems: no data collected, storage full, training too slow.

The causes are read from the running services (the gateway's figures, the collector's counters, the trainer's runs),
because the environment of this shell may differ from theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from savo_cli.diagnose.finding import Finding
from savo_cli.diagnose.service_figures import ServiceFigures
from savo_cli.diagnose.sizes import size_text
from savo_cli.diagnose.storage_prices import RECOMMENDED, STORAGE_PROVIDERS

__all__ = ["diagnose"]

NEARLY_FULL = 0.9
MIN_FREE_BYTES = 1e9
SLOW_HOURS = 2.0

_NEXT_STEP = {
    "blurred": "the photos are blurred: ask users to hold the phone still, or lower SAVO_MIN_SHARPNESS "
    "and SAVO_MIN_DETAIL",
    "dark": "the photos are dark: ask users for more light, or lower SAVO_MIN_MEAN_LUMA and SAVO_MIN_BRIGHT_LUMA",
    "over-exposed": "the photos are over-exposed: ask users to avoid direct light, or raise SAVO_MAX_CLIPPED",
    "noisy": "the photos are noisy: ask users for more light, or raise SAVO_MAX_NOISE",
    "low-contrast": "the photos have low contrast: ask users to clean the lens, or lower SAVO_MIN_CONTRAST",
    "too-small": "the photos are small: let the app send larger ones, or lower SAVO_MIN_PHOTO_SIDE",
    "duplicate": "copies of one photo do not improve a model: scan something else",
    "no-consent": "no user consents: with SAVO_REQUIRE_CONSENT=true the app must send consent=true "
    "or PUT /v1/users/{id}/consent",
    "needs-boxes": "items were confirmed without a box: let the app send bbox",
    "needs-class": (
        "an unknown label becomes a class after SAVO_CLASS_MIN_USERS users and SAVO_CLASS_MIN_SAMPLES photos used it"
    ),
    "storage-full": "free some storage: see `storage`",
}


def diagnose(figures: ServiceFigures) -> Iterator[Finding]:
    """A finding for each subject that the figures cover, with its next step."""
    if figures.stats:
        yield _collected(figures)
        yield _storage(figures)
        yield _storage_cost(figures.stats["storage_size_mb"] / 1000)
    if figures.unknown:
        what = "refused photos" if figures.stats else "data and storage"
        yield Finding(what, "note", f"unknown: {figures.unknown}", _KEY if figures.unknown.endswith("key") else "")
    if figures.runs:
        yield _training(figures.runs[0])
    for version, times in figures.refused_models.items():
        if times:
            yield Finding("model", "wrong", f"vision refused {version}; scans are answered without it", _REFUSED)


_KEY = "give one with --key or SAVO_API_KEY (made by `savo keys create NAME --scope training`)"
_REFUSED = (
    "for the reason: savo topics tail models.refused --from start --to end. Vision reads SAVO_CUSTOM_VISION_MODEL_PATH "
    "at its start; for models of the registry see docs/runbooks/model-refused.md"
)


def _collected(figures: ServiceFigures) -> Finding:
    samples, refused = figures.stats["total_samples"], dict(figures.progress.get("refused_by_reason", {}))
    if figures.collector.get(("skipped", "collection-off")):
        return Finding(
            "data",
            "wrong",
            f"{samples} samples; the collector skips every confirmation: SAVO_COLLECT_TRAINING_DATA is false",
            _SWITCH_ON,
        )
    if samples:
        return Finding("data", "ok", f"{samples} samples, {figures.stats['samples_today']} of them today")
    if refused:
        reason, count = max(refused.items(), key=lambda item: item[1])
        return Finding(
            "data",
            "wrong",
            f"0 samples; {sum(refused.values())} photos were refused, {count} of them as {reason}",
            _NEXT_STEP.get(reason, _LOG),
        )
    if figures.collector.get(("skipped", "no-consent")):
        return Finding(
            "data", "wrong", "0 samples; the collector skips confirmations without consent", _NEXT_STEP["no-consent"]
        )
    return Finding(
        "data", "note", "0 samples; no scan is confirmed yet", "confirm a scan: savo confirm SCAN_ID --all-correct"
    )


_SWITCH_ON = (
    "set SAVO_COLLECT_TRAINING_DATA=true for the collector and restart it; photos confirmed after that are collected"
)
_LOG = "read the collector's log"


def _storage(figures: ServiceFigures) -> Finding:
    samples, uploads = figures.progress.get("refused_by_reason", {}).get("storage-full", 0), figures.refused_uploads
    refused = [f"{samples} samples" if samples else "", f"{uploads} uploads" if uploads else ""]
    used, limit = max(
        figures.storage_use.values(),
        key=lambda used: used[0] / used[1],
        default=(figures.stats["storage_size_mb"] * 1e6, 0.0),
    )
    of_limit = f" of {size_text(limit)} (SAVO_STORAGE_LIMIT_GB={limit / 1e9:g})" if limit else ""
    found = (
        size_text(used)
        + of_limit
        + (f"; {' and '.join(filter(None, refused))} were refused because storage was full" if any(refused) else "")
    )
    if any(refused) or (limit and used >= limit):
        return Finding("storage", "wrong", found, _MAKE_ROOM)
    if figures.disk_free_bytes is not None and figures.disk_free_bytes < MIN_FREE_BYTES:
        return Finding(
            "storage", "wrong", f"{found}; {size_text(figures.disk_free_bytes)} are free on the disk", _FREE_THE_DISK
        )
    if limit and used >= NEARLY_FULL * limit:
        return Finding("storage", "note", found, _MAKE_ROOM)
    return Finding("storage", "ok", found)


_MOVE = "move the objects to a bucket while the product runs (R2_*): savo storage move --to s3://BUCKET"
_MAKE_ROOM = f"raise SAVO_STORAGE_LIMIT_GB, or {_MOVE}; steps in docs/runbooks/storage-nearly-full.md"
_FREE_THE_DISK = (
    "delete SAVO_DATA_DIR's old logs and weights of old models (models/ingredients/v*/weights.pt), lower "
    f"SAVO_SCAN_RETENTION_DAYS, enlarge the disk, or {_MOVE}; steps in docs/runbooks/storage-nearly-full.md"
)


def _storage_cost(stored_gb: float) -> Finding:
    """A month of the samples that are stored now, read out once: what a training run elsewhere downloads."""
    costs = [f"{each.name} ${each.monthly_cost(stored_gb, stored_gb).total:,.2f}" for each in STORAGE_PROVIDERS]
    found = f"{size_text(stored_gb * 1e9)} of samples, read once a month, cost: {', '.join(costs)}"
    return Finding("storage cost", "ok", f"{found}; {RECOMMENDED.name} is recommended")


def _training(run: Mapping[str, Any]) -> Finding:
    progress = run.get("progress")
    if run["state"] != "training" or not progress or not progress["epoch"]:
        return Finding("training run", "ok", f"{run['id']} is {run['state']}")
    epoch_seconds = progress["seconds"] / progress["epoch"]
    left = epoch_seconds * (progress["epochs"] - progress["epoch"]) / 3600
    epoch = f"epoch {progress['epoch']} of {progress['epochs']}, {epoch_seconds:.0f} s each"
    found = f"{run['id']}: {epoch}, {left:.1f} h to go"
    if left < SLOW_HOURS:
        return Finding("training run", "ok", found)
    return Finding("training run", "note", found, _FASTER)


_FASTER = (
    "train on a machine with a GPU (SAVO_TRAIN_DEVICE=0), or lower SAVO_TRAIN_EPOCHS or SAVO_TRAIN_IMGSZ, or choose a "
    "smaller SAVO_TRAIN_MODEL; `savo runs cancel` ends this run"
)
