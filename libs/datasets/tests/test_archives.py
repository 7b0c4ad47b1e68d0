"""Archives of unknown origin: nothing is written outside the folder, and no member fills the memory or disk."""

from __future__ import annotations

import stat
import tarfile
import zipfile
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


def zip_of(path: Path, **members: bytes) -> Path:
    """A zip of files. In their names, __ stands for a slash and _ for a dot."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name.replace("__", "/").replace("_", "."), content)
    return path


def test_a_zip_is_unpacked_without_its_links(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "data.zip", images__a_jpg=b"photo", classes_txt=b"egg")
    with zipfile.ZipFile(archive, "a") as zipped:
        link = zipfile.ZipInfo("images/b.jpg")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")
        zipped.mkdir("labels")
    unpacked = unpack(archive, tmp_path / "out")
    assert files(unpacked.folder) == ["classes.txt", "images/a.jpg"]
    assert unpacked.left_out.files == {"a link or device in the archive": ["images/b.jpg"]}


def test_a_zip_s_path_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as zipped:
        zipped.writestr("../../outside.txt", b"content")
    with pytest.raises(DatasetError, match="leads out of the archive's folder"):
        unpack(tmp_path / "data.zip", tmp_path / "a/b/out")
    assert files(tmp_path) == ["data.zip"]


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED_BYTES", 1 << 20)
    zip_bomb = zip_of(tmp_path / "bomb.zip", a_jpg=bytes(4 << 20))
    tar_bomb = archive_of(tmp_path / "bomb.tar.gz", member("a.jpg", bytes(4 << 20)))
    for bomb in (zip_bomb, tar_bomb):
        with pytest.raises(DatasetError, match="unpacks to more than 100 times its size"):
            unpack(bomb, tmp_path / "out")


def test_a_zip_with_a_password_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "data.zip", a_jpg=b"photo")
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # the flag of encryption, in the file's own header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot be unpacked as a zip archive: .*password"):
        unpack(archive, tmp_path / "out")


def test_a_file_that_is_no_archive_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [egg]\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"data\.yaml is neither a folder nor a tar or zip$"):
        unpack(tmp_path / "data.yaml", tmp_path / "out")
    (tmp_path / "data.tar").write_text("text", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"successfully: method gz: [^\\]+; method bz2: "):
        unpack(tmp_path / "data.tar", tmp_path / "out")
