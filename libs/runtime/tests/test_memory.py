from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

CHILD = """
import resource, threading
from savo_runtime.memory import give_back_what_is_freed

def resident():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize()

print(give_back_what_is_freed())
before = resident()
kept = [bytearray(1_000_000) for _ in range(60)]
between = [bytearray(24_000_000)]
del between  # here glibc would raise its thresholds by itself
more = [bytearray(1_000_000) for _ in range(60)]
top = bytearray(5_000)
del kept, more
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory, and has mallopt")
@pytest.mark.parametrize(("variables", "given_back"), [({}, True), ({"MALLOC_ARENA_MAX": "8"}, False)], ids=["by itself", "set by hand"])
def test_memory_that_is_freed_leaves_the_process_unless_the_environment_says_otherwise(variables: dict[str, str], given_back: bool) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    said, bytes_more = done.stdout.split()
    assert said == str(given_back)
    assert (int(bytes_more) < 20_000_000) == given_back
