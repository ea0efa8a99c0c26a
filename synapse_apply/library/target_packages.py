"""Which package a name means, and how it is read, checked, written and compared.

What the commands `package` and `bump` do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.files.checkout import require_no_link_out
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.decode.draft import normalize_source_path
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.packages import build_flaw_finding, is_valid_version, version_sort_key
from synapse_apply.model.phrases import suggest_words
from synapse_apply.model.resource import PUBLISHED, Desired, Package, PackageSource
from synapse_apply.model.secrets.secret_rules import ClosedFiles
from synapse_apply.model.state import Record
from synapse_apply.operations.connection import PartOfTarget, require_text
from synapse_apply.packages import sources
from synapse_apply.packages.content import FileChange, list_changes
from synapse_apply.workspace import configuration
from synapse_apply.workspace.configuration import build_package_linter, with_shown_path
from synapse_apply.workspace.selection import Names
from synapse_apply.workspace.target_session import TargetSession, open_state

if TYPE_CHECKING:
    from synapse_apply.operations.bump import BumpResult
    from synapse_apply.packages.lint import PackageLint
    from synapse_apply.packages.sources import PackageListing


@frozen
class PackageQuery:
    """The package to look at: that of a declared release, or any source."""

    source: PackageSource
    root: Path
    max_size: int
    allow_files: tuple[str, ...] = ()
    release: Desired | None = None
    closed: ClosedFiles | None = field(default=None, compare=False, repr=False)

    @property
    def release_text(self) -> str:
        """The release's address, "" for a source without a release."""
        return str(self.release.address) if self.release else ""

    @property
    def label(self) -> str:
        """What messages call the package."""
        return self.release_text or str(self.source)

    def read(
        self, lint: PackageLint | None = None, warn: Callable[[Diagnostic], None] | None = None
    ) -> Package:
        """Read it and hash its files; InputError with every finding."""
        return sources.read_source_as_package(
            self.source,
            self.root,
            self.max_size,
            finding_context={"address": self.release_text or None},
            allow_files=self.allow_files,
            lint=lint,
            warn=warn or (lambda _finding: None),
            closed=self.closed,
        )

    def list_files(self) -> PackageListing:
        """What goes into it, and what is left out."""
        return sources.list_package_files(
            self.source, self.root, allow_files=self.allow_files, closed=self.closed
        )

    def look_inside(self) -> PackageInside:
        """Read it, with the sizes of its files; InputError with every finding."""
        findings: list[Diagnostic] = []
        return PackageInside(self.read(warn=findings.append), self.list_files().included, findings)

    @classmethod
    def of_release(cls, session: TargetSession, release: Desired) -> PackageQuery:
        """The package of a declared release; InputError where somebody else publishes it."""
        source, project = release.source, session.project
        if source is None or source.kind == PUBLISHED:
            raise InputError.from_summary(
                "Somebody else publishes this release",
                f"{release.address} declares `source: published`, so its files are not in this "
                "project.",
                "Choose a release with `source:` or `file:`.",
                address=str(release.address),
                position=release.find_position(()),
            )
        closed = ClosedFiles(project.reserved, project.root, session.invocation.environ)
        allowed = session.target.allow_files
        return cls(source, project.root, project.max_package_size, allowed, release, closed)


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


class TargetPackages(PartOfTarget):
    """The packages of a target's releases, as `OpenTarget.packages` returns it.

    Needs no backend. Where a `package` is wanted, it is what `find_package` returns, or a name for
    it: an existing folder or zip, else the release that declares it.
    """

    def find_package(self, name: str, *, ref: str = "") -> PackageQuery:
        """Find a package by name; with `ref`, read a folder at that tag, branch or commit.

        InputError where there is none. Its files are not read yet.
        """
        name, ref = require_text("name", name), require_text("ref", ref)
        invocation = self._connection.invocation
        with self._connection.guarded():
            path = invocation.directory / name
            if ref or os.path.lexists(path):
                project = configuration.load_valid_project_or_defaults(invocation)
                closed = ClosedFiles(project.reserved, project.root, invocation.environ)
                size = project.max_package_size
            if ref:
                # The folder need not be there now; Git reads from the nearest one that is.
                root = next(ancestor for ancestor in (path, *path.parents) if ancestor.is_dir())
                source = PackageSource("git", path.relative_to(root).as_posix(), ref)
                return PackageQuery(source, root, size, closed=closed)
            if os.path.lexists(path):
                source = PackageSource(
                    "folder" if path.is_dir() else "file", normalize_source_path(name)
                )
                return PackageQuery(source, invocation.directory, size, (name,), closed=closed)
            session = TargetSession(invocation)
            return PackageQuery.of_release(session, _require_release_of(session, name, path))

    def check_package(self, package: str | PackageQuery) -> tuple[Diagnostic, ...]:
        """Find what the platform would refuse or ignore, and what prevents the build."""
        query = self._query(package)
        with self._connection.guarded():
            linter = build_package_linter(query.source)
            problems: tuple[Diagnostic, ...] = ()
            try:
                query.read(linter)
            except InputError as problem:
                problems = problem.diagnostics
            lint_findings = (
                *linter.config_findings,
                *map(build_flaw_finding, linter.limited_flaws()),
            )
            findings = (
                *(with_shown_path(finding, query.root) for finding in lint_findings),
                *problems,
            )
            return tuple(
                finding.as_error() if self._connection.invocation.strict else finding
                for finding in dict.fromkeys(findings)
            )

    def read_package(self, package: str | PackageQuery) -> PackageInside:
        """Return the digest of a package, and the size and digest of each file."""
        query = self._query(package)
        with self._connection.guarded():
            return query.look_inside()

    def list_contents(self, package: str | PackageQuery) -> PackageListing:
        """List the files of a package, and the rule that excludes each other file."""
        query = self._query(package)
        with self._connection.guarded():
            return query.list_files()

    def write_zip(self, package: str | PackageQuery, file: Path | str | None = None) -> WrittenZip:
        """Write the zip that a release uploads. Equal files produce an identical zip.

        Without a `file` it is NAME-VERSION.zip in `folder`. A zip there is replaced. InputError
        where the package is not usable or the file cannot be written.
        """
        query = self._query(package)
        findings: list[Diagnostic] = []
        with self._connection.guarded():
            path = self._path("file", _suggest_zip_name(query) if file is None else file)
            require_no_link_out(path)
            written = sources.write_package_zip(
                query.source,
                query.root,
                path,
                query.max_size,
                allow_files=query.allow_files,
                closed=query.closed,
                warn=findings.append,
            )
            listing = query.list_files()
        return WrittenZip(written, listing.included, findings, file=path)

    def compare_with_published(self, release: str, *, against: str = "") -> PackageDifference:
        """List the files that differ between a declared release and the published release.

        Where it is not published yet, from the newest release of its plugin that is; `against`
        names another one, by address or version. InputError where the state knows no bytes.
        """
        name, against = require_text("release", release), require_text("against", against)
        with self._connection.guarded():
            with open_state(self._connection.invocation) as session:
                has_state = session.require_state_unless_embedded()
                declared = _require_release_of(session, name)
                records = session.store.read_state().records if has_state else {}
            record = _choose_compared_record(records, declared, against)
            if record.digest is None:
                raise InputError.from_summary(
                    "The state does not record the published bytes",
                    f"{record.address} was imported or published by somebody else; the state "
                    "has no digest of its package.",
                    "The files cannot be compared. The state records the files of versions that "
                    "this tool publishes.",
                    address=str(declared.address),
                )
            package = PackageQuery.of_release(session, declared).look_inside().package
        changes = list_changes(record.files, package.files) if record.files else ()
        are_files_known = bool(record.files) or record.digest == package.digest
        return PackageDifference(
            declared, package, record.address, record.digest, are_files_known, changes
        )

    def bump_version(
        self,
        plugin: str,
        *,
        part: str = "",
        exact_version: str = "",
        changelog: str | None = None,
        write: bool = True,
    ) -> BumpResult:
        """Raise the version of a plugin's release in its files, and return the edits.

        By a `part`, which is `major`, `minor` or `patch`, or to the `exact_version`: one of the
        two. Looks at every target, unless one was named. `write=False` only returns the edits.
        InputError, with nothing written, where it cannot be edited.
        """
        from synapse_apply.operations.bump import Bump

        plugin, part = require_text("plugin", plugin), require_text("part", part)
        exact_version = require_text("exact_version", exact_version)
        with self._connection.guarded():
            bump = Bump(self._connection.invocation, plugin, part, exact_version, changelog)
            return bump.run(write=write)

    def _query(self, package: str | PackageQuery) -> PackageQuery:
        return self.find_package(package) if isinstance(package, str) else package


def _require_release_of(session: TargetSession, name: str, path: Path | None = None) -> Desired:
    """The one declared release of this name: an address, or a series with one declared member.

    InputError, with every finding, where the manifests have errors.
    """
    manifests = session.manifests_alone
    if manifests.has_errors:
        raise InputError(*manifests.diagnostics)
    releases = {
        address: resource
        for address, resource in manifests.desired.items()
        if CATALOGUE[address.kind].carries_package
    }
    matches = [releases[address] for address in Names(releases).find(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        matches_text = ", ".join(str(resource.address) for resource in matches)
        raise InputError.from_summary(
            "Which release?", f"{name} may be {matches_text}.", "Specify the complete address."
        )
    missing_path_text = f"{path} does not exist, and " if path is not None else ""
    suggestion = suggest_words(name, [str(address) for address in releases])
    raise InputError.from_summary(
        "There is no such package" if path is not None else "There is no such release",
        f"{name}: {missing_path_text}no manifest declares a release of this name.",
        suggestion[:1].upper() + suggestion[1:]
        or "Specify a folder, a zip, or release/PLUGIN@VERSION.",
    )


def _suggest_zip_name(query: PackageQuery) -> str:
    """`yolo-1.2.0.zip`: named by the release, else by folder and version of config.yaml."""
    if query.release is not None:
        name = query.release.address.name.replace("@", "-").replace("=", "-")
        return f"{name}.zip"
    version = ""
    with suppress(InputError):  # what is wrong with config.yaml is no reason not to zip it
        files = sources.SourceFiles(query.source, query.root, query.allow_files)
        config = files.config(read_single_mapping)
        version = str(config[0].get("version", "")) if config else ""
    folder = (query.root / query.source.path).resolve()
    name = folder.stem if query.source.kind == "file" else folder.name
    omits_version = not is_valid_version(version) or name.endswith(f"-{version}")
    return f"{name}.zip" if omits_version else f"{name}-{version}.zip"


def _choose_compared_record(
    records: Mapping[Address, Record], release: Desired, compared_name: str
) -> Record:
    address = release.address
    if not compared_name and address in records:
        return records[address]
    series, _ = CATALOGUE[address.kind].locate_in_series(release.spec)
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
        raise InputError.from_summary(
            "There is no such published release",
            f"The state has no {compared_name} of the series of {address}.",
            suggest_words(compared_name, [record.version for record in series_records])
            or Text(Command("state show"), " lists its records."),
            address=str(address),
        )
    if not series_records:
        raise InputError.from_summary(
            "Nothing has been published yet",
            f"The state records no release to compare {address} with.",
            Text(Command("package show", address), " shows what is in it."),
            address=str(address),
        )
    return max(
        series_records,
        key=lambda record: (version_sort_key(record.version) or (), record.created_at),
    )
