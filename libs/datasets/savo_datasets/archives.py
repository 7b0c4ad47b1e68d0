"""Unpacking of data sets from tar archives of unknown origin."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

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
_UNREADABLE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Unpacked:
    """An unpacked archive."""

    folder: Path
    left_out: LeftOut = field(default_factory=LeftOut)
    """Members that were not written."""


class _BoundedTarInfo(tarfile.TarInfo):
    """A header that is refused when its extension is larger than the limit."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        header = super().frombuf(buf, encoding or "utf-8", errors)
        if header.type in _EXTENDED_HEADERS and header.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header has {header.size:,} bytes")
        return header


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
                    tar.extract(member, folder, set_attrs=False, filter="data")
    except _UNREADABLE as error:
        raise DatasetError(f"{archive} cannot be unpacked as a tar archive: {printable(str(error))}") from error
    return Unpacked(folder, left_out)


def _reason_to_leave_out(member: tarfile.TarInfo) -> str | None:
    if not member.isreg() and not member.isdir():
        return "a link or device in the archive"
    return f"larger than {MAX_MEMBER_BYTES >> 20} MiB" if member.size > MAX_MEMBER_BYTES else None
