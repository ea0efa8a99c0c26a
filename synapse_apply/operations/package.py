"""Which package the `package` commands read, write, check or compare with a published one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.decode.draft import normalize_source_path
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.packages import (
    build_flaw_finding,
    get_version_sort_key_or_none,
    is_valid_version,
)
from synapse_apply.model.phrases import suggest_closest_or_list_known_words_or_empty
from synapse_apply.model.resource import PUBLISHED, Desired, Package, PackageSource
from synapse_apply.model.state import Record
from synapse_apply.packages.content import FileChange, list_changes
from synapse_apply.packages.inspection import (
    PackageListing,
    list_package_files,
    read_source_as_package,
)
from synapse_apply.packages.inspection import write_package_zip as write_zip_of_source
from synapse_apply.packages.sources import SourceFiles
from synapse_apply.workspace import configuration
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.package_findings import with_path_relative_to_working_folder
from synapse_apply.workspace.package_sources import build_package_linter
from synapse_apply.workspace.selection import SelectableAddresses, find_matching_addresses
from synapse_apply.workspace.state_access import build_missing_state_error
from synapse_apply.workspace.target_session import TargetSession, open_state


@frozen
class PackageQuery:
    """The package to look at: that of a declared release, or any source."""

    source: PackageSource
    root: Path
    max_size: int
    allow_files: tuple[str, ...] = ()
    release: Desired | None = None

    @property
    def release_address_or_empty(self) -> str:
        """The release's address, "" for a source without a release."""
        return str(self.release.address) if self.release else ""

    @property
    def label(self) -> str:
        """What messages call the package."""
        return self.release_address_or_empty or str(self.source)


@frozen
class PackageDifference:
    """The files in which a declared release's package differs from a published one."""

    release: Desired
    package: Package
    compared_address: Address
    published_digest: str
    are_files_known: bool
    changes: tuple[FileChange, ...]

    @property
    def is_different(self) -> bool:
        return self.package.digest != self.published_digest


def resolve_path_or_release_to_package_query(
    invocation: Invocation, name: str, ref: str = ""
) -> PackageQuery:
    """The package that `name` names: an existing folder or zip, else that of a declared release."""
    path = invocation.directory / name
    if ref:
        return _build_query_of_git_folder(invocation, name, ref)
    if os.path.lexists(path):
        kind = "folder" if path.is_dir() else "file"
        size = configuration.load_valid_project_or_defaults(invocation).max_package_size
        return PackageQuery(
            PackageSource(kind, normalize_source_path(name)), invocation.directory, size, (name,)
        )
    session = TargetSession(invocation)
    release = _require_single_release(_require_valid_declared_resources(session), name, path)
    return _require_own_source_and_build_query(session, release)


def _build_query_of_git_folder(invocation: Invocation, folder: str, ref: str) -> PackageQuery:
    size = configuration.load_valid_project_or_defaults(invocation).max_package_size
    path = invocation.directory / folder
    # The folder need not be there now; Git reads from the nearest one that is.
    root = next(ancestor for ancestor in (path, *path.parents) if ancestor.is_dir())
    relative_path = path.relative_to(root).as_posix()
    return PackageQuery(PackageSource("git", relative_path, ref), root, size)


def _require_valid_declared_resources(session: TargetSession) -> Mapping[Address, Desired]:
    """What the manifests declare; InputError with every finding."""
    manifests = session.manifests_without_packages_read
    if manifests.has_errors:
        raise InputError(*manifests.diagnostics)
    return manifests.desired


def _require_single_release(
    resources: Mapping[Address, Desired], name: str, path: Path | None = None
) -> Desired:
    """The one release of this name: an address, or a series with one declared member."""
    releases = {
        address: resource
        for address, resource in resources.items()
        if CATALOGUE[address.kind].carries_package
    }
    matches = [
        releases[address]
        for address in find_matching_addresses(SelectableAddresses(releases), name)
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        matches_text = ", ".join(str(resource.address) for resource in matches)
        raise InputError.from_summary(
            "Which release?", f"{name} may be {matches_text}.", "Give the whole address."
        )
    missing_path_text = f"nothing is at {path}, and " if path is not None else ""
    suggestion = suggest_closest_or_list_known_words_or_empty(
        name, [str(address) for address in releases]
    )
    raise InputError.from_summary(
        "There is no such package" if path is not None else "There is no such release",
        f"{name}: {missing_path_text}no manifest declares a release of this name.",
        suggestion[:1].upper() + suggestion[1:]
        or "Name a folder, a zip, or release/PLUGIN@VERSION.",
    )


def _require_own_source_and_build_query(session: TargetSession, release: Desired) -> PackageQuery:
    source = release.source
    if source is None or source.kind == PUBLISHED:
        raise InputError.from_summary(
            "The bytes of this release are not ours",
            f"{release.address} declares `source: published`: somebody else publishes it.",
            "Name a release with a source: or a file:.",
            address=str(release.address),
            position=release.find_position(()),
        )
    project = session.project
    return PackageQuery(
        source, project.root, project.max_package_size, session.target.allow_files, release
    )


@mutable
class PackageInside:
    """A package that was read and hashed; `file_sizes` are the sizes of its files in bytes."""

    package: Package
    file_sizes: Mapping[str, int]
    findings: list[Diagnostic] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class WrittenZip(PackageInside):
    """A package whose zip was written to a file."""

    file: Path


def read_and_hash_package_or_raise(query: PackageQuery) -> PackageInside:
    """Read a package and hash its files. InputError with every finding."""
    findings: list[Diagnostic] = []
    package = read_source_as_package(
        query.source,
        query.root,
        query.max_size,
        finding_context={"address": query.release_address_or_empty or None},
        allow_files=query.allow_files,
        warn=findings.append,
    )
    return PackageInside(
        package, list_included_and_excluded_package_files(query).included, findings
    )


def list_package_problems(query: PackageQuery, *, strict: bool = False) -> tuple[Diagnostic, ...]:
    """All that the platform would refuse or ignore, and what prevents building the package."""
    package_linter = build_package_linter(query.source)
    findings: list[Diagnostic] = []
    try:
        read_source_as_package(
            query.source,
            query.root,
            query.max_size,
            finding_context={"address": query.release_address_or_empty or None},
            allow_files=query.allow_files,
            lint=package_linter,
        )
    except InputError as problem:
        findings.extend(problem.diagnostics)
    flaws = package_linter.limited_flaws()
    lint_findings = (*package_linter.config_findings, *map(build_flaw_finding, flaws))
    findings = [
        *(with_path_relative_to_working_folder(finding, query.root) for finding in lint_findings),
        *findings,
    ]
    return tuple(
        finding.with_error_in_place_of_warning() if strict else finding
        for finding in dict.fromkeys(findings)
    )


def list_included_and_excluded_package_files(query: PackageQuery) -> PackageListing:
    """What goes into the zip, what does not and by which rule; nothing is hashed."""
    return list_package_files(query.source, query.root, allow_files=query.allow_files)


def write_package_zip(query: PackageQuery, path: Path) -> WrittenZip:
    """Write the reproducible zip to a path; InputError where that cannot be."""
    findings: list[Diagnostic] = []
    package = write_zip_of_source(
        query.source,
        query.root,
        path,
        query.max_size,
        allow_files=query.allow_files,
        warn=findings.append,
    )
    return WrittenZip(
        package, list_included_and_excluded_package_files(query).included, findings, file=path
    )


def suggest_zip_name(query: PackageQuery) -> str:
    """`yolo-1.2.0.zip`: named by the release, else by folder and version of config.yaml."""
    if query.release is not None:
        name = query.release.address.name.replace("@", "-").replace("=", "-")
        return f"{name}.zip"
    version = ""
    try:
        files = SourceFiles(query.source, query.root, query.allow_files)
        config = files.config(read_single_mapping)
        version = str(config[0].get("version", "")) if config else ""
    except InputError:
        pass  # what is wrong with config.yaml is no reason not to zip it
    folder = (query.root / query.source.path).resolve()
    name = folder.stem if query.source.kind == "file" else folder.name
    omits_version = not is_valid_version(version) or name.endswith(f"-{version}")
    return f"{name}.zip" if omits_version else f"{name}-{version}.zip"


def compare_with_recorded_package(
    invocation: Invocation, name: str, compared_name: str = ""
) -> PackageDifference:
    """How the package of a declared release differs from a published one.

    That is the same release, or the newest one of its series that is recorded; `compared_name`
    names another, by address or version. InputError when the state does not know any bytes of it.
    """
    with open_state(invocation) as session:
        has_state = session.store.exists()
        if not has_state and not session.target.is_embedded:  # which begins with an empty one
            raise build_missing_state_error(session.target, session.seen_place)
        release = _require_single_release(_require_valid_declared_resources(session), name)
        records = session.store.read_state().records if has_state else {}
    record = _choose_record_to_compare_or_raise(records, release, compared_name)
    if record.digest is None:
        raise InputError(_build_unknown_bytes_finding(release, record))
    package = read_and_hash_package_or_raise(
        _require_own_source_and_build_query(session, release)
    ).package
    changes = list_changes(record.files, package.files) if record.files else ()
    are_files_known = bool(record.files) or record.digest == package.digest
    return PackageDifference(
        release, package, record.address, record.digest, are_files_known, changes
    )


def _choose_record_to_compare_or_raise(
    records: Mapping[Address, Record], release: Desired, compared_name: str
) -> Record:
    address = release.address
    if not compared_name and address in records:
        return records[address]
    kind = CATALOGUE[address.kind]
    series, _ = kind.locate_in_series_or_empty(release.spec)
    series_records = [
        record for record in records.values() if record.series and record.series == series
    ]
    if compared_name:
        matches = [
            record
            for record in series_records
            if compared_name in (str(record.address), record.version)
        ]
        if matches:
            return matches[0]
        versions = [record.version for record in series_records]
        raise InputError.from_summary(
            "There is no such published release",
            f"The state has no {compared_name} of the series of {address}.",
            suggest_closest_or_list_known_words_or_empty(compared_name, versions)
            or Text(Command("state list"), " shows what it has."),
            address=str(address),
        )
    if not series_records:
        raise InputError.from_summary(
            "Nothing was published yet",
            f"The state knows no release that {address} could be compared with.",
            Text(Command("package show", address), " shows what is in it."),
            address=str(address),
        )
    return _select_newest_record(series_records)


def _select_newest_record(records: Iterable[Record]) -> Record:
    return max(
        records,
        key=lambda record: (get_version_sort_key_or_none(record.version) or (), record.created_at),
    )


def _build_unknown_bytes_finding(release: Desired, record: Record) -> Diagnostic:
    return error_finding(
        "The state does not know the published bytes",
        f"{record.address} was imported or published by somebody else; no digest of its package "
        "was ever recorded.",
        "The files cannot be compared. A version published from here is known from then on.",
        address=str(release.address),
    )
