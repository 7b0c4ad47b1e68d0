"""Freed memory of the process under glibc."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

CHILD = """
import resource
from savo_runtime.memory import return_freed_memory

def resident():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize()

print(return_freed_memory())
del (large := [bytearray(24_000_000)])[:]  # makes glibc raise its thresholds by default
before = resident()
photos, pins = [], []
for _ in range(12):
    photos.append(bytearray(6_000_000))
    pins.append(bytearray(5_000))
photos.clear()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory, and has mallopt")
@pytest.mark.parametrize(
    ("variables", "is_returned"), [({}, True), ({"MALLOC_ARENA_MAX": "8"}, False)], ids=["default", "environment"]
)
def test_freed_memory_leaves_the_process_unless_the_environment_configures_malloc(
    variables: dict[str, str], is_returned: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    is_configured, growth = done.stdout.split()
    assert is_configured == str(is_returned)
    assert (int(growth) < 20_000_000) == is_returned
