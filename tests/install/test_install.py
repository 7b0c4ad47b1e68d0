"""Installer without uv: it downloads the pinned wheel from pip's index, or prints one line with the next step."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.get_uv import PLATFORMS, UvUnavailableError, get, index_url, pinned_wheel, pip_configuration

ROOT = Path(__file__).parents[2]
PINNED = (ROOT / "scripts/uv.sha256").read_text()
WHEEL = "uv-1.2.3-py3-none-musllinux_1_1_x86_64.whl"
LINUX = ("Linux", "x86_64")
# A fake uv that has no Python until it installs one, and records its arguments.
UV = r"""#!/bin/sh
echo "$@" >>calls
case "$1 $2" in
  "python find") [ -e has-python ] ;;
  "python install") [ -e can-fetch ] ;;
  "sync --frozen") mkdir -p .venv/bin; printf '#!/bin/sh\n' >.venv/bin/python; chmod +x .venv/bin/python ;;
esac
"""


def wheel_with(uv: str = UV) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in (("uv/__init__.py", ""), ("uv-1.2.3.data/scripts/uv", uv), ("uv-1.2.3.data/scripts/uvx", uv)):
            archive.writestr(zipfile.ZipInfo(name), text)  # a fixed time gives the same bytes each time
    return data.getvalue()


@dataclass
class Index:
    """A package index with one wheel of uv."""

    url: str = ""
    html: bool = False
    login: str | None = None
    wheel: bytes = field(default_factory=wheel_with)
    calls: list[str] = field(default_factory=list)

    @property
    def pinned(self) -> str:
        return f"{hashlib.sha256(wheel_with()).hexdigest()}  {WHEEL}\n"

    def environment(self, **more: str) -> dict[str, str]:
        return {"PIP_INDEX_URL": f"{self.url}/simple/", "PIP_CONFIG_FILE": os.devnull, "no_proxy": "127.0.0.1"} | more

    def answer(self, path: str) -> tuple[str, bytes]:
        if path == "/simple/uv/" and self.html:
            return "text/html", f'<a href="../../files/{WHEEL}#sha256=0">{WHEEL}</a>'.encode()
        if path == "/simple/uv/":
            other = {"filename": "uv-1.2.2-py3-none-any.whl", "url": "/files/other"}
            return "application/vnd.pypi.simple.v1+json", json.dumps(
                {"files": [other, {"filename": WHEEL, "url": f"/files/{WHEEL}"}]}
            ).encode()
        assert path == f"/files/{WHEEL}"
        return "application/octet-stream", self.wheel


@pytest.fixture
def index() -> Iterator[Index]:
    served = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.calls.append(self.path)
            expected = served.login and "Basic " + base64.b64encode(served.login.encode()).decode()
            if expected and self.headers.get("Authorization") != expected:
                self.send_error(401)
                return
            kind, body = served.answer(self.path)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """No log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("html", [False, True], ids=["a JSON index", "an HTML index"])
def test_uv_is_downloaded_from_an_index(index: Index, tmp_path: Path, html: bool) -> None:
    index.html = html
    assert get(tmp_path, index.environment(), index.pinned, *LINUX)
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == ["uv", "uvx"]
    assert os.access(tmp_path / "bin/uv", os.X_OK)


def test_an_installed_uv_is_not_downloaded_again(index: Index, tmp_path: Path) -> None:
    get(tmp_path, index.environment(), index.pinned, *LINUX)
    assert not get(tmp_path, index.environment(), index.pinned, *LINUX)
    assert len(index.calls) == 2


def test_another_pinned_version_replaces_the_installed_one(index: Index, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uv").write_text("old")
    (tmp_path / "wheel").write_text("uv-1.2.2-py3-none-musllinux_1_1_x86_64.whl")
    assert get(tmp_path, index.environment(), index.pinned, *LINUX)
    assert (tmp_path / "bin/uv").read_text() == UV


def test_an_index_with_a_password_receives_it(index: Index, tmp_path: Path) -> None:
    index.login = "someone:pass/word"
    environment = index.environment(
        PIP_INDEX_URL=index.url.replace("http://", "http://someone:pass%2Fword@") + "/simple"
    )
    assert get(tmp_path, environment, index.pinned, *LINUX)


def test_a_wheel_with_another_sha256_is_not_unpacked(index: Index, tmp_path: Path) -> None:
    index.wheel = wheel_with("#!/bin/sh\n")
    with pytest.raises(UvUnavailableError, match=r"has sha256 .* instead of .*: it was not unpacked"):
        get(tmp_path, index.environment(), index.pinned, *LINUX)
    assert list(tmp_path.iterdir()) == []


def test_the_error_names_an_index_without_the_pinned_version(index: Index, tmp_path: Path) -> None:
    with pytest.raises(UvUnavailableError, match=rf"the package index {index.url}/simple has no uv-9"):
        get(tmp_path, index.environment(), index.pinned.replace("uv-1", "uv-9"), *LINUX)


def test_the_error_names_an_index_that_does_not_answer(tmp_path: Path) -> None:
    environment = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_CONFIG_FILE": os.devnull}
    with pytest.raises(
        UvUnavailableError, match=r"no answer from the package index http://127.0.0.1:9 .*: set PIP_INDEX_URL"
    ):
        get(tmp_path, environment, PINNED, *LINUX)


@pytest.mark.parametrize(
    ("environment", "configuration", "index"),
    [
        ({}, {}, "https://pypi.org/simple"),
        ({}, {"index-url": "https://mirror.example/simple/"}, "https://mirror.example/simple"),
        ({"PIP_INDEX_URL": "https://pip.example"}, {"index-url": "https://mirror.example"}, "https://pip.example"),
        ({"UV_INDEX_URL": "https://uv.example", "PIP_INDEX_URL": "https://pip.example"}, {}, "https://uv.example"),
        (
            {"UV_DEFAULT_INDEX": "inner=https://uv.example?a=b", "UV_INDEX_URL": "https://old.example"},
            {},
            "https://uv.example?a=b",
        ),
    ],
)
def test_the_index_is_that_of_pip_and_uv(
    environment: Mapping[str, str], configuration: Mapping[str, str], index: str
) -> None:
    assert index_url(environment, configuration) == index


def test_the_users_pip_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(
        "[global]\nindex_url = https://user.example\ncert = /a.pem\n[install]\nindex-url = https://install.example\n"
    )
    (tmp_path / "named.conf").write_text("[global]\ncert = /b.pem\n")
    read = pip_configuration({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "named.conf")})
    assert (read["index-url"], read["cert"]) == ("https://install.example", "/b.pem")


def test_no_configuration_is_read_when_pip_ignores_it(tmp_path: Path) -> None:
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip/pip.conf").write_text("[global]\nindex-url = https://user.example\n")
    assert pip_configuration({"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}) == {}


def test_the_error_names_an_unreadable_configuration(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("index-url = https://user.example\n")
    with pytest.raises(UvUnavailableError, match=r"pip.conf cannot be read: File contains no section headers"):
        pip_configuration({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})


@pytest.mark.parametrize(("system", "machine"), PLATFORMS)
def test_a_wheel_is_pinned_for_every_platform_of_the_readme(system: str, machine: str) -> None:
    name, sha256 = pinned_wheel(PINNED, system, machine)
    assert name.startswith("uv-")
    assert len(sha256) == 64


def test_the_error_names_a_platform_without_a_wheel() -> None:
    with pytest.raises(UvUnavailableError, match="no pinned uv for Plan9 on sparc: install uv yourself"):
        pinned_wheel(PINNED, "Plan9", "sparc")


@dataclass
class FreshMachine:
    """A clone on a machine without uv and, at first, without a suitable Python."""

    clone: Path
    environment: dict[str, str]

    def add(self, name: str) -> None:
        (self.clone / name).touch()

    def install(self) -> subprocess.CompletedProcess[str]:
        command = ["bash", "scripts/install", "--no-dev"]
        return subprocess.run(
            command, cwd=self.clone, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def machine(index: Index, tmp_path: Path) -> FreshMachine:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("awk", "bash", "chmod", "cut", "date", "df", "dirname", "du", "mkdir"):
        (tools / name).symlink_to(shutil.which(name) or name)
    (tools / "python3").symlink_to(sys.executable)
    shutil.copytree(ROOT / "scripts", tmp_path / "clone/scripts")
    (tmp_path / "clone/scripts/uv.sha256").write_text(index.pinned)
    return FreshMachine(tmp_path / "clone", index.environment(PATH=str(tools), HOME=str(tmp_path)))


needs_linux = pytest.mark.skipif(
    (platform.system(), platform.machine()) != LINUX, reason="the wheel of these tests is for Linux on x86_64"
)


@needs_linux
def test_a_machine_with_only_python_is_installed(machine: FreshMachine) -> None:
    machine.add("has-python")
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "got uv: .uv/bin/uv" in done.stdout
    assert "installed in" in done.stdout
    *_, last_call = (machine.clone / "calls").read_text().splitlines()
    assert last_call == "sync --frozen --inexact --quiet --compile-bytecode --no-dev"


@needs_linux
def test_a_machine_with_an_old_python_gets_a_new_one(machine: FreshMachine) -> None:
    machine.add("can-fetch")
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "Python 3.11 to 3.14 is not installed: uv downloads it" in done.stderr


@needs_linux
def test_a_machine_that_cannot_get_python_gets_one_line(machine: FreshMachine) -> None:
    done = machine.install()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Python 3.11 to 3.14 could not be downloaded")


def test_a_machine_without_python_gets_one_line(machine: FreshMachine, tmp_path: Path) -> None:
    (tmp_path / "tools/python3").unlink()
    done = machine.install()
    assert done.returncode == 1
    assert done.stderr == "Python is missing: install python3 (3.11 to 3.14), or uv, which can download it\n"
