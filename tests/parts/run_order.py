"""Order of test files: files with slow tests run first, so that no pytest-xdist worker starts one at the end.

It takes effect with `--dist loadfile --no-loadscope-reorder`.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

USUAL_SECONDS = 10.0
"""Assumed time of a test that is marked `slow` without its seconds."""


@pytest.hookimpl(trylast=True)  # after deselection, so that only tests that run are counted
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seconds: defaultdict[str, float] = defaultdict(float)
    for item in items:
        if mark := item.get_closest_marker("slow"):
            seconds[_file_of(item)] += mark.args[0] if mark.args else USUAL_SECONDS
    items.sort(key=lambda item: -seconds[_file_of(item)])


def _file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
