"""Tar archives of unknown origin: nothing is written outside the folder, and no member fills the memory or disk."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from savo_datasets import archives
from savo_datasets.archives import unpack
from savo_datasets.errors import DatasetError


def member(name: str, content: bytes = b"content", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, content


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, BytesIO(content))
    return path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_regular_files_are_written_and_links_and_devices_are_left_out(tmp_path: Path) -> None:
    link = {"linkname": "/etc/passwd", "size": 0}
    archive = archive_of(
        tmp_path / "data.tar.gz",
        member("images", b"", type=tarfile.DIRTYPE, mode=0),
        member("images/a.jpg"),
        member("images/b.jpg", b"", type=tarfile.SYMTYPE, **link),
        member("images/c.jpg", b"", type=tarfile.LNKTYPE, **link),
        member("images/d.jpg", b"", type=tarfile.CHRTYPE),
        member("images/e.jpg", b"", type=tarfile.FIFOTYPE),
        member("/labels/a.json"),
    )
    unpacked = unpack(archive, tmp_path / "out")
    assert files(unpacked.folder) == ["images/a.jpg", "labels/a.json"]
    assert unpacked.left_out.files == {"a link or device in the archive": [f"images/{letter}.jpg" for letter in "bcde"]}


def test_a_member_above_the_limit_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1 << 20)
    archive = archive_of(tmp_path / "data.tar.gz", member("giant.jpg", bytes(1 << 21)), member("small.jpg"))
    unpacked = unpack(archive, tmp_path / "out")
    assert files(unpacked.folder) == ["small.jpg"]
    assert unpacked.left_out.files == {"larger than 1 MiB": ["giant.jpg"]}


@pytest.mark.parametrize(
    "name", ["../outside.jpg", "/../outside.jpg", "images/../../outside.jpg", "\x1b[2J/../../outside.jpg"]
)
def test_an_archive_with_a_path_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = archive_of(tmp_path / "data.tar.gz", member(name))
    with pytest.raises(DatasetError, match=r"outside\.jpg") as refused:
        unpack(archive, tmp_path / "in" / "out")
    assert "\x1b" not in str(refused.value)
    assert not list(tmp_path.rglob("outside.jpg"))


def cut(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-1000])


def change_bytes(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[40:80] = b"\xff" * 40
    archive.write_bytes(content)


@pytest.mark.parametrize(
    "change", [cut, change_bytes, lambda archive: archive.write_bytes(b""), lambda archive: archive.write_text("text")]
)
def test_a_damaged_archive_is_an_error(tmp_path: Path, change: Callable[[Path], object]) -> None:
    noise = bytes((number * number) % 251 for number in range(20_000))
    archive = archive_of(tmp_path / "data.tar.gz", *(member(f"{number}.jpg", noise) for number in range(9)))
    change(archive)
    with pytest.raises(DatasetError, match="cannot be unpacked as a tar archive"):
        unpack(archive, tmp_path / "out")


def test_an_extended_header_above_the_limit_is_refused_unread(tmp_path: Path) -> None:
    header = member("header", bytes(2 << 20), type=tarfile.XHDTYPE)
    archive = archive_of(tmp_path / "data.tar.gz", header, member("a.jpg"))
    with pytest.raises(DatasetError, match="an extended header has 2,097,152 bytes"):
        unpack(archive, tmp_path / "out")
