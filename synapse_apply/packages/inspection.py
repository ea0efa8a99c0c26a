"""Which errors and warnings a package source has, and its content, config.yaml and file list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.resource import FILE, Package, PackageSource
from synapse_apply.packages.content import (
    ContentWatcher,
    GatheredFiles,
    MeasuredPackage,
    compute_package_digest,
    hash_files_collecting_errors,
)
from synapse_apply.packages.entry_names import (
    describe_windows_name_fault_or_empty,
    escape_misleading_path,
)
from synapse_apply.packages.source.open_source import (
    CONFIG_FILES,
    open_and_gather_source_files,
    read_config_text_or_none,
)
from synapse_apply.packages.zip_stamps import ZipStamps
from synapse_apply.packages.zip_writer import write_reproducible_zip_collecting_errors

MAX_SIZE = 4 * 1024**3
_MAX_NAMES = 5

# (text of config.yaml, its label for messages) -> (its mapping, positions by path); InputError.
ConfigReader = Callable[[str, str], tuple[Mapping[str, Any], Mapping[Any, Any]]]


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
    watcher: ContentWatcher | None = None,
) -> Package:
    """Read and hash a source as it is now; a zip is remembered in `zip_stamps`.

    `root` is the project's folder; `max_size` is in bytes; `finding_context` has fields that are
    set on each finding (address, position, target, ...); `allow_files` are sources that may be
    outside of the project; `warn` is called with each warning; `watcher` inspects the files read.
    A `published` source has no digest and no files. InputError has all errors of the source.
    """
    finding_fields = {"position": source.position} | dict(finding_context or {})
    read_at = zip_stamps.read_clock() if zip_stamps is not None else 0
    try:
        with open_and_gather_source_files(source, root, allow_files) as gathered:
            if watcher is not None:
                watcher.begin_package(gathered)
            measured = measure_or_raise_all_errors(gathered, max_size, source, watcher=watcher)
    except InputError as problem:
        raise InputError(
            *(diagnostic.with_changes(**finding_fields) for diagnostic in problem.diagnostics)
        ) from None
    # Only of a source without errors: those come first.
    if warn is not None:
        for finding in iter_windows_name_and_no_config_warnings(
            source, measured, is_linted=watcher is not None
        ):
            warn(finding.with_changes(**finding_fields))
    digest = compute_package_digest(measured.files) if measured.files else ""
    if zip_stamps is not None and gathered.zip_stamp is not None:
        zip_stamps.remember_zip_unless_just_written(gathered.zip_stamp, digest, read_at)
    return Package(digest, measured.files, measured.size, source)


def show_hashed_package_to_watcher(
    package: Package, root: Path, allow_files: Sequence[str], watcher: ContentWatcher
) -> None:
    """Give a watcher the files that it wants of a package that was hashed before, no others.

    InputError where what is there now is not what was hashed.
    """
    source = package.source
    with open_and_gather_source_files(source, root, allow_files) as gathered:
        watcher.begin_package(gathered)
        wanted = [entry for entry in gathered.entries if watcher.wants_file(entry)]
        measured = hash_files_collecting_errors(wanted, watcher=watcher)
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


def read_package_config_or_none(
    source: PackageSource, root: Path, reader: ConfigReader, *, allow_files: Sequence[str] = ()
) -> tuple[Mapping[str, Any], Mapping[Any, Any]] | None:
    """The package's config.yaml (or synapse.yaml) as `reader` parses it; None without one.

    InputError if the source cannot be read, or from `reader`.
    """
    config_source = read_config_text_or_none(source, root, allow_files)
    return None if config_source is None else reader(*config_source)


def list_package_files(
    source: PackageSource, root: Path, *, allow_files: Sequence[str] = ()
) -> PackageListing:
    """Which files are in the package and which are left out, by which rule; nothing is hashed.

    InputError has all errors about names and links.
    """
    with open_and_gather_source_files(source, root, allow_files) as gathered:
        if gathered.findings:
            raise InputError(*gathered.findings)
        return PackageListing(
            {entry.path: entry.size for entry in gathered.entries}, tuple(gathered.excluded)
        )


def measure_or_raise_all_errors(
    gathered: GatheredFiles,
    max_size: int,
    source: PackageSource,
    zip_output: IO[bytes] | None = None,
    watcher: ContentWatcher | None = None,
) -> MeasuredPackage:
    """Hash and measure the files, and write them to `zip_output` as a zip, if given.

    InputError has all errors of the source, the size limit in bytes included.
    """
    findings = [*gathered.findings, *_list_too_large_or_empty_errors(gathered, max_size, source)]
    # An entry of a zip that was refused is never unpacked, and an incomplete zip is never written.
    # Any other source is read on, so that all its errors are reported at once.
    if findings and (source.kind == FILE or zip_output is not None):
        raise InputError(*findings)
    if zip_output is not None:
        measured = write_reproducible_zip_collecting_errors(gathered.entries, zip_output)
    elif sum(entry.size for entry in gathered.entries) > max_size:
        measured = MeasuredPackage()
    else:
        measured = hash_files_collecting_errors(gathered.entries, watcher=watcher)
    findings += measured.findings
    if findings:
        raise InputError(*findings)
    return measured


def _list_too_large_or_empty_errors(
    gathered: GatheredFiles, max_size: int, source: PackageSource
) -> list[Diagnostic]:
    """The error for a package that is too large, or that has no file; [] for another one."""
    total = sum(entry.size for entry in gathered.entries)
    if total > max_size:
        largest = max(gathered.entries, key=lambda entry: entry.size)
        return [
            error_finding(
                "Package too large",
                f"{source} holds {total} bytes; max_package_size is {max_size}. "
                f"The largest file is {largest.path} ({largest.size} bytes).",
                "Leave files out with .synapseignore, or raise max_package_size.",
            )
        ]
    if not gathered.entries and not gathered.findings and source.kind != "published":
        excluded_text = (
            f" Left out by rules: {len(gathered.excluded)}." if gathered.excluded else ""
        )
        return [
            error_finding(
                "Package is empty",
                f"{source} holds no file.{excluded_text}",
                "Check the path and the lines of .synapseignore and .gitignore.",
            )
        ]
    return []


def iter_windows_name_and_no_config_warnings(
    source: PackageSource, measured: MeasuredPackage, *, is_linted: bool = False
) -> Iterator[Diagnostic]:
    """Warnings about a package: names that Windows does not allow, a missing config.yaml.

    With `is_linted` the latter is left to the lint, which reports it by its own rule.
    """
    unfit_names = [
        (path, fault)
        for path in measured.files
        if (fault := describe_windows_name_fault_or_empty(path))
    ]
    if unfit_names:
        names_text = ", ".join(
            f"{escape_misleading_path(path)} {fault}" for path, fault in unfit_names[:_MAX_NAMES]
        )
        more_text = (
            f" and {len(unfit_names) - _MAX_NAMES} more" if len(unfit_names) > _MAX_NAMES else ""
        )
        yield warning_finding(
            "Names that Windows cannot have",
            f"{source}: {names_text}{more_text}.",
            "Agents on Windows cannot unpack the package. Rename the files, or leave them out with "
            "a line in .synapseignore.",
        )
    if measured.files and not is_linted and not measured.files.keys() & set(CONFIG_FILES):
        yield warning_finding(
            "Package without config.yaml",
            f"{source} has neither config.yaml nor synapse.yaml at its root.",
            "The platform reads the plugin's actions from it. "
            "Is this the plugin's own folder, and does no ignore rule leave the file out?",
        )
