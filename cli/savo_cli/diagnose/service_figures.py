"""Figures of the running services: the gateway's statistics, the collector's counters, the trainer's runs.

A service that does not answer leaves its figures empty.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from savo_cli.diagnose.service_addresses import RunningServices

__all__ = ["ServiceFigures", "read_figures"]

_SECONDS = 5.0

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by a metric's name and its labels."""


@dataclass(frozen=True)
class ServiceFigures:
    """What the services report about themselves."""

    stats: Mapping[str, Any] = field(default_factory=dict)
    """GET /training/stats."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    """GET /training/progress."""
    unknown: str = ""
    """Reason why stats or progress are empty."""
    collector: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """savo_samples_total by (outcome, reason), since the collector's start."""
    refused_models: Mapping[str, float] = field(default_factory=dict)
    """How often vision refused a model since its start, by version or configured path."""
    runs: tuple[Mapping[str, Any], ...] = ()
    """Training runs, newest first."""
    storage_use: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Used bytes and the services' limit (SAVO_STORAGE_LIMIT_GB), by what is counted: samples or the object folder."""
    refused_uploads: int = 0
    """Uploads that the gateway refused since its start because storage was full."""
    disk_free_bytes: float | None = None
    """Free space of the disk that holds the object folder; None with a bucket."""


def read_figures(running: RunningServices, key: str | None) -> ServiceFigures:
    """Ask every running service; `key` is the API key for the gateway."""
    services, gateway = running.services, running.gateway
    if gateway is None:
        return ServiceFigures()
    stats, no_stats = _answer(f"{gateway}/training/stats", key)
    progress, no_progress = _answer(f"{gateway}/training/progress", key)
    collector, gateway_metrics = _metrics(services.get("collector")), _metrics(gateway)
    return ServiceFigures(
        stats=stats,
        progress=progress,
        unknown=no_stats or no_progress,
        collector=_sample_counts(collector),
        runs=tuple(_answer(f"{services['trainer']}/runs", None)[0].get("runs", ())) if "trainer" in services else (),
        refused_models=_refused_models(_metrics(services.get("vision"))),
        storage_use=_storage_use(collector | gateway_metrics),
        refused_uploads=_refused_uploads(gateway_metrics),
        disk_free_bytes=_free_bytes(),
    )


def _refused_uploads(samples: Samples) -> int:
    """Uploads that the gateway answered with 507."""
    name = "savo_http_request_duration_seconds_count"
    return int(
        sum(
            value
            for (metric, labels), value in samples.items()
            if metric == name and dict(labels).get("status") == "507"
        )
    )


def _storage_use(samples: Samples) -> dict[str, tuple[float, float]]:
    def by_counted(metric: str) -> dict[str, float]:
        return {dict(labels).get("counted", ""): value for (name, labels), value in samples.items() if name == metric}

    used = by_counted("savo_storage_used_bytes")
    return {
        what: (used.get(what, 0.0), limit)
        for what, limit in by_counted("savo_storage_limit_bytes").items()
        if limit > 0
    }


def _refused_models(samples: Samples) -> dict[str, float]:
    return {
        dict(labels)["version"]: value
        for (name, labels), value in samples.items()
        if name == "savo_models_refused_total"
    }


def _sample_counts(samples: Samples) -> dict[tuple[str, str], float]:
    found = ((dict(labels), value) for (name, labels), value in samples.items() if name == "savo_samples_total")
    return {(labels.get("outcome", ""), labels.get("reason", "")): value for labels, value in found}


def _metrics(url: str | None) -> Samples:
    if url is None:
        return {}
    try:
        answer = httpx2.get(f"{url}/metrics", timeout=_SECONDS, trust_env=False)
        families = list(text_string_to_metric_families(answer.text)) if answer.is_success else []
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return {}
    return {
        (sample.name, tuple(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


def _answer(url: str, key: str | None) -> tuple[dict[str, Any], str]:
    """The JSON object at a URL and an empty string, or an empty object and the reason."""
    try:
        answer = httpx2.get(url, timeout=_SECONDS, trust_env=False, headers={"X-API-Key": key} if key else {})
        found = answer.json() if answer.is_success else None
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return {}, "the gateway does not answer"
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found, ""
    return (
        {},
        "the gateway requires a key"
        if answer.status_code == httpx2.codes.UNAUTHORIZED
        else f"the gateway answers {answer.status_code}",
    )


def _free_bytes() -> float | None:
    """Of the folder store; None if its folder does not exist."""
    folder = Path(os.environ.get("SAVO_DATA_DIR", ".savo")) / "objects"
    return float(shutil.disk_usage(folder).free) if folder.is_dir() else None
