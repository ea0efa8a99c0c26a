"""What counts as the content of a package, how its digest and its zip are made, and what differs.

A zip that is written is reproducible: the same content always gives the same bytes. One from
elsewhere is refused where it is damaged, encrypted, or has overlapping entries.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import IO, Any, cast

from synapse_apply.files.tree import BLOCK, UnreadableError, escape_misleading_path
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.packages import EXECUTABLE_SUFFIX, is_lfs_pointer
from synapse_apply.packages import ignore
from synapse_apply.packages.zip_stamps import FileStamp


@frozen
class PackageFile:
    """One file of a package.

    `path` is relative to the package's root, in NFC, with forward slashes; `size` is in bytes as
    the source states it; `blocks` opens and reads the content (UnreadableError if it cannot);
    `place` is the file's path in a folder as it is spelled there, a link followed.
    """

    path: str
    is_executable: bool
    size: int
    blocks: Callable[[], Iterator[bytes]]
    place: str = ""


@mutable
class GatheredFiles:
    """The files of a source before they are read.

    `excluded` has (path, rule) of what is left out, a folder's path with a slash at its end;
    `findings` the errors; `zip_stamp` is set where all entries are in one zip on disk;
    `ignore_files` the texts of the ignore files at the root, by name.
    """

    entries: list[PackageFile] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Diagnostic] = field(default_factory=list)
    zip_stamp: FileStamp | None = None
    ignore_files: dict[str, str] = field(default_factory=dict)


@mutable
class MeasuredPackage:
    """`files` maps each path to `SHA256HEX`, or `SHA256HEX x` for an executable file.

    `size` is the sum of all sizes in bytes.
    """

    files: dict[str, str] = field(default_factory=dict)
    size: int = 0
    findings: list[Diagnostic] = field(default_factory=list)


def compute_package_digest(files: Mapping[str, str]) -> str:
    """The digest `pkg1:sha256:HEX` of a package's files; `files` is as in `MeasuredPackage`.

    These bytes are hashed: `synapse-apply package 1` and a zero byte; the number of files (8 bytes,
    big endian); then for each file, in the order of its path's UTF-8 bytes: the length of the path
    in bytes (8 bytes, big endian), the path (NFC, UTF-8), `x` if it is executable else `-`, and the
    32 bytes of the SHA-256 of its content. Times, owners, other permission bits, empty folders,
    the order of files and the encoding of a zip have no influence.
    """
    package_hash = hashlib.sha256(b"synapse-apply package 1\0" + len(files).to_bytes(8, "big"))
    for path_bytes, path in sorted((path.encode(), path) for path in files):
        content = files[path]
        package_hash.update(len(path_bytes).to_bytes(8, "big") + path_bytes)
        package_hash.update(b"x" if content.endswith(EXECUTABLE_SUFFIX) else b"-")
        package_hash.update(bytes.fromhex(content.removesuffix(EXECUTABLE_SUFFIX)))
    return f"pkg1:sha256:{package_hash.hexdigest()}"


def exhaust(_file: PackageFile, blocks: Iterator[bytes]) -> None:
    """Read a file to its end."""
    for _ in blocks:
        pass


def measure_files(
    files: Iterable[PackageFile],
    read: Callable[[PackageFile, Iterator[bytes]], None] = exhaust,
) -> MeasuredPackage:
    """Read each file once and hash it; errors are collected in `findings`.

    `read` gets the blocks that are hashed and must consume them.
    """
    measured = MeasuredPackage()
    for file in files:
        hashed = _HashedBlocks(file)
        try:
            read(file, iter(hashed))
        except UnreadableError as problem:
            measured.findings.append(problem.finding)
            continue
        suffix = EXECUTABLE_SUFFIX if file.is_executable else ""
        measured.files[file.path] = hashed.hash.hexdigest() + suffix
        measured.size += hashed.size
        # It would be published in place of the file, and fail only when it is used.
        if is_lfs_pointer(hashed.first_bytes, hashed.size):
            measured.findings.append(
                error_finding(
                    "Git LFS pointer in the package",
                    f"{file.path} is an LFS pointer, not the file itself.",
                    "Fetch the content with `git lfs pull`. A Git ref has only pointers: use "
                    "the folder, or a zip (file:).",
                )
            )
    return measured


class _HashedBlocks:
    """The blocks of one file, hashed while somebody else iterates over them."""

    def __init__(self, file: PackageFile) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0
        self.first_bytes = b""

    def __iter__(self) -> Iterator[bytes]:
        """UnreadableError if the file is larger than the source stated."""
        for block in self._file.blocks():
            self.hash.update(block)
            self.size += len(block)
            # A file that grows while it is read may grow without end.
            if self.size > self._file.size:
                raise UnreadableError(
                    "File changed while it was read",
                    f"{self._file.path} grew while the tool read it.",
                    "Wait until the writing program has finished, then try again.",
                )
            # Enough to recognise a Git LFS pointer.
            if len(self.first_bytes) < 64:
                self.first_bytes += block[:64]
            yield block


@frozen
class FileChange:
    """One path that differs; `verb` is added, removed or changed.

    `content`: the bytes differ. `executable` is the new executable bit, None if it is unchanged.
    """

    path: str
    verb: str
    content: bool = True
    executable: bool | None = None


def list_changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FileChange, ...]:
    """Each path that differs between two `Package.files`, sorted by path."""
    changes = []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path, ""), new.get(path, "")
        (old_content, was_program, _), (content, is_program, _) = (
            digest.partition(EXECUTABLE_SUFFIX) for digest in (before, after)
        )
        if not after:
            changes.append(FileChange(path, "removed"))
        elif before != after:
            executable = bool(is_program) if was_program != is_program else None
            verb = "changed" if before else "added"
            changes.append(FileChange(path, verb, old_content != content, executable))
    return tuple(changes)


# APPNOTE.TXT: flag bits 0, 3 and 11, and those that tell how well it is compressed (4.4.4), host
# system Unix (4.4.2), a local file header: flags, method, compressed size, size, and the lengths of
# name and extra field (4.3.7), and the sizes that a data descriptor may have (4.3.9).
_ENCRYPTED, _DESCRIBED, _IN_UTF8, _COMPRESSION_LEVEL = 0x1, 0x8, 0x800, 0x6
_UNIX = 3
_LOCAL_HEADER = struct.Struct("<4s2xHH8xLLHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_DESCRIPTOR_SIZES = (12, 16, 20, 24)
# Info-ZIP's own name of an entry beside that of the header (4.6.9): programs differ in which they
# take, so that one of two names hides the other.
_UNICODE_PATH = 0x7075
# The sizes of an entry where those of its header are this number (4.5.3).
_ZIP64, _IN_ZIP64 = 0x0001, 0xFFFFFFFF
_ZIP64_SIZES = struct.Struct("<QQ")
_EXTRA_HEADER = struct.Struct("<HH")
# An entry for a folder has no content: deflated it has two bytes.
_MAX_PACKED_FOLDER = 2
_COMPRESSION_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# Text is compressed to about 1/20. Less than 1/200 of a large size is taken for an attack.
_BOMB_RATIO, _BOMB_FROM = 200, 100 * 1024 * 1024

_REBUILD_HINT = "Build the zip again, and check it with `unzip -t`."

# In bytes: some 80,000 files with names of 50 characters.
_MAX_DIRECTORY = 8 * 1024 * 1024

# The earliest time that a zip can store.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE_MODE, _PROGRAM_MODE = 0o100644, 0o100755


class LargeDirectory(zipfile.BadZipFile):
    """A zip whose directory is too large to be read; says how large it is."""


@frozen
class BoundedReads:
    """A zip's file, of which zipfile reads the whole directory at once. Raises LargeDirectory.

    What is read of an entry must be asked for in smaller pieces than that.
    """

    file: IO[bytes]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def read(self, size: int = -1) -> bytes:
        if size <= _MAX_DIRECTORY:
            return self.file.read(size)
        raise LargeDirectory(f"its directory has {size} bytes, and the limit is {_MAX_DIRECTORY}")


def open_zip(file: IO[bytes], name: str) -> zipfile.ZipFile:
    """Open a zip; `name` is its label in messages. InputError if it is no zip."""
    try:
        return zipfile.ZipFile(BoundedReads(file))
    except LargeDirectory as problem:
        finding = error_finding(
            "Too many entries in the zip",
            f"{name}: {problem}.",
            "Put fewer files into the zip, or pack them into zips inside it.",
        )
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as problem:
        finding = error_finding(
            "Not a usable zip", f"{name}: {str(problem).rstrip('.')}.", _REBUILD_HINT
        )
    # Outside of the handler, so that the library's exception is not chained.
    raise InputError(finding)


def gather_zip_files(archive: zipfile.ZipFile, name: str = "") -> GatheredFiles:
    """The files of a zip sorted by path, and all errors; entries for folders are ignored.

    `name` precedes the detail of each error, "" if the caller adds it.
    """
    label = f"{name}: " if name else ""
    gathered = GatheredFiles()
    infos = archive.infolist()
    gathered.findings += _archive_errors(archive, infos)
    for info in infos:
        findings = list(_entry_errors(info))
        gathered.findings += findings
        if not info.is_dir() and not findings:
            gathered.entries.append(_package_file(archive, info, label))
    gathered.entries.sort(key=lambda entry: entry.path.encode())
    gathered.findings += _git_data_errors_of_paths(info.filename for info in infos)
    gathered.findings += ignore.find_collisions(entry.path for entry in gathered.entries)
    gathered.findings = [
        finding.with_changes(detail=f"{label}{finding.detail}") for finding in gathered.findings
    ]
    return gathered


def _git_data_errors_of_paths(paths: Iterable[str]) -> Iterator[Diagnostic]:
    """The errors of `git_data_errors` for each folder of a zip; it may have no entry of its own."""
    ordered = sorted({path.removesuffix("/") + "/" for path in paths})
    for path in ordered:
        folder, _, name = path.removesuffix("/").rpartition("/")
        if name == "HEAD":
            start = path.removesuffix("HEAD/")
            yield from ignore.git_data_errors(
                (n for n in ignore.GIT_DATA if ignore.find_first_below(ordered, f"{start}{n}/")),
                folder,
            )


def _package_file(archive: zipfile.ZipFile, info: zipfile.ZipInfo, label: str) -> PackageFile:
    def blocks() -> Iterator[bytes]:
        try:
            yield from _unpack(archive, info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as problem:
            detail = f"{label}{escape_misleading_path(info.filename)}: {problem}."
            raise UnreadableError("Damaged entry in the zip", detail, _REBUILD_HINT) from None

    is_executable = info.create_system == _UNIX and bool(info.external_attr >> 16 & stat.S_IXUSR)
    return PackageFile(ignore.to_nfc(info.filename), is_executable, info.file_size, blocks)


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of an entry; BadZipFile unless it is what the directory says, to the last byte.

    zipfile stops at the size that the directory says, and at the end of a deflate stream. What
    reads a zip from its beginning goes on there: it has more content, or finds another file.
    """
    packed_blocks = _read_packed(archive, info)
    is_deflated = info.compress_type == zipfile.ZIP_DEFLATED
    size = checksum = 0
    for block in _inflate(packed_blocks) if is_deflated else packed_blocks:
        size, checksum = size + len(block), zlib.crc32(block, checksum)
        if size > info.file_size:
            break
        yield block
    if (size, checksum) != (info.file_size, info.CRC):
        raise zipfile.BadZipFile("size or checksum differ from the directory of the zip")


def _read_packed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    file, left = cast("IO[bytes]", archive.fp), info.compress_size
    end = _LocalHeader.read(archive, info).end
    while left:
        file.seek(end - left)
        packed = file.read(min(left, BLOCK))
        if not packed:
            raise zipfile.BadZipFile("its content is cut off")
        left -= len(packed)
        yield packed


def _inflate(packed_blocks: Iterator[bytes]) -> Iterator[bytes]:
    """BadZipFile unless the deflate stream ends where the blocks end."""
    inflater, rest = zlib.decompressobj(-zlib.MAX_WBITS), b""
    while not inflater.eof and (packed := rest or next(packed_blocks, b"")):
        yield inflater.decompress(packed, BLOCK)
        rest = inflater.unconsumed_tail
    yield inflater.flush()
    if not inflater.eof or inflater.unused_data or next(packed_blocks, b""):
        raise zipfile.BadZipFile("its content ends elsewhere than the directory of the zip says")


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the data of each extra field of an entry."""
    while len(extra) >= _EXTRA_HEADER.size:
        kind, size = _EXTRA_HEADER.unpack_from(extra)
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _other_name(info: zipfile.ZipInfo, extra: bytes) -> str:
    """A name that an entry has in an extra field beside its own, "" for none."""
    # Python takes it from 3.13 on, and only with a right checksum; so it is looked for here.
    other = ""
    for kind, data in _extra_fields(extra):
        if kind == _UNICODE_PATH and (name := data[5:].decode("utf-8", "replace")):
            other = name if name != info.orig_filename else other
    return other


def _two_names(info: zipfile.ZipInfo, other: str) -> Diagnostic:
    return error_finding(
        "Two names for one entry in the zip",
        f"{escape_misleading_path(info.orig_filename)} is also called "
        f"{escape_misleading_path(other)}.",
        "Build the zip again, with one name in UTF-8 for each entry.",
    )


def _entry_errors(info: zipfile.ZipInfo) -> Iterator[Diagnostic]:
    other = _other_name(info, info.extra)
    # zipfile truncates names at a zero byte and, on Windows, turns backslashes into slashes.
    for name in filter(None, (info.orig_filename, other)):
        is_folder = (
            name.endswith("/") and not info.file_size and info.compress_size <= _MAX_PACKED_FOLDER
        )
        yield from ignore.unsafe_name_errors(
            ignore.to_nfc(name.removesuffix("/") if is_folder else name)
        )
    shown_name = escape_misleading_path(info.orig_filename)
    if other:
        yield _two_names(info, other)
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    file_type = stat.S_IFMT(mode)
    if file_type and not (stat.S_ISREG(file_type) or stat.S_ISDIR(file_type)):
        type_text = "a link" if stat.S_ISLNK(file_type) else "a special file"
        yield error_finding(
            "Link or special file in the zip",
            f"{shown_name} is {type_text}.",
            "Store the file itself in the zip (`zip` without --symlinks does so).",
        )
    if info.flag_bits & _ENCRYPTED:
        yield error_finding(
            "Encrypted entry in the zip",
            f"{shown_name} needs a password, which the platform does not have.",
            "Build the zip without encryption.",
        )
    elif info.compress_type not in _COMPRESSION_METHODS:
        yield error_finding(
            "Unusual compression in the zip",
            f"{shown_name} uses method {info.compress_type}.",
            "Build the zip with deflate, which every system reads.",
        )


def _archive_errors(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> Iterator[Diagnostic]:
    """An error for a zip bomb, and where entries share bytes or leave some between them.

    Overlapping entries are how a small zip unpacks to terabytes without a nested one; other bytes
    may hold files that only some programs see. So may an entry whose local header, which is all
    that a program sees that reads from the beginning, is not what the directory says.
    """
    total = sum(info.file_size for info in infos)
    packed_size = sum(info.compress_size for info in infos)
    if total > _BOMB_FROM and total > _BOMB_RATIO * max(packed_size, 1):
        yield error_finding(
            "Zip bomb",
            f"{packed_size} bytes would unpack to {total}.",
            "If you intend this, store the large file without compression.",
        )
    # From the central directory backwards: each entry must end where the next one begins.
    next_start = archive.start_dir
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        local = _LocalHeader.read(archive, info)
        gap = next_start - local.end
        if gap < 0:
            yield error_finding(
                "Overlapping entries in the zip",
                f"{escape_misleading_path(info.filename)} shares bytes with another entry.",
                _REBUILD_HINT,
            )
            return
        if gap not in (_DESCRIPTOR_SIZES if info.flag_bits & _DESCRIBED else (0,)):
            yield _hidden_bytes(f"{gap} bytes behind {escape_misleading_path(info.filename)}")
            return
        if differing := " and ".join(local.list_differences(info)):
            yield error_finding(
                "Two headers of an entry in the zip differ",
                f"{escape_misleading_path(info.orig_filename)} has one {differing} before its "
                "content and another in the directory of the zip.",
                _REBUILD_HINT,
            )
        elif other := _other_name(info, local.extra):
            yield _two_names(info, other)
        next_start = info.header_offset
    if infos and next_start:
        yield _hidden_bytes(f"The first {next_start} bytes")


@frozen
class _LocalHeader:
    """What stands in front of an entry's content, which ends at `end`.

    `sizes` are the compressed and the whole size, as the header and its extra field tell them.
    """

    signature: bytes
    flags: int
    method: int
    sizes: list[tuple[int, int]]
    name: bytes
    extra: bytes
    end: int

    @classmethod
    def read(cls, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _LocalHeader:
        file = cast("IO[bytes]", archive.fp)
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER.size).ljust(_LOCAL_HEADER.size, b"\0")
        signature, flags, method, *sizes, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        name, extra = file.read(name_length), file.read(extra_length)
        # Some programs take the sizes of the extra field whatever the header says.
        all_sizes = [(sizes[0], sizes[1])] + [
            _ZIP64_SIZES.unpack_from(data)[::-1]
            for kind, data in _extra_fields(extra)
            if kind == _ZIP64 and len(data) >= _ZIP64_SIZES.size
        ]
        content_start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        end = content_start + info.compress_size
        return cls(signature, flags, method, all_sizes, name, extra, end)

    def list_differences(self, info: zipfile.ZipInfo) -> Iterator[str]:
        """In what it is not as the directory says; sizes may be 0 where they follow the content."""
        if self.signature != _LOCAL_SIGNATURE:
            yield "signature"
        if self.name != info.orig_filename.encode(
            "utf-8" if info.flag_bits & _IN_UTF8 else "cp437"
        ):
            yield "name"
        if self.method != info.compress_type:
            yield "method"
        if (self.flags ^ info.flag_bits) & ~_COMPRESSION_LEVEL:
            yield "flag"
        unknown = [0] if info.flag_bits & _DESCRIBED else []
        unknown += [_IN_ZIP64] if len(self.sizes) > 1 else []
        for packed_size, size in self.sizes:
            if packed_size not in (info.compress_size, *unknown):
                yield "compressed size"
            if size not in (info.file_size, *unknown):
                yield "size"


def _hidden_bytes(what: str) -> Diagnostic:
    """What reads a zip from its beginning may find files there that its directory does not have."""
    return error_finding(
        "Bytes outside every entry of the zip", f"{what} belong to no entry.", _REBUILD_HINT
    )


def write_zip(files: list[PackageFile], out: IO[bytes]) -> MeasuredPackage:
    """Write the files, which are sorted by path, and measure the written content.

    Fixed time, mode 0644 or 0755, deflate level 6, no entries for folders. One block at a time is
    in memory.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:

        def write(entry: PackageFile, blocks: Iterator[bytes]) -> None:
            info = zipfile.ZipInfo(entry.path, _EPOCH)
            info.create_system = _UNIX
            info.compress_type = zipfile.ZIP_DEFLATED  # zlib's own level, which is 6
            info.external_attr = (_PROGRAM_MODE if entry.is_executable else _FILE_MODE) << 16
            info.file_size = entry.size
            with archive.open(info, "w") as file:
                for block in blocks:
                    file.write(block)

        return measure_files(files, write)
