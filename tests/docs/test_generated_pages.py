"""Generated pages: docs/settings.md and docs/logs.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate.logs import log_events
from docs.generate.settings import Group, settings_page
from savo_runtime.settings import installed_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["settings", "logs"])
def test_a_generated_page_is_up_to_date(page: str) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", f"docs.generate.{page}", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_settings_are_grouped_by_task_and_ten_of_them_are_on_top() -> None:
    page = settings_page(installed_settings())
    first = page.split("\n## ")[1]
    assert first.startswith("Set these first")
    assert first.count("\n| `") == 10
    assert page.index("`GOOGLE_API_KEY`") < page.index("`SAVO_COLLECT_TRAINING_DATA`") < page.index("`R2_BUCKET_NAME`")
    assert page.count("| `SAVO_ROLLOUT_MIN_CONFIRMED` |") == 1


def test_a_setting_without_a_group_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"R2_ACCESS_KEY_ID belongs to no group.*GROUPS"):
        settings_page(installed_settings(), groups=(Group("Others", "", ("(SAVO|GOOGLE|OPENAI|OTEL|PORT).*",)),))


def test_log_events_are_found_with_level_module_and_fields(tmp_path: Path) -> None:
    module = tmp_path / "savo_vision" / "scan.py"
    module.parent.mkdir()
    module.write_text(
        'log.warning("scan.failed", scan_id=scan.scan_id, code="expired")\nlog.bind(a=1).info("scan.done", **facts)\n'
    )
    done, failed = log_events(tmp_path)
    assert (failed.name, failed.levels, failed.places, failed.fields) == (
        "scan.failed",
        ("warning",),
        ("savo_vision.scan",),
        ("code", "scan_id"),
    )
    assert (done.name, done.fields) == ("scan.done", ("…",))


def test_log_events_are_dotted_and_snake_case() -> None:
    names = [event.name for event in log_events(ROOT)]
    assert len(names) > 40
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)+", name)] == []
