"""Unpacking of data sets from tar archives of unknown origin."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from savo_datasets.errors import DatasetError
from savo_datasets.found_photos import LeftOut, printable

__all__ = ["MAX_MEMBER_BYTES", "Unpacked", "unpack"]

MAX_MEMBER_BYTES = 64 << 20
_MAX_HEADER_BYTES = 1 << 20
"""Extended headers are read into memory as a whole."""
_EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_UNREADABLE = (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Unpacked:
    """An unpacked archive."""

    folder: Path
    left_out: LeftOut = field(default_factory=LeftOut)
    """Members that were not written."""


class _BoundedTarInfo(tarfile.TarInfo):
    """A header that is refused when its extension is larger than the limit."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        # tarfile names this as the method for subclasses: it is called before an extension is read.
        if self.type in _EXTENDED_HEADERS and self.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header has {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Unpack the regular files of a tar archive of any compression into `folder`, one at a time.

    Links, devices and members above `MAX_MEMBER_BYTES` are left out. Raises `DatasetError` for a file that is not a
    readable tar archive, and for a member whose path leads out of `folder`.
    """
    left_out = LeftOut()
    try:
        with tarfile.open(archive, tarinfo=_BoundedTarInfo) as tar:
            for member in tar:
                if reason := _reason_to_leave_out(member):
                    left_out.add(reason, member.name)
                elif member.isreg():
                    _write(tar, member, folder)
    except _UNREADABLE as error:
        raise DatasetError(f"{archive} cannot be unpacked as a tar archive: {printable(str(error))}") from error
    return Unpacked(folder, left_out)


def _reason_to_leave_out(member: tarfile.TarInfo) -> str | None:
    if not member.isreg() and not member.isdir():
        return "a link or device in the archive"
    return f"larger than {MAX_MEMBER_BYTES >> 20} MiB" if member.size > MAX_MEMBER_BYTES else None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a regular file. `TarFile.extract` checks paths from Python 3.11.4 on only; Debian 12 has 3.11.2."""
    path = (folder / member.name.lstrip("/")).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise tarfile.ExtractError(f"the path of {member.name!r} leads out of the archive's folder")
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.ExtractError(f"{member.name!r} has no content")
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("wb") as copy:
        shutil.copyfileobj(source, copy)
