"""Checks before `savo up` starts a service: valid settings, and a writable data folder that no other `savo up` uses."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from savo_cli.start.plan import is_on
from savo_cli.weekly.mail import MailServer
from savo_cli.weekly.schedule import is_configured
from savo_runtime.command_line.output import CommandError
from savo_runtime.errors import FatalError

__all__ = ["MODEL_PATH", "WrongSettingError", "check_settings", "error_text", "locked_data_folder", "wrong_model_path"]

MODEL_PATH = "SAVO_CUSTOM_VISION_MODEL_PATH"

_SUBFOLDERS = ("db", "logs", "objects", "run")
"""Folders that the services write to. Without this check a missing permission would appear only in their logs."""

_REASONS = {
    errno.ENOSPC: "has no space left; free some",
    errno.EDQUOT: "has no space left; free some",
    errno.EROFS: "is read-only",
    errno.EACCES: "is not writable for this user",
}


class WrongSettingError(Exception):
    """A setting is invalid. The message names the variable, its value and what is allowed."""


async def check_settings(services: Sequence[str], environment: Mapping[str, str]) -> None:
    """Load the services' settings in a separate process, as they will. Raises `WrongSettingError`."""
    command = (sys.executable, "-m", "savo_runtime.check", *services)
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environment), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, output = await process.communicate()
    if process.returncode:
        raise WrongSettingError(output.decode(errors="replace").strip().removeprefix("savo: "))
    if wrong := wrong_model_path(environment) or _wrong_digest_settings(environment):
        raise WrongSettingError(wrong)


def wrong_model_path(environment: Mapping[str, str]) -> str:
    """The problem with SAVO_CUSTOM_VISION_MODEL_PATH if it is in use and a local path; empty if there is none.

    Vision itself starts without the file, so that a restarted machine serves scans. Only a start by hand reports it.
    """
    value = environment.get(MODEL_PATH, "")
    if not value or value.startswith(("s3://", "models:")) or not is_on(environment, "SAVO_USE_CUSTOM_VISION"):
        return ""
    path = Path(value)
    onnx = path.with_suffix(".onnx") if path.suffix == ".pt" else path
    if onnx.is_file():
        return ""
    if path.is_file():
        problem = f"{MODEL_PATH}={value!r} is a PyTorch checkpoint, which is never loaded, and {onnx} does not exist"
        return f"{problem}; run: savo models export {path}"
    allowed = "the path of an ONNX file, s3://BUCKET/KEY, or models:/ingredients@champion"
    return f"{MODEL_PATH}={value!r} makes no sense: there is no file {onnx.resolve()}; allowed is {allowed}"


def _wrong_digest_settings(environment: Mapping[str, str]) -> str:
    """The problem with SMTP_URL or SAVO_DIGEST_TO if both are set; empty if there is none."""
    if not is_configured(environment):
        return ""
    try:
        MailServer.of(environment["SMTP_URL"])
    except CommandError as error:
        return str(error)
    recipients = environment["SAVO_DIGEST_TO"]
    if all("@" in address for address in filter(None, (part.strip() for part in recipients.split(",")))):
        return ""
    return f"SAVO_DIGEST_TO={recipients!r} makes no sense: allowed is a mail address, or several: NAME@HOST,NAME@HOST"


@contextmanager
def locked_data_folder(folder: Path) -> Iterator[None]:
    """Create the data folder if needed, and lock it against a second `savo up`. Raises `FatalError`."""
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for subfolder in (folder / name for name in _SUBFOLDERS):
        with _usable(subfolder):
            subfolder.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=subfolder).close()
    with _usable(folder):
        lock = (folder / "up.lock").open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = f"a running `savo up` (pid {lock.read() or '?'})"
            raise FatalError(f"{folder} is in use by {holder}; end it, or choose another with --data-dir") from None
        with _usable(folder):
            os.ftruncate(lock.fileno(), 0)
            os.pwrite(lock.fileno(), str(os.getpid()).encode(), 0)
        yield


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FatalError(error_text(error, folder)) from error


def error_text(error: Exception, folder: Path) -> str:
    """The message of an error. One of the operating system names the data folder and the next step."""
    if not isinstance(error, OSError) or (
        error.errno not in _REASONS and error.errno not in (errno.ENOTDIR, errno.EEXIST)
    ):
        return str(error)
    reason = _REASONS.get(error.errno, f"cannot be used ({error.strerror})")
    return f"the data folder {folder} {reason}, or choose another with --data-dir (SAVO_DATA_DIR)"
