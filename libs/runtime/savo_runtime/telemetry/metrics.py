"""Metric catalogue: every metric of the product, with its kind, labels and meaning.

Metrics use base units. Labels never hold user, subject or scan ids. A test fails on a metric defined elsewhere.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)

SCANS = Counter(
    "savo_scans_total", "Scans answered or failed.", ["assigned_arm", "served_by", "model_version", "outcome"]
)
SCAN_DURATION = Histogram(
    "savo_scan_duration_seconds",
    "Time of one stage of a scan; stage=total is accepted → result stored.",
    ["assigned_arm", "served_by", "stage"],
    buckets=_SECONDS,
)
SCAN_COST = Counter(
    "savo_scan_cost_usd_total",
    "Money spent, by provider and purpose (answer, fallback, shadow, teacher, recipes).",
    ["provider", "purpose"],
)
FALLBACKS = Counter("savo_fallbacks_total", "Scans of the custom model answered by the provider instead.", ["reason"])
SECOND_LOOKS = Counter(
    "savo_second_looks_total",
    "Additional inference on scans for evidence (shadow, teacher), outside of the answer's path.",
    ["kind", "outcome"],
)
SECOND_LOOK_ITEMS = Counter(
    "savo_second_look_items_total",
    "Items of the answer compared with those of the second look: same, moved, relabelled, gained, lost.",
    ["kind", "looked", "change"],
)
ARM_COST = Counter(
    "savo_arm_cost_usd_total",
    "Cost of scans by the arm that they were assigned to, the cost of fallbacks included.",
    ["assigned_arm"],
)
PROVIDER_TOKENS = Counter(
    "savo_provider_tokens_total",
    "Tokens of photo calls as the provider counted them: input, output.",
    ["provider", "direction"],
)
PROVIDER_PHOTO_BYTES = Counter(
    "savo_provider_photo_bytes_total", "Bytes of downscaled photos sent to a provider, every attempt.", ["provider"]
)
DAILY_BUDGET = Gauge(
    "savo_daily_budget_usd", "Most that may be spent with a provider in a UTC day, where a limit is set.", ["provider"]
)
CONFIRMED_ITEMS = Counter(
    "savo_confirmed_items_total", "Items that users confirmed, by their action.", ["assigned_arm", "action"]
)
CONFIRMED_SCANS = Counter(
    "savo_confirmed_scans_total", "Scans that their users confirmed, each once.", ["assigned_arm"]
)
CORRECTED_SCANS = Counter("savo_corrected_scans_total", "Confirmed scans with an edit, each once.", ["assigned_arm"])
SAMPLES = Counter(
    "savo_samples_total", "Confirmed photos that became samples, are pending, or were refused.", ["outcome", "reason"]
)
SAMPLE_BYTES = Counter("savo_sample_bytes_total", "Bytes of sample images stored.")
DATASET_BOXES = Gauge(
    "savo_dataset_boxes",
    "Boxes of all current samples, by label; the rarest labels together are `other`.",
    ["label"],
)
GOAL = Gauge("savo_goal", "Target of a figure at a milestone, from the owner's goal tables.", ["milestone", "figure"])
GOAL_NOW = Gauge("savo_goal_now", "Current value of a figure of the goal tables.", ["figure"])
STORAGE_USED = Gauge(
    "savo_storage_used_bytes",
    "Bytes that count against SAVO_STORAGE_LIMIT_GB: of sample images, or of the whole object folder.",
    ["counted"],
)
STORAGE_LIMIT = Gauge(
    "savo_storage_limit_bytes", "SAVO_STORAGE_LIMIT_GB in bytes; absent without a limit.", ["counted"]
)
TRAINING_RUNS = Counter("savo_training_runs_total", "Training runs that ended.", ["outcome"])
MODEL_INFO = Gauge("savo_model_info", "1 for the version that an alias points to.", ["version", "alias"])
MODEL_MAP50 = Gauge("savo_model_map50", "mAP@0.5 on the holdout, measured through the serving code.", ["version"])
MODELS_REFUSED = Counter("savo_models_refused_total", "Models that this replica refused to serve.", ["version"])
MODEL_SWAP = Histogram(
    "savo_model_swap_seconds", "From the decision to swap to the new model serving.", buckets=_SECONDS
)
ROLLOUT_STATE = Gauge("savo_rollout_state", "1 for the state that the rollout is in, 0 for the others.", ["state"])
ROLLOUT_SHARE = Gauge("savo_rollout_share", "Candidate's share of traffic, 0…1.")
CONSUMER_LAG = Gauge(
    "savo_consumer_lag",
    "Records that a group has not committed. Several services export the same value: take the max.",
    ["topic", "group"],
)
CONSUMER_STUCK = Gauge(
    "savo_consumer_stuck_seconds",
    "How long records have waited on the group's worst partition while its position did not move.",
    ["topic", "group"],
)
CONSUMER_PAUSED = Gauge(
    "savo_consumer_paused",
    "1 while this member's records, or those of one kind, are paused; cause: dead-letter-cap or dependency.",
    ["topic", "group", "cause"],
)
RETRIES = Counter("savo_retries_total", "Retries of records.", ["topic", "reason"])
REBALANCES = Counter("savo_rebalances_total", "Partition assignments of this member.", ["group"])
DEAD_LETTERS = Counter("savo_dead_letters_total", "Records that became dead letters.", ["topic", "reason"])
SERVICE_INFO = Gauge("savo_service_info", "1 for each service that this process runs.", ["service"])
HTTP_DURATION = Histogram(
    "savo_http_request_duration_seconds",
    "HTTP requests by route template.",
    ["route", "method", "status"],
    buckets=_SECONDS,
)
