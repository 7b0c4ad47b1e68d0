"""The metric catalogue: every name that any service may emit, with kind and meaning.

Base units; never a user, subject or scan id as a label. A test fails on a metric made anywhere else.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)

SCANS = Counter("savo_scans_total", "Scans answered or failed.", ["assigned_arm", "served_by", "model_version", "outcome"])
SCAN_DURATION = Histogram(
    "savo_scan_duration_seconds",
    "Time of one stage of a scan; stage=total is accepted → result stored.",
    ["assigned_arm", "served_by", "stage"],
    buckets=_SECONDS,
)
SCAN_COST = Counter("savo_scan_cost_usd_total", "Money spent, by provider and purpose (answer, fallback, shadow, teacher, recipes).", ["provider", "purpose"])
FALLBACKS = Counter("savo_fallbacks_total", "Scans of the custom model answered by the provider instead.", ["reason"])
CONFIRMED_ITEMS = Counter("savo_confirmed_items_total", "Items that users looked at.", ["assigned_arm", "action"])
SAMPLES = Counter("savo_samples_total", "Confirmed photos that became samples, wait, or were refused.", ["outcome", "reason"])
SAMPLE_BYTES = Counter("savo_sample_bytes_total", "Bytes of sample images stored.")
TRAINING_RUNS = Counter("savo_training_runs_total", "Training runs that ended.", ["outcome"])
MODEL_INFO = Gauge("savo_model_info", "1 for the version that an alias points to.", ["version", "alias"])
MODEL_MAP50 = Gauge("savo_model_map50", "mAP@0.5 on the holdout, measured through the serving code.", ["version"])
MODEL_SWAP = Histogram("savo_model_swap_seconds", "From the decision to swap to the new model serving.", buckets=_SECONDS)
ROLLOUT_SHARE = Gauge("savo_rollout_share", "Candidate's share of traffic, 0…1.")
CONSUMER_LAG = Gauge("savo_consumer_lag", "Records not yet worked on.", ["topic", "group"])
RETRIES = Counter("savo_retries_total", "Records tried again.", ["topic", "reason"])
REBALANCES = Counter("savo_rebalances_total", "Times this member's partitions were given anew.", ["group"])
DEAD_LETTERS = Counter("savo_dead_letters_total", "Records set aside.", ["topic", "reason"])
HTTP_DURATION = Histogram("savo_http_request_duration_seconds", "HTTP requests by route template.", ["route", "method", "status"], buckets=_SECONDS)
