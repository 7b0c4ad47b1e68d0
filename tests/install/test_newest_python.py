"""Newest Python: lint and unit tests pass on the newest Python that is installed or that uv can download."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEWEST_FIRST = ("3.14", "3.13", "3.12")
EXCLUDED = ("real", "slow", "kafka", "postgres", "s3", "browser", "kubernetes", "prometheus")
UNIT = " and ".join(f"not {marker}" for marker in EXCLUDED)

pytestmark = [pytest.mark.real, pytest.mark.slow(600), pytest.mark.timeout(5400)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with all packages on the newest Python."""
    uv = shutil.which("uv") or shutil.which(ROOT / ".uv/bin/uv")
    if uv is None:
        pytest.skip("uv is neither installed nor in .uv/bin")
    python = next(newer_pythons(uv), None)
    if python is None:
        pytest.skip(
            f"no Python newer than {sys.version_info.major}.{sys.version_info.minor} is installed, "
            "and uv cannot download one"
        )
    print(f"on {python}")
    environment = tmp_path_factory.mktemp("newest") / "env"
    command = [uv, "sync", "--frozen", "--quiet", "--all-extras", "--all-groups", "--python", python]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(environment)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return environment / "bin"


def newer_pythons(uv: str) -> Iterator[str]:
    """Newer Pythons, newest first: those that uv finds, those of pyenv, and those that uv can download."""
    newer = [version for version in NEWEST_FIRST if _minor(version) > sys.version_info.minor]
    for version in newer:
        found = subprocess.run(
            [uv, "python", "find", "--no-python-downloads", "--no-project", version],
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 0:
            yield found.stdout.strip()
        yield from map(str, sorted(pyenv().glob(f"versions/{version}.*/bin/python3")))
    for version in newer:
        if (
            subprocess.run([uv, "python", "install", "--quiet", version], capture_output=True, check=False).returncode
            == 0
        ):
            yield version


def pyenv() -> Path:
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


def test_lint_passes(programs: Path) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "lint", f"RUN={programs}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_the_unit_tests_pass(programs: Path) -> None:
    command = [str(programs / "pytest"), "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", "-m", UNIT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    print(done.stdout.splitlines()[-1])


def _minor(version: str) -> int:
    found = re.fullmatch(r"3\.(\d+)", version)
    assert found
    return int(found[1])
