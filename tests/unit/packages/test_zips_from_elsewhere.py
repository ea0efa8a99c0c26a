"""A zip built elsewhere: checked like everything that somebody will unpack."""

from __future__ import annotations

import hashlib
import io
import random
import stat
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
from unit.packages.trees import FOLDER, ZIP, findings, make_zip, summaries, write

from synapse_apply.files.tree import BLOCK
from synapse_apply.model.resource import PackageSource
from synapse_apply.packages import content
from synapse_apply.packages.sources import list_package_files, read_source_as_package


def test_a_plain_zip_has_the_digest_of_its_content(tmp_path: Path) -> None:
    """Folders do not count, nor do times, methods and order."""
    write(tmp_path / "p", {"config.yaml": "x", "d/a": "y"})
    (tmp_path / "p" / "d" / "a").chmod(0o755)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        made.writestr("d/", "")
        info = zipfile.ZipInfo("d/a", (2020, 5, 5, 5, 5, 5))
        info.external_attr = 0o100775 << 16
        made.writestr(info, "y", zipfile.ZIP_STORED)
        made.writestr("config.yaml", "x", zipfile.ZIP_DEFLATED)
    package = read_source_as_package(ZIP, tmp_path)
    assert package.digest == read_source_as_package(FOLDER, tmp_path).digest
    assert list_package_files(ZIP, tmp_path).included == {"config.yaml": 1, "d/a": 1}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("/etc/x", "is absolute"),
        ("C:/x", "is absolute"),
        ("c:x", "is absolute"),
        ("..\\x", "backslash"),
        ("a//b", "empty part"),
        ("./a", "'.'"),
        ("a\tb", "control characters"),
        ("a/" * 3000 + "b", "longer than"),
        ("../", "'..'"),
    ],
)
def test_names_that_could_write_elsewhere_are_refused(tmp_path: Path, name: str, said: str) -> None:
    """Zip-slip in every spelling, files and folders."""
    make_zip(tmp_path / "p.zip", {"ok": b"x", name: b""})
    found = findings(ZIP, tmp_path)
    assert [one.summary for one in found] == ["Unsafe name in the package"]
    assert said in found[0].detail
    assert found[0].detail.startswith("p.zip: ")


def _unicode_path(name: str, header: str, *, checksum: int = 0) -> bytes:
    """The extra field in which Info-ZIP has a name of its own."""
    data = struct.pack("<BL", 1, zlib.crc32(header.encode()) ^ checksum) + name.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data


@pytest.mark.parametrize("checksum", [0, 1], ids=["valid", "other"])
@pytest.mark.parametrize(
    ("header", "name"),
    [("plugin/run.py", "plugin/run.py/"), ("plugin/run.py/", "plugin/run.py"), ("ok", "../x")],
)
def test_an_entry_with_two_names_is_refused(
    tmp_path: Path, header: str, name: str, checksum: int
) -> None:
    """Programs differ in which of them they take: one would hide a file, or write elsewhere."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        made.writestr("config.yaml", "x")
        info = zipfile.ZipInfo(header)
        info.extra = _unicode_path(name, header, checksum=checksum)
        made.writestr(info, "import os")
    assert "Two names for one entry in the zip" in summaries(ZIP, tmp_path)


def test_an_entry_whose_two_names_are_one(tmp_path: Path) -> None:
    """As Info-ZIP writes it."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        info = zipfile.ZipInfo("config.yaml")
        info.extra = _unicode_path("config.yaml", "config.yaml")
        made.writestr(info, "x")
    assert summaries(ZIP, tmp_path) == []


def test_a_folder_that_holds_bytes_is_refused(tmp_path: Path) -> None:
    """Some programs write a file there."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        made.writestr("config.yaml", "x")
        made.writestr("plugin/run.py/", "import os")
    assert "Unsafe name in the package" in summaries(ZIP, tmp_path)


@pytest.mark.parametrize("place", ["before", "between"])
def test_bytes_of_no_entry_are_refused(tmp_path: Path, place: str) -> None:
    """What reads a zip from its beginning finds a file there that nobody was shown."""
    hidden = io.BytesIO()
    with zipfile.ZipFile(hidden, "w") as archive:
        archive.writestr("plugin/evil.py", "import os")
    entry = hidden.getvalue().partition(b"PK\x01\x02")[0]
    with (tmp_path / "p.zip").open("wb") as file:
        file.write(entry if place == "before" else b"")
        with zipfile.ZipFile(file, "w") as made:
            made.writestr("config.yaml", "x")
            if place == "between":
                file.seek(0, io.SEEK_END)
                file.write(entry)
                made.start_dir = file.tell()
    assert "Bytes outside every entry of the zip" in summaries(ZIP, tmp_path)


def _changed_local_header(path: Path, name: str, at: int, new: bytes) -> None:
    """Write other bytes into the local header of an entry; `at` is where they are in it."""
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(name).header_offset + at
    data = path.read_bytes()
    path.write_bytes(data[:start] + new + data[start + len(new) :])


@pytest.mark.parametrize(
    ("name", "at", "new", "what"),
    [
        ("plugin/", 30, b"secret.", "name"),
        ("plugin/", 22, b"\1", "size"),
        ("plugin/", 18, b"\1", "compressed size"),
        ("plugin/", 0, b"PK\1\2", "signature"),
        ("a.py", 30, b"b", "name"),
        ("a.py", 18, b"\0", "compressed size"),
        ("a.py", 22, b"\0", "size"),
        ("a.py", 22, b"\xff\xff\xff\xff", "size"),
        ("a.py", 8, b"\0", "method"),
        ("a.py", 6, b"\x08", "flag"),
        ("a.py", 7, b"\x08", "flag"),
    ],
)
def test_a_local_header_that_is_not_as_the_directory_says(
    tmp_path: Path, name: str, at: int, new: bytes, what: str
) -> None:
    """What reads a zip from its beginning sees a file there that nobody was shown."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        made.writestr("config.yaml", "x")
        made.writestr("plugin/", "")
        made.writestr("a.py", "x" * 50, zipfile.ZIP_DEFLATED)
    _changed_local_header(tmp_path / "p.zip", name, at, new)
    found = findings(ZIP, tmp_path)
    assert [one.summary for one in found] == ["Two headers of an entry in the zip differ"]
    assert found[0].detail.startswith(f"p.zip: {name} has one {what} before its content ")


@pytest.mark.parametrize("entry", ["a.py", "plugin/"])
def test_a_folder_whose_bytes_are_a_file_for_some(tmp_path: Path, entry: str) -> None:
    """The directory says of the file that it is a folder without content."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        made.writestr("config.yaml", "x")
        made.writestr(entry, "import os")
        info = made.getinfo(entry)
        info.filename, info.file_size, info.CRC = "plugin/", 0, 0
    assert summaries(ZIP, tmp_path) == [
        "Two headers of an entry in the zip differ",
        "Unsafe name in the package",
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bytes_behind_the_content_of_an_entry(tmp_path: Path, method: int) -> None:
    """Its compressed size has room for a file that only some programs find."""
    make_zip(tmp_path / "hidden.zip", {"plugin/evil.py": b"import os"})
    hidden = (tmp_path / "hidden.zip").read_bytes().partition(b"PK\x01\x02")[0]
    with zipfile.ZipFile(tmp_path / "p.zip", "w", method) as made:
        made.writestr("config.yaml", b"x" * 100)
        info = made.getinfo("config.yaml")
        assert made.fp is not None
        made.fp.seek(made.start_dir)
        made.fp.write(hidden)
        made.start_dir += len(hidden)
        info.compress_size += len(hidden)
        made.fp.seek(18)
        made.fp.write(struct.pack("<L", info.compress_size))
    assert summaries(ZIP, tmp_path) == ["Damaged entry in the zip"]


@pytest.mark.parametrize("size", [0, 4, 6])
def test_content_that_goes_on_behind_its_size(tmp_path: Path, size: int) -> None:
    """Nor is content that ends before its size all that it should be."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("config.yaml", b"x")
        made.writestr("a", b"12345")
        info = made.getinfo("a")
        info.file_size, info.CRC = size, zlib.crc32(b"12345"[:size])
        assert made.fp is not None
        made.fp.seek(info.header_offset + 22)
        made.fp.write(struct.pack("<L", size))
    assert summaries(ZIP, tmp_path) == ["Damaged entry in the zip"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7])
def test_content_of_each_size_is_read_whole(tmp_path: Path, method: int, size: int) -> None:
    """What hardly shrinks, and what shrinks to a thousandth."""
    kinds = {"noise": random.Random(size).randbytes(size), "zeros": bytes(size)}
    with zipfile.ZipFile(tmp_path / "p.zip", "w", method) as made:
        made.writestr("config.yaml", "x")
        for name, data in kinds.items():
            made.writestr(name, data)
    files = read_source_as_package(ZIP, tmp_path).files
    for name, data in kinds.items():
        assert files[name] == hashlib.sha256(data).hexdigest()


def test_a_second_name_in_the_local_header_alone(tmp_path: Path) -> None:
    """An extra field of the directory is not that of the local header."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        info = zipfile.ZipInfo("config.yaml")
        info.extra = _unicode_path("plugin/run.py", "config.yaml")
        made.writestr(info, "x")
        info.extra = b""
    assert summaries(ZIP, tmp_path) == ["Two names for one entry in the zip"]


def test_other_sizes_in_the_extra_field_of_the_local_header(tmp_path: Path) -> None:
    """Some programs take them whatever the header says."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        info = zipfile.ZipInfo("config.yaml")
        info.extra = struct.pack("<HHQQ", 1, 16, 1, 1)
        made.writestr(info, "x" * 40)
        info.extra = b""
    assert summaries(ZIP, tmp_path) == ["Two headers of an entry in the zip differ"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_with_room_for_large_sizes(tmp_path: Path, method: int) -> None:
    """The sizes are in the extra field of the local header alone."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w", method) as made:
        made.mkdir("d")
        with made.open("config.yaml", "w", force_zip64=True) as file:
            file.write(b"x" * 100)
    assert summaries(ZIP, tmp_path) == []


def test_a_zip_that_git_makes(tmp_path: Path) -> None:
    """The sizes of a large file stand behind its content."""
    write(tmp_path / "p", {"config.yaml": "x" * 5000, "d/\u00fc": "y"})
    for arguments in (
        "init -q",
        "add .",
        "-c user.name=a -c user.email=a@b.example commit -qm x",
        "-c core.bigFileThreshold=1k archive --format=zip -o ../p.zip HEAD",
    ):
        subprocess.run(["git", *arguments.split()], cwd=tmp_path / "p", check=True)
    assert summaries(ZIP, tmp_path) == []


def test_a_zip_that_was_written_to_a_pipe(tmp_path: Path) -> None:
    """The sizes of its entries stand behind them."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("config.yaml", "a"):
            made.writestr(name, "x" * 100)
        # As Java's ZipOutputStream does: a deflated nothing.
        with made.open("d/", "w") as file:
            file.write(b"")
    assert made.getinfo("d/").compress_size == 2
    (tmp_path / "p.zip").write_bytes(pipe.getvalue())
    assert summaries(ZIP, tmp_path) == []


def test_a_zero_byte_in_a_name_is_refused(tmp_path: Path) -> None:
    """Some unpackers cut the name there."""
    make_zip(tmp_path / "p.zip", {"goodXbad": b"x"})
    data = (tmp_path / "p.zip").read_bytes().replace(b"goodXbad", b"good\0bad")
    (tmp_path / "p.zip").write_bytes(data)
    assert "Unsafe name in the package" in summaries(ZIP, tmp_path)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path: Path, mode: int) -> None:
    """A link in a zip can lead anywhere where it is unpacked."""
    make_zip(tmp_path / "p.zip", {"a": b"/etc"}, external_attr=(mode | 0o777) << 16)
    assert summaries(ZIP, tmp_path) == ["Link or special file in the zip"]


def test_names_that_stand_twice_collide(tmp_path: Path) -> None:
    """Exactly, by spelling, by case, and as a file and a folder."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as made:
        for name in ("a", "\uac00", "\u1100\u1161", "B", "b", "f", "f/x"):
            made.writestr(name, name)
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a", "again")
    assert summaries(ZIP, tmp_path) == ["Names collide in the package"] * 4


def patched(path: Path, at: int, value: int) -> None:
    """Set a 16-bit field of every local header (and its twin of the central directory)."""
    data = bytearray(path.read_bytes())
    for start, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        where = data.find(start)
        while where >= 0:
            struct.pack_into("<H", data, where + at + shift, value)
            where = data.find(start, where + 4)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("at", "value", "summary"),
    [(6, 1, "Encrypted entry in the zip"), (8, 12, "Unusual compression in the zip"),
     (8, 99, "Unusual compression in the zip")],
)  # fmt: skip
def test_what_the_platform_could_not_unpack_is_refused(
    tmp_path: Path, at: int, value: int, summary: str
) -> None:
    """Passwords, bzip2, unknown methods."""
    make_zip(tmp_path / "p.zip", {"a": b"x"})
    patched(tmp_path / "p.zip", at, value)
    (found,) = findings(ZIP, tmp_path)
    assert found.summary == summary
    assert found.detail.startswith("p.zip: a ")


def test_damaged_content_is_found(tmp_path: Path) -> None:
    """The checksum of every entry is checked, and every bad one named."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_STORED) as made:
        for name in ("a", "b", "c"):
            made.writestr(name, f"content of {name}")
    data = (tmp_path / "p.zip").read_bytes()
    for name in (b"a", b"c"):
        data = data.replace(b"content of " + name, b"Content of " + name)
    (tmp_path / "p.zip").write_bytes(data)
    found = findings(ZIP, tmp_path)
    assert [one.summary for one in found] == ["Damaged entry in the zip"] * 2
    assert [one.detail.split(": ")[:2] for one in found] == [["p.zip", "a"], ["p.zip", "c"]]


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what it declares, within the size limit too."""
    monkeypatch.setattr(content, "_BOMB_FROM", 100_000)
    make_zip(tmp_path / "p.zip", {"a": bytes(1_000_000)})
    assert summaries(ZIP, tmp_path) == ["Zip bomb"]
    assert summaries(ZIP, tmp_path, 1000) == ["Package too large", "Zip bomb"]


def test_an_entry_that_declares_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    """The size in the directory is a claim."""
    make_zip(tmp_path / "p.zip", {"a": bytes(5000)})
    data = (tmp_path / "p.zip").read_bytes().replace(struct.pack("<I", 5000), struct.pack("<I", 5))
    (tmp_path / "p.zip").write_bytes(data)
    assert summaries(ZIP, tmp_path) == ["Damaged entry in the zip"]


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """One kernel quoted by many entries makes a bomb of any size."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr("a", "same")
        twin = zipfile.ZipInfo("b")
        first = zipped.infolist()[0]
        for fact in ("header_offset", "CRC", "compress_size", "file_size"):
            setattr(twin, fact, getattr(first, fact))
        zipped.filelist.append(twin)
    (tmp_path / "p.zip").write_bytes(made.getvalue())
    assert summaries(ZIP, tmp_path) == ["Overlapping entries in the zip"]


def test_size_emptiness_and_pointers_are_checked_as_for_folders(tmp_path: Path) -> None:
    """One rule for every source."""
    make_zip(tmp_path / "p.zip", {"d/": b""})
    assert summaries(ZIP, tmp_path) == ["Package is empty"]
    make_zip(tmp_path / "p.zip", {"a": bytes(range(100))})
    assert summaries(ZIP, tmp_path, 99) == ["Package too large"]
    make_zip(tmp_path / "p.zip", {"m.pt": b"version https://git-lfs.github.com/spec/v1\n"})
    assert summaries(ZIP, tmp_path) == ["Git LFS pointer in the package"]


@pytest.mark.parametrize(
    ("path", "summary"),
    [
        ("none.zip", "Package file not found"),
        ("p", "Package file not found"),
        ("../else.zip", "Package outside the project"),
        ("text", "Not a usable zip"),
    ],
)
def test_files_that_are_not_there_or_not_ours(tmp_path: Path, path: str, summary: str) -> None:
    """Missing, a folder, outside, no zip."""
    write(tmp_path, {"project/p/a": "x", "project/text": "x", "else.zip": "x"})
    assert summaries(PackageSource("file", path), tmp_path / "project") == [summary]
