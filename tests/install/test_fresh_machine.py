"""Fresh machine: on a Debian 13 with git, make and python3, an ordinary user runs the demo. Needs Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.parts.containers import why_no_container, why_no_docker

ROOT = Path(__file__).parents[2]
BASE = "debian:trixie-slim"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")

# On Debian, the package `python3` contains neither pip nor venv.
DOCKERFILE = f"""
FROM {BASE}
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates git make python3
COPY certificates /etc/ssl/certs/ca-certificates.crt
RUN useradd --create-home someone
COPY --chown=someone savo /home/someone/savo
USER someone
WORKDIR /home/someone/savo
"""

pytestmark = [pytest.mark.real, pytest.mark.slow(400), pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Debian 13 with the tracked files of this repository and three packages."""
    if (reason := why_no_docker()) or (reason := why_no_base(tmp_path_factory.mktemp("base"))):
        pytest.skip(reason)
    context = tmp_path_factory.mktemp("context")
    (context / "Dockerfile").write_text(DOCKERFILE)
    copy_tracked_files(context / "savo")
    shutil.copyfile(CERTIFICATES, context / "certificates")
    docker("build", "--quiet", "--network", "host", "--tag", "savo-fresh-machine", str(context))
    return "savo-fresh-machine"


def test_the_demo_without_training_succeeds(image: str) -> None:
    index_settings = [f"--env={name}={os.environ[name]}" for name in INDEX_VARIABLES if name in os.environ]
    shown = docker(
        "run", "--rm", "--network", "host", "--shm-size", "1g", *index_settings, image, "make", "demo", "DEMO_TRAIN=0"
    )
    print(shown)
    assert "got uv: .uv/bin/uv" in shown
    assert re.search(r"installed in \d+ s, \d+ MB in \.venv", shown)
    assert "written to" in shown


def test_the_image_has_no_pip_and_venv(image: str) -> None:
    probe = "import importlib.util as u; print([name for name in ('pip', 'ensurepip') if u.find_spec(name)])"
    assert docker("run", "--rm", image, "python3", "-c", probe).strip() == "[]"


def why_no_base(folder: Path) -> str | None:
    """Why there is no base image; None when it exists, can be pulled, or is built from Debian's packages."""
    reason = why_no_container(BASE)
    if reason is None:
        return None
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        return f"{reason}, and debootstrap is not installed or needs root"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", "trixie", str(folder / "root"), *mirror()],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        return f"{reason}; debootstrap: {(made.stdout.strip().splitlines() or ['no output'])[-1]}"
    packed = subprocess.Popen(["tar", "-C", folder / "root", "-c", "."], stdout=subprocess.PIPE)
    subprocess.run(["docker", "import", "-", BASE], stdin=packed.stdout, check=True, capture_output=True)
    assert packed.stdout is not None
    packed.stdout.close()
    assert packed.wait() == 0
    shutil.rmtree(folder / "root")
    return None


def mirror() -> list[str]:
    """The package mirror of this machine."""
    listed = [*Path("/etc/apt/sources.list.d").glob("debian*.sources"), Path("/etc/apt/sources.list")]
    text = "\n".join(path.read_text() for path in listed if path.exists())
    return re.findall(r"(?:^URIs:|^deb) +(\S+)", text, re.MULTILINE)[:1]


def copy_tracked_files(folder: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr
