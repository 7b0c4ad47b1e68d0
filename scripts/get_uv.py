"""Installer of uv with the Python standard library alone: `python3 scripts/get_uv.py FOLDER` writes FOLDER/bin/uv.

Debian and Ubuntu ship python3 without pip and venv. The wheel comes from the package index that pip would use
(variables of pip and uv, pip's configuration files, or the public index). It is unpacked only if its sha256 is that of
uv.sha256.
This runs on Python 3.8 or later; uv then finds or downloads the Python that the product needs.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import io
import json
import os
import platform
import re
import ssl
import sys
import zipfile
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPPasswordMgrWithPriorAuth,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

PINNED = Path(__file__).with_name("uv.sha256")
PUBLIC_INDEX = "https://pypi.org/simple"
PROGRAMS = ("uv", "uvx")
SECONDS = 60.0
# The programs in the musl wheels are statically linked, so they run with any C library.
PLATFORMS = {
    ("Linux", "x86_64"): "musllinux_1_1_x86_64",
    ("Linux", "aarch64"): "musllinux_1_1_aarch64",
    ("Darwin", "arm64"): "macosx_11_0_arm64",
}


class UvUnavailableError(Exception):
    """uv cannot be installed. The message is one line with the reason and the next step."""


def pinned_wheel(pinned: str, system: str, machine: str) -> tuple[str, str]:
    """File name and sha256 of the wheel for a platform. Raises `UvUnavailableError` where none is pinned."""
    tag = PLATFORMS.get((system, machine))
    for line in pinned.splitlines():
        sha256, _, name = line.partition("  ")
        if tag and tag in name:
            return name, sha256
    raise UvUnavailableError(
        f"there is no pinned uv for {system} on {machine}: install uv yourself, then run this again"
    )


def pip_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """Options of pip's configuration files, the most specific last, as pip reads them."""
    options: dict[str, str] = {}
    for path in _configuration_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise UvUnavailableError(
                f"pip's configuration {path} cannot be read: {str(error).splitlines()[0]}"
            ) from error
        for section in ("global", "install"):
            if parser.has_section(section):
                options.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    return options


def index_url(environment: Mapping[str, str], configuration: Mapping[str, str]) -> str:
    """URL of the package index, without a trailing slash."""
    named = (environment.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"))
    index = next((value for value in named if value), None) or configuration.get("index-url") or PUBLIC_INDEX
    return re.sub(r"^[\w.-]+=(?=\w+://)", "", index).rstrip("/")  # uv also accepts NAME=URL


def opener_for(index: str, certificates: str | None) -> tuple[str, OpenerDirector]:
    """URL of the index without the password, and an opener that sends it."""
    parts = urlsplit(index)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    passwords = HTTPPasswordMgrWithPriorAuth()
    if parts.username:
        server = f"{bare.scheme}://{bare.netloc}"
        passwords.add_password(
            None, server, unquote(parts.username), unquote(parts.password or ""), is_authenticated=True
        )
    try:
        context = ssl.create_default_context(cafile=certificates)
    except OSError as error:
        raise UvUnavailableError(f"the certificates {certificates} cannot be read: {error}") from error
    return urlunsplit(bare), build_opener(HTTPSHandler(context=context), HTTPBasicAuthHandler(passwords))


def wheel_address(opener: OpenerDirector, index: str, wheel: str) -> str:
    """URL of the wheel. Raises `UvUnavailableError` if the index has none, `OSError` if the index cannot be read."""
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    with opener.open(Request(f"{index}/uv/", headers={"Accept": accept}), timeout=SECONDS) as page:  # noqa: S310 - the user's own index
        body, kind, base = page.read(), page.headers.get_content_type(), page.geturl()
    for name, address in _files_of_json(body) if kind.endswith("json") else _files_of_html(body):
        if name == wheel:
            return str(urljoin(base, address))
    raise UvUnavailableError(
        f"the package index {index} has no {wheel}: install uv yourself, or set PIP_INDEX_URL to another index"
    )


def unpack(wheel: bytes, folder: Path) -> None:
    """Extract the programs of the wheel into FOLDER/bin. Each is renamed into place only when it is complete."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for member in archive.namelist():
            path = Path(member)
            if path.parent.name == "scripts" and path.name in PROGRAMS:
                partial = folder / "bin" / f".{path.name}.{os.getpid()}"
                partial.write_bytes(archive.read(member))
                partial.chmod(0o755)
                partial.replace(folder / "bin" / path.name)


def get(folder: Path, environment: Mapping[str, str], pinned: str, system: str, machine: str) -> bool:
    """Download, verify and unpack uv. Returns False if the pinned version is installed. Raises `UvUnavailableError`."""
    wheel, sha256 = pinned_wheel(pinned, system, machine)
    noted = folder / "wheel"
    if noted.exists() and noted.read_text(encoding="utf-8") == wheel and (folder / "bin" / "uv").exists():
        return False
    configuration = pip_configuration(environment)
    certificates = environment.get("PIP_CERT") or configuration.get("cert") or environment.get("SSL_CERT_FILE")
    index, opener = opener_for(index_url(environment, configuration), certificates)
    try:
        with opener.open(wheel_address(opener, index, wheel), timeout=SECONDS) as answer:
            data: bytes = answer.read()
    except (OSError, ValueError) as error:
        raise UvUnavailableError(_unreachable(index, error)) from error
    if (received := hashlib.sha256(data).hexdigest()) != sha256:
        raise UvUnavailableError(f"{wheel} from {index} has sha256 {received} instead of {sha256}: it was not unpacked")
    unpack(data, folder)
    noted.write_text(wheel, encoding="utf-8")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Install the pinned uv from the package index that pip would use.")
    parser.add_argument("folder", type=Path, help="uv is written to FOLDER/bin/uv", metavar="FOLDER")
    folder: Path = parser.parse_args().folder
    try:
        if get(folder, os.environ, PINNED.read_text(encoding="utf-8"), platform.system(), platform.machine()):
            print(f"got uv: {folder / 'bin' / 'uv'}")
    except UvUnavailableError as error:
        sys.exit(f"cannot get uv: {error}")


def _configuration_files(environment: Mapping[str, str]) -> list[Path]:
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environment.get("HOME") or "/")
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    system = [
        Path(folder) / "pip" for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder
    ]
    macos = [home / "Library/Application Support/pip"] if sys.platform == "darwin" else []
    folders = [*system, Path("/etc"), home / ".pip", user / "pip", *macos, Path(sys.prefix)]
    return [folder / "pip.conf" for folder in folders] + ([Path(named)] if named else [])


def _files_of_json(page: bytes) -> Iterable[tuple[str, str]]:
    return [(file["filename"], file["url"]) for file in json.loads(page)["files"]]


def _files_of_html(page: bytes) -> Iterable[tuple[str, str]]:
    links = _Links()
    links.feed(page.decode("utf-8", "replace"))
    return [(unquote(urlsplit(address).path.rpartition("/")[2]), address) for address in links.addresses]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _unreachable(index: str, error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        problem = f"the certificate of {index} cannot be checked"
        return f"{problem}: install the package ca-certificates, or set PIP_CERT to your certificates"
    problem = f"no answer from the package index {index} ({reason})"
    return f"{problem}: set PIP_INDEX_URL to an index that this machine reaches, or install uv yourself"


if __name__ == "__main__":
    main()
