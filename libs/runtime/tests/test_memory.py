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
del (large := [bytearray(24_000_000)])[:]  # here glibc would raise its thresholds by itself
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
    ("variables", "given_back"), [({}, True), ({"MALLOC_ARENA_MAX": "8"}, False)], ids=["by itself", "set by hand"]
)
def test_freed_memory_leaves_the_process_unless_the_environment_configures_malloc(
    variables: dict[str, str], given_back: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    said, bytes_more = done.stdout.split()
    assert said == str(given_back)
    assert (int(bytes_more) < 20_000_000) == given_back
