"""What the doctor sees of running services: the gateway's figures, the collector's counters, the trainer's runs. What is away is left out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from savo_cli.causes import Seen

__all__ = ["look"]

_SECONDS = 5.0

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""By a metric's name and its labels."""


def look(url: str | None, key: str | None) -> Seen:
    """From the gateway at `url` or that of `savo up` here; the other services only where `savo up` says where they are."""
    from savo_cli.gateway import DEFAULT_URL, running_here

    here = running_here() or {}
    if not here and not url:
        return Seen()
    gateway = (url or here.get("gateway_url") or DEFAULT_URL).rstrip("/")
    services = {name: str(at["url"] if isinstance(at, dict) else at) for name, at in here.get("services", {}).items() if at} if not url else {}
    collector = _metrics(services.get("collector"))
    return Seen(
        stats=_json(f"{gateway}/training/stats", key),
        progress=_json(f"{gateway}/training/progress", key),
        collector=_sums(collector),
        runs=tuple(_json(f"{services['trainer']}/runs", None).get("runs", ())) if "trainer" in services else (),
        refused_models=_refused(_metrics(services.get("vision"))),
        rooms=_rooms(collector | _metrics(services.get("gateway"))),
        disk_free_bytes=_free(),
    )


def _rooms(samples: Samples) -> dict[str, tuple[float, float]]:
    def by_what(metric: str) -> dict[str, float]:
        return {dict(labels).get("counted", ""): value for (name, labels), value in samples.items() if name == metric}

    used = by_what("savo_storage_used_bytes")
    return {what: (used.get(what, 0.0), limit) for what, limit in by_what("savo_storage_limit_bytes").items() if limit > 0}


def _refused(samples: Samples) -> dict[str, float]:
    return {dict(labels)["version"]: value for (name, labels), value in samples.items() if name == "savo_models_refused_total"}


def _sums(samples: Samples) -> dict[tuple[str, str], float]:
    found = ((dict(labels), value) for (name, labels), value in samples.items() if name == "savo_samples_total")
    return {(labels.get("outcome", ""), labels.get("reason", "")): value for labels, value in found}


def _metrics(url: str | None) -> Samples:
    import httpx2
    from prometheus_client.parser import text_string_to_metric_families

    if url is None:
        return {}
    try:
        text = httpx2.get(f"{url}/metrics", timeout=_SECONDS, trust_env=False).text
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return {}
    return {(sample.name, tuple(sample.labels.items())): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def _json(url: str, key: str | None) -> dict[str, Any]:
    import httpx2

    try:
        answer = httpx2.get(url, timeout=_SECONDS, trust_env=False, headers={"X-API-Key": key} if key else {})
        found = answer.json() if answer.is_success else {}
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _free() -> float | None:
    """Where the folder store would be; None when nothing is there."""
    folder = Path(os.environ.get("SAVO_DATA_DIR", ".savo")) / "objects"
    return float(shutil.disk_usage(folder).free) if folder.is_dir() else None
