"""What must hold before `savo up` starts anything: sound settings, a data folder that can be written and that nobody else works in."""

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

from savo_runtime.errors import FatalError

__all__ = ["MODEL_PATH", "WrongSettingError", "check_settings", "in_words", "own_folder", "wrong_model_path"]

MODEL_PATH = "SAVO_CUSTOM_VISION_MODEL_PATH"

_ON = {"1", "true", "t", "yes", "y", "on"}

_PARTS = ("db", "logs", "objects", "run")
"""Folders that the services write into: one that they may not would only show in their logs."""

_CANNOT = {
    errno.ENOSPC: "has no room left; free some",
    errno.EDQUOT: "has no room left; free some",
    errno.EROFS: "is read-only",
    errno.EACCES: "may not be written by this user",
}


class WrongSettingError(Exception):
    """The message names the variable, its value and what is allowed."""


async def check_settings(services: Sequence[str], environment: Mapping[str, str]) -> None:
    """As the services themselves will read them, in a process of its own. Raises `WrongSettingError`."""
    command = (sys.executable, "-m", "savo_runtime.check", *services)
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environment), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, output = await process.communicate()
    if process.returncode:
        raise WrongSettingError(output.decode(errors="replace").strip().removeprefix("savo: "))
    if wrong := wrong_model_path(environment):
        raise WrongSettingError(wrong)


def wrong_model_path(environment: Mapping[str, str]) -> str:
    """What is wrong with the operator's own model, where it is used and is a path of this machine; empty when nothing is.

    Vision itself goes on without it, for a machine that is restarted must not wait for a file; an operator who starts it by hand is told.
    """
    value = environment.get(MODEL_PATH, "")
    if (
        not value
        or value.startswith(("s3://", "models:"))
        or environment.get("SAVO_USE_CUSTOM_VISION", "").lower() not in _ON
    ):
        return ""
    path = Path(value)
    onnx = path.with_suffix(".onnx") if path.suffix == ".pt" else path
    if onnx.is_file():
        return ""
    if path.is_file():
        return f"{MODEL_PATH}={value!r} is a PyTorch checkpoint, which is never loaded, and {onnx} is not there; run: savo models export {path}"
    allowed = "the path of an ONNX file, s3://BUCKET/KEY, or models:/ingredients@champion"
    return f"{MODEL_PATH}={value!r} makes no sense: there is no file {onnx.resolve()}; allowed is {allowed}"


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """The data folder, made if need be, for one `savo up` at a time. Raises `FatalError`."""
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for part in (folder / name for name in _PARTS):
        with _usable(part):
            part.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=part).close()
    with _usable(folder):
        lock = (folder / "up.lock").open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise FatalError(
                f"{folder} belongs to a running `savo up` (pid {lock.read() or '?'}); end it, or choose another with --data-dir"
            ) from None
        with _usable(folder):
            os.ftruncate(lock.fileno(), 0)
            os.pwrite(lock.fileno(), str(os.getpid()).encode(), 0)
        yield


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FatalError(in_words(error, folder)) from error


def in_words(error: Exception, folder: Path) -> str:
    """An error of the operating system as a person can use it; any other error's own words."""
    if not isinstance(error, OSError) or (
        error.errno not in _CANNOT and error.errno not in (errno.ENOTDIR, errno.EEXIST)
    ):
        return str(error)
    why = _CANNOT.get(error.errno, f"cannot be used ({error.strerror})")
    return f"the data folder {folder} {why}, or choose another with --data-dir (SAVO_DATA_DIR)"
