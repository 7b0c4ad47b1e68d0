"""Unpacking of data sets from tar and zip archives of unknown origin."""

from __future__ import annotations

import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from savo_datasets.errors import DatasetError
from savo_datasets.found_photos import LeftOut, printable

__all__ = ["MAX_MEMBER_BYTES", "Unpacked", "unpack"]

MAX_MEMBER_BYTES = 64 << 20
_MAX_DOCUMENT_BYTES = 8 << 30
_DOCUMENTS = frozenset({".jsonl", ".json", ".csv"})
"""Suffixes of files that grow with the number of photos."""
_MAX_EXPANSION = 100
_ALWAYS_ALLOWED_BYTES = 1 << 30
"""An archive may unpack to so many bytes, or to `_MAX_EXPANSION` times its size: a bomb would fill the disk."""
_CHUNK = 1 << 20
_NAME_OF_AN_ARCHIVE = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.\w+)$", re.IGNORECASE)
_MAX_HEADER_BYTES = 1 << 20
"""Extended headers are read into memory as a whole."""
_EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,  # a compression that zipfile lacks
    RuntimeError,  # an encrypted zip
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
)


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
    """Unpack the regular files of a zip, or of a tar of any compression, into `folder`, one at a time.

    Links, devices and members above `MAX_MEMBER_BYTES` are left out. Raises `DatasetError` for a file that is neither,
    for one that unpacks to more than its size allows, and for a member whose path leads out of `folder`.
    """
    is_tar = _is_tar(archive)
    is_zip = archive.is_file() and zipfile.is_zipfile(archive) and not is_tar
    if archive.is_file() and not (is_zip or is_tar or _NAME_OF_AN_ARCHIVE.search(archive.name)):
        raise DatasetError(f"{archive} is neither a folder nor a tar or zip")
    try:
        target = _Target(folder, max(_ALWAYS_ALLOWED_BYTES, _MAX_EXPANSION * archive.stat().st_size))
        _unpack_zip(archive, target) if is_zip else _unpack_tar(archive, target)
    except _UNREADABLE as error:
        form = "a zip" if is_zip else "a tar"
        raise DatasetError(f"{archive} cannot be unpacked as {form} archive: {_reason(error)}") from error
    return Unpacked(folder, target.left_out)


def _reason(error: Exception) -> str:
    """In one line. That of a file in no form of tar has a line for each form."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first, *others = str(error).splitlines() or [type(error).__name__]
    return printable(" ".join([first, "; ".join(line.removeprefix("- ") for line in others)]).strip())


@dataclass
class _Target:
    """The folder that is written, and how much more may be written to it."""

    folder: Path
    allowed: int
    left_out: LeftOut = field(default_factory=LeftOut)

    def write(self, name: str, source: IO[bytes] | None) -> None:
        """Write a regular file. Sizes in the archive's headers may be wrong, so the bytes are counted.

        `TarFile.extract` checks paths from Python 3.11.4 on only; Debian 12 has 3.11.2.
        """
        path = (self.folder / name.lstrip("/")).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise ValueError(f"the path of {name!r} leads out of the archive's folder")
        if source is None:
            raise ValueError(f"{name!r} has no content")
        path.parent.mkdir(parents=True, exist_ok=True)
        with source, path.open("wb") as copy:
            while chunk := source.read(_CHUNK):
                self.allowed -= len(chunk)
                if self.allowed < 0:
                    raise ValueError(f"it unpacks to more than {_MAX_EXPANSION} times its size")
                copy.write(chunk)


def _is_tar(archive: Path) -> bool:
    """A tar may end with the bytes of a zip, which is found by its end."""
    try:
        return tarfile.is_tarfile(archive)
    except _UNREADABLE:
        return False


def _unpack_tar(archive: Path, target: _Target) -> None:
    with tarfile.open(archive, tarinfo=_BoundedTarInfo) as tar:
        for member in tar:
            if reason := _reason_to_leave_out(member.name, member.size, is_plain=member.isreg() or member.isdir()):
                target.left_out.add(reason, member.name)
            elif member.isreg():
                target.write(member.name, tar.extractfile(member))


def _unpack_zip(archive: Path, target: _Target) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where no Unix system wrote the archive
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            if reason := _reason_to_leave_out(member.filename, member.file_size, is_plain=is_plain):
                target.left_out.add(reason, member.filename)
            elif not member.is_dir():
                target.write(member.filename, zipped.open(member))


def _reason_to_leave_out(name: str, size: int, *, is_plain: bool) -> str | None:
    if not is_plain:
        return "a link or device in the archive"
    is_document = PurePosixPath(name).suffix.lower() in _DOCUMENTS
    limit = _MAX_DOCUMENT_BYTES if is_document else MAX_MEMBER_BYTES
    return f"larger than {limit >> 20} MiB" if size > limit else None
