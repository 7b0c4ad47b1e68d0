"""What the doctor sees of running services: the gateway's figures, the collector's counters, the trainer's runs. What is away is left out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from savo_cli.diagnose.common_problems import Seen
from savo_cli.diagnose.service_addresses import Running

__all__ = ["read_figures"]

_SECONDS = 5.0

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""By a metric's name and its labels."""


def read_figures(running: Running, key: str | None) -> Seen:
    services, gateway = running.services, running.gateway
    if gateway is None:
        return Seen()
    stats, no_stats = _answer(f"{gateway}/training/stats", key)
    progress, no_progress = _answer(f"{gateway}/training/progress", key)
    collector, at_the_gateway = _metrics(services.get("collector")), _metrics(gateway)
    return Seen(
        stats=stats,
        progress=progress,
        unknown=no_stats or no_progress,
        collector=_sums(collector),
        runs=tuple(_answer(f"{services['trainer']}/runs", None)[0].get("runs", ())) if "trainer" in services else (),
        refused_models=_refused(_metrics(services.get("vision"))),
        rooms=_rooms(collector | at_the_gateway),
        refused_uploads=_no_room(at_the_gateway),
        disk_free_bytes=_free(),
    )


def _no_room(samples: Samples) -> int:
    """Uploads that the gateway answered with 507."""
    name = "savo_http_request_duration_seconds_count"
    return int(
        sum(
            value
            for (metric, labels), value in samples.items()
            if metric == name and dict(labels).get("status") == "507"
        )
    )


def _rooms(samples: Samples) -> dict[str, tuple[float, float]]:
    def by_what(metric: str) -> dict[str, float]:
        return {dict(labels).get("counted", ""): value for (name, labels), value in samples.items() if name == metric}

    used = by_what("savo_storage_used_bytes")
    return {
        what: (used.get(what, 0.0), limit) for what, limit in by_what("savo_storage_limit_bytes").items() if limit > 0
    }


def _refused(samples: Samples) -> dict[str, float]:
    return {
        dict(labels)["version"]: value
        for (name, labels), value in samples.items()
        if name == "savo_models_refused_total"
    }


def _sums(samples: Samples) -> dict[tuple[str, str], float]:
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
    """What it says; else nothing, and why."""
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
        "the gateway asks for a key"
        if answer.status_code == httpx2.codes.UNAUTHORIZED
        else f"the gateway answers {answer.status_code}",
    )


def _free() -> float | None:
    """Where the folder store would be; None when nothing is there."""
    folder = Path(os.environ.get("SAVO_DATA_DIR", ".savo")) / "objects"
    return float(shutil.disk_usage(folder).free) if folder.is_dir() else None
