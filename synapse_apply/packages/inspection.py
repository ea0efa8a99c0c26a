"""Which errors and warnings a package source has, what it holds, and how its zip is written."""

from __future__ import annotations

import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from synapse_apply.files.tree import FolderTree, UnreadableError, escape_misleading_path
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import iter_limited_flaws
from synapse_apply.model.resource import FILE, FOLDER, Package, PackageSource
from synapse_apply.model.secrets.secret_rules import ClosedFiles
from synapse_apply.packages.content import (
    GatheredFiles,
    MeasuredPackage,
    PackageFile,
    compute_package_digest,
    exhaust,
    measure_files,
)
from synapse_apply.packages.ignore import windows_name_fault
from synapse_apply.packages.sources import (
    CONFIG_FILES,
    NO_CONFIG_HINT,
    SourceFiles,
    find_rule_leaving_out,
)
from synapse_apply.packages.zip_stamps import ZipStamps
from synapse_apply.packages.zips import write_zip

if TYPE_CHECKING:
    from synapse_apply.packages.lint import PackageLint


_ABANDONED_SECONDS = 60.0  # since the last write; a process that still writes is never so slow
_PART = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.part")


def choose_temporary_path(path: Path) -> Path:
    """A hidden name beside `path` with this process's id; removes those of killed processes.

    A file is kept if its process runs, or if it was written less than a minute ago: its process
    may be on another host.
    """
    now = time.time()
    with suppress(OSError):
        for leftover in path.parent.iterdir():
            match = _PART.fullmatch(leftover.name)
            is_ours = match is not None and match["name"] == path.name
            if match is None or not is_ours or _may_be_running(int(match["process"])):
                continue
            if now - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                leftover.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _may_be_running(process_id: int) -> bool:
    """Whether a process with this id runs, also another user's.

    Our own id counts as ended: a file with it is from an earlier process, as in a container where
    each has the same id.
    """
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return process_id != os.getpid()


MAX_SIZE = 4 * 1024**3
_MAX_NAMES = 5


@frozen
class PackageListing:
    """`included` maps each path to its size in bytes; `excluded` has (path, rule), sorted by path.

    A left-out folder ends in a slash and stands for all below it.
    """

    included: Mapping[str, int]
    excluded: tuple[tuple[str, str], ...]


def read_source_as_package(
    source: PackageSource,
    root: Path,
    max_size: int = MAX_SIZE,
    *,
    finding_context: Mapping[str, Any] | None = None,
    allow_files: Sequence[str] = (),
    warn: Callable[[Diagnostic], None] | None = None,
    zip_stamps: ZipStamps | None = None,
    lint: PackageLint | None = None,
    closed: ClosedFiles | None = None,
) -> Package:
    """Read and hash a source as it is now; a zip is remembered in `zip_stamps`.

    `root` is the project's folder; `max_size` is in bytes; `finding_context` has fields that are
    set on each finding (address, position, target, ...); `allow_files` are sources that may be
    outside of the project; `closed` as in SourceFiles; `warn` is called with each warning; `lint`
    inspects the files read.
    A `published` source has no digest and no files. InputError has all errors of the source.
    """
    finding_fields = {"position": source.position} | dict(finding_context or {})
    read_at = zip_stamps.read_clock() if zip_stamps is not None else 0
    try:
        with SourceFiles(source, root, allow_files, closed).open() as gathered:
            if lint is not None:
                lint.begin_package(gathered)
            read = exhaust if lint is None else lint.read_file
            package = measure_or_raise(gathered, max_size, source, read=read)
    except InputError as problem:
        raise InputError(
            *(diagnostic.with_changes(**finding_fields) for diagnostic in problem.diagnostics)
        ) from None
    # Only of a source without errors: those come first.
    if warn is not None:
        for finding in _warnings(package, is_linted=lint is not None):
            warn(finding.with_changes(**finding_fields))
    if zip_stamps is not None and gathered.zip_stamp is not None:
        zip_stamps.remember(gathered.zip_stamp, package.digest, read_at)
    return package


def lint_hashed_package(
    package: Package, root: Path, allow_files: Sequence[str], lint: PackageLint
) -> None:
    """Give `lint` the files that it wants of a package that was hashed before, no others.

    InputError where what is there now is not what was hashed.
    """
    source = package.source
    with SourceFiles(source, root, allow_files).open() as gathered:
        lint.begin_package(gathered)
        measured = measure_files(filter(lint.wants_file, gathered.entries), lint.read_file)
    if (
        {entry.path for entry in gathered.entries} != package.files.keys()
        or not measured.files.items() <= package.files.items()
        or measured.findings
    ):
        raise InputError.from_summary(
            "Package changed while it was read",
            f"{source} is not what it was a moment ago.",
            "Let whatever writes to it finish, then try again.",
            position=source.position,
        )


def list_package_files(
    source: PackageSource,
    root: Path,
    *,
    allow_files: Sequence[str] = (),
    closed: ClosedFiles | None = None,
) -> PackageListing:
    """Which files are in the package and which are left out, by which rule; nothing is hashed.

    InputError has all errors about names and links. `closed` as in SourceFiles.
    """
    with SourceFiles(source, root, allow_files, closed).open() as gathered:
        if gathered.findings:
            raise InputError(*iter_limited_flaws(gathered.findings))
        return PackageListing(
            {entry.path: entry.size for entry in gathered.entries}, tuple(gathered.excluded)
        )


def measure_or_raise(
    gathered: GatheredFiles,
    max_size: int,
    source: PackageSource,
    zip_output: IO[bytes] | None = None,
    read: Callable[[PackageFile, Iterator[bytes]], None] = exhaust,
) -> Package:
    """Hash and measure the files; they are written to `zip_output` as a zip, else given to `read`.

    InputError has all errors of the source, the size limit in bytes included.
    """
    findings = [*gathered.findings]
    total = sum(entry.size for entry in gathered.entries)
    if total > max_size:
        largest = max(gathered.entries, key=lambda entry: entry.size)
        findings.append(
            error_finding(
                "Package too large",
                f"{source} holds {total} bytes; max_package_size is {max_size}. "
                f"The largest file is {largest.path} ({largest.size} bytes).",
                "Leave files out with .synapseignore, or raise max_package_size.",
            )
        )
    elif not gathered.entries and not findings and source.kind != "published":
        count = len(gathered.excluded)
        findings.append(
            error_finding(
                "Package is empty",
                f"{source} holds no file.{f' Left out by rules: {count}.' if count else ''}",
                "Check the path and the lines of .synapseignore and .gitignore.",
            )
        )
    # An entry of a zip that was refused is never unpacked, and an incomplete zip is never written.
    # Any other source is read on, so that all its errors are reported at once.
    if findings and (source.kind == FILE or zip_output is not None):
        raise InputError(*iter_limited_flaws(findings))
    if zip_output is not None:
        measured = write_zip(gathered.entries, zip_output)
    elif total > max_size:
        measured = MeasuredPackage()
    else:
        measured = measure_files(gathered.entries, read)
    findings += measured.findings
    if findings:
        raise InputError(*iter_limited_flaws(findings))
    digest = compute_package_digest(measured.files) if measured.files else ""
    return Package(digest, measured.files, measured.size, source)


def _warnings(package: Package, *, is_linted: bool = False) -> Iterator[Diagnostic]:
    """Warnings about a package: names that Windows does not allow, a missing config.yaml.

    With `is_linted` the latter is left to the lint, which reports it by its own rule.
    """
    source, files = package.source, package.files
    unfit = [(path, fault) for path in files if (fault := windows_name_fault(path))]
    if unfit:
        names = (f"{escape_misleading_path(path)} {fault}" for path, fault in unfit[:_MAX_NAMES])
        more = f" and {len(unfit) - _MAX_NAMES} more" if len(unfit) > _MAX_NAMES else ""
        yield warning_finding(
            "Names that Windows cannot have",
            f"{source}: {', '.join(names)}{more}.",
            "Agents on Windows cannot unpack the package. Rename the files, or leave them out with "
            "a line in .synapseignore.",
        )
    if files and not is_linted and not files.keys() & set(CONFIG_FILES):
        yield warning_finding(
            "Package without config.yaml",
            f"{source} has neither config.yaml nor synapse.yaml at its root.",
            NO_CONFIG_HINT,
        )


def write_package_zip(
    source: PackageSource,
    root: Path,
    path: Path,
    max_size: int = MAX_SIZE,
    *,
    allow_files: Sequence[str] = (),
    closed: ClosedFiles | None = None,
    warn: Callable[[Diagnostic], None] = lambda _finding: None,
) -> Package:
    """Write the reproducible zip of a source to a path, atomically; returns the package.

    An existing zip is replaced. InputError for any other existing file, for a path that would be
    part of the package itself, and for errors in the source. `closed` as in SourceFiles; `warn` is
    called with each warning.
    """
    if fault := _find_zip_path_fault(source, root, path):
        raise InputError(_unusable_zip_path(path, fault))
    temporary_path = choose_temporary_path(path)
    try:
        # Written beside and renamed: a reader never sees an incomplete zip.
        with (
            SourceFiles(source, root, allow_files, closed).open() as gathered,
            temporary_path.open("xb") as file,
        ):
            package = measure_or_raise(gathered, max_size, source, file)
        temporary_path.replace(path)
    except OSError as problem:
        raise InputError(_unusable_zip_path(path, f"{problem.strerror}.")) from None
    finally:
        with suppress(OSError):
            temporary_path.unlink()
    for finding in _warnings(package):
        warn(finding)
    return package


def _find_zip_path_fault(source: PackageSource, root: Path, path: Path) -> str:
    """Why no zip can be written there, as a phrase; "" if it can.

    It is a folder, a file that is no zip, the source itself, or in the source and by no ignore rule
    left out of the next zip.
    """
    if path.is_dir():
        return "it is a folder."
    is_zip = not path.exists()
    with suppress(OSError):
        is_zip = is_zip or zipfile.is_zipfile(path)
    if not is_zip:
        return "another file stands there, and it is no zip."
    real_path, source_path = path.resolve(), (root / source.path).resolve()
    if source.kind == FILE and real_path == source_path:
        return "it is the source itself."
    if source.kind == FOLDER and real_path.is_relative_to(source_path):
        relative_path = real_path.relative_to(source_path).as_posix()
        try:
            if find_rule_leaving_out(FolderTree(source_path), relative_path) is None:
                return "it would be a part of the package from now on."
        except UnreadableError as problem:
            raise InputError(problem.finding) from None
    return ""


def _unusable_zip_path(path: Path, reason: str) -> Diagnostic:
    return error_finding(
        "The zip cannot be written", f"{path}: {reason}", "Choose another place with -o."
    )
