"""Generator of docs/settings.md and the runtime's list of variables: `python -m docs.generate.settings [--check]`.

With --check it exits with 1 if a file is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from savo_cli.weekly.settings import DigestSettings
from savo_providers.catalogue import PROVIDERS
from savo_runtime.settings import NAMES_FILE, RuntimeSettings, installed_settings, known_variables, settings_table

__all__ = ["GROUPS", "Group", "settings_page"]

PAGE = Path("docs/settings.md")

HEAD = """# Settings

Generated from the code by `make generate`. Do not edit.

Settings are environment variables. A value that is not allowed stops the start with one line that names the variable,
the value and what is allowed. Secrets never reach a log. `savo doctor` checks all of them.
"""


@dataclass(frozen=True)
class Group:
    """Settings of one task."""

    title: str
    purpose: str
    patterns: tuple[str, ...]
    """Regular expressions for variable names, in the order of the rows. The first matching group has the variable."""


GROUPS: tuple[Group, ...] = (
    Group(
        "Set these first",
        "Providers and their keys, collection of confirmed photos, and the traffic share of a trained model.",
        (
            *(provider.key_variable for provider in PROVIDERS),
            "SAVO_VISION_PROVIDER",
            "SAVO_REASONING_PROVIDER",
            "SAVO_COLLECT_TRAINING_DATA",
            "SAVO_USE_CUSTOM_VISION",
            "SAVO_CUSTOM_VISION_MODEL_PATH",
            "SAVO_CUSTOM_VISION_ROLLOUT",
            "SAVO_VISION_CONFIDENCE_THRESHOLD",
            "SAVO_DATA_DIR",
        ),
    ),
    Group(
        "Object storage",
        "A folder on this machine, Cloudflare R2, or another S3 server.",
        ("R2_.*", "SAVO_S3_.*", "SAVO_STORAGE_.*"),
    ),
    Group(
        f"Providers: {' and '.join(provider.title for provider in PROVIDERS)}",
        "Models, prices, budgets and deadlines of the paid providers.",
        (*(f"SAVO_{provider.name.upper()}_.*" for provider in PROVIDERS), "SAVO_MODEL_PRICES", "SAVO_REASONING_.*"),
    ),
    Group(
        "The custom model in service",
        "Its inference engine, its cost, and the share of scans that it answers for comparison only.",
        ("SAVO_DETECTION_ENGINE", "SAVO_CPU_HOUR_USD", "SAVO_(SHADOW|TEACHER)_SHARE", "SAVO_VISION_PINS"),
    ),
    Group("Rollout", "Conditions for a larger and for no share of traffic.", ("SAVO_ROLLOUT_(?!URL).*",)),
    Group(
        "Collecting samples",
        "Consent, quality limits of photos, and the threshold of a training run.",
        (
            "SAVO_REQUIRE_CONSENT",
            "SAVO_TRAINING_THRESHOLD",
            "SAVO_RETRAIN_EVERY_DAYS",
            "SAVO_MIN_.*",
            "SAVO_MAX_(CLIPPED|NOISE)",
            "SAVO_CLASS_.*",
        ),
    ),
    Group(
        "Asking for confirmations",
        "Which answers have `ask_confirmation`, and how many in a minute and in a day.",
        ("SAVO_ASK_.*",),
    ),
    Group(
        "Training and its gate",
        "Training parameters, and the limits that a model must reach.",
        ("SAVO_GATE_.*", "SAVO_TRAIN_.*", "SAVO_TRAINER_.*"),
    ),
    Group("Uploads and scans", "Limits of an upload, and retention of scans.", ("SAVO_MAX_UPLOAD_.*", "SAVO_SCAN_.*")),
    Group(
        "Access",
        "Authentication and rate limits of the HTTP API.",
        (
            "SAVO_AUTH",
            "SAVO_JWT_.*",
            "SUPABASE_JWT_SECRET",
            "SAVO_JWKS_URL",
            "SAVO_RATE_LIMIT_.*",
            "SAVO_APP_.*",
            "SAVO_TRUSTED_PROXIES",
        ),
    ),
    Group(
        "HTTP addresses",
        "Addresses on which services listen and reach each other.",
        ("PORT", "SAVO_HTTP_.*", "SAVO_ROLLOUT_URL", "SAVO_PUBLIC_URL"),
    ),
    Group("Database", "One SQLite file for each service, or PostgreSQL with a schema for each.", ("SAVO_DATABASE_.*",)),
    Group("Kafka", "The embedded broker, or a Kafka with TLS and SASL.", ("SAVO_KAFKA_.*", "SAVO_EMBEDDED_BROKER")),
    Group(
        "Weekly digest",
        "Mail server and recipients of the weekly digest.",
        ("SAVO_DIGEST_.*", "SMTP_URL", "SAVO_GOALS_STARTED_AT"),
    ),
    Group(
        "Operations",
        "Environment, logs, traces, sandboxes.",
        ("SAVO_ENV", "SAVO_LOG_.*", "OTEL_.*", "SAVO_SANDBOX", "SAVO_OPTIONAL_SERVICES"),
    ),
)


def settings_page(classes: Mapping[str, type[RuntimeSettings]], groups: tuple[Group, ...] = GROUPS) -> str:
    """Markdown of all settings, one table for each group. Raises `ValueError` for a variable without a group."""
    variables = sorted(known_variables(classes.values(), aliases=False))
    places = sorted((_place_of(variable, groups), variable) for variable in variables)
    page = HEAD
    for index, group in enumerate(groups):
        if rows := [variable for (at, _), variable in places if at == index]:
            page += f"\n## {group.title}\n\n{group.purpose}\n\n{settings_table(classes, rows)}"
    return page


def _place_of(variable: str, groups: tuple[Group, ...]) -> tuple[int, int]:
    """Indexes of the group and of the pattern in it."""
    for at, group in enumerate(groups):
        for row, pattern in enumerate(group.patterns):
            if re.fullmatch(pattern, variable):
                return at, row
    raise ValueError(
        f"{variable} belongs to no group of docs/settings.md: add its pattern to GROUPS in docs/generate/settings.py"
    )


def _classes() -> dict[str, type[RuntimeSettings]]:
    return {**installed_settings(), "savo digest": DigestSettings}


def main(arguments: list[str]) -> int:
    classes = _classes()
    names = "".join(f"{name}\n" for name in sorted(known_variables(classes.values())))
    for path, text in {NAMES_FILE: names, PAGE: settings_page(classes)}.items():
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif text != path.read_text(encoding="utf-8"):
            print(f"{path} differs from the settings in the code; run `make generate`", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
