"""Use case: look at a package, write it to a file, compare it with what was published."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.draft import tidy
from synapse_apply.manifests.reader import read_mapping
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired, Package, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.package_rules import finding_of
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import Record
from synapse_apply.model.versions import order
from synapse_apply.packages.build import build as build_zip
from synapse_apply.packages.changes import FileChange, file_changes
from synapse_apply.packages.inspect import Listing, config_of, inspect, listing
from synapse_apply.packages.sources import PUBLISHED
from synapse_apply.session import declare
from synapse_apply.session.context import open_state
from synapse_apply.session.lint import located
from synapse_apply.session.select import Choosable, find_fitting
from synapse_apply.session.sources import linter
from synapse_apply.session.state_file import missing
from synapse_apply.session.where import Where

_VERSION = re.compile(r"[A-Za-z0-9._+-]{1,64}")


@frozen
class Sought:
    """The package that was asked for: of a release that is declared, or any source."""

    source: PackageSource
    root: Path
    max_size: int
    allow_files: tuple[str, ...] = ()
    release: Desired | None = None

    @property
    def address(self) -> str:
        """The release's, "" for a mere source."""
        return str(self.release.address) if self.release else ""

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return self.address or str(self.source)


@frozen
class Difference:
    """What a package has become since one of its releases was published.

    `files_known` is False where the state knows a digest and not the files behind it.
    """

    release: Desired
    package: Package
    against: Address
    published: str
    files_known: bool
    changes: tuple[FileChange, ...]

    @property
    def differs(self) -> bool:
        return self.package.digest != self.published


def find(where: Where, what: str, ref: str = "") -> Sought:
    """The package that `what` names: a folder or a zip that is there, else a declared release.

    With `ref` it is a folder at that Git ref. InputError when there is no such thing, or when the
    manifests have errors.
    """
    path = where.directory / what
    if ref:
        return _at_ref(where, what, ref)
    if os.path.lexists(path):
        kind = "folder" if path.is_dir() else "file"
        size = declare.project_of(where).max_package_size
        return Sought(PackageSource(kind, tidy(what)), where.directory, size, (what,))
    project, target = declare.target_of(where)
    return _sought(project, target, _release(_declared(where, project, target), what, path))


def _at_ref(where: Where, folder: str, ref: str) -> Sought:
    size = declare.project_of(where).max_package_size
    path = where.directory / folder
    # The folder need not be there now; Git reads from the nearest one that is.
    root = next(above for above in (path, *path.parents) if above.is_dir())
    inside = path.relative_to(root).as_posix()
    return Sought(PackageSource("git", inside, ref), root, size)


def _declared(where: Where, project: Project, target: Target) -> Mapping[Address, Desired]:
    loaded = declare.loaded(where, project, target)
    if loaded.has_errors:
        raise InputError(*loaded.diagnostics)
    return loaded.desired


def _release(declared: Mapping[Address, Desired], name: str, path: Path | None = None) -> Desired:
    """The one release of this name: an address, or a series with one declared member."""
    known = {at: one for at, one in declared.items() if CATALOGUE[at.kind].carries_package}
    named = [known[at] for at in find_fitting(Choosable(known), name)]
    if len(named) == 1:
        return named[0]
    if named:
        several = ", ".join(str(one.address) for one in named)
        raise InputError(
            error("Which release?", f"{name} may be {several}.", "Give the whole address.")
        )
    there = f"nothing is at {path}, and " if path is not None else ""
    near = did_you_mean(name, [str(at) for at in known])
    raise InputError(
        error(
            "There is no such package" if path is not None else "There is no such release",
            f"{name}: {there}no manifest declares a release of this name.",
            near[:1].upper() + near[1:] or "Name a folder, a zip, or release/PLUGIN@VERSION.",
        )
    )


def _sought(project: Project, target: Target, release: Desired) -> Sought:
    source = release.source
    if source is None or source.kind == PUBLISHED:
        raise InputError(
            error(
                "The bytes of this release are not ours",
                f"{release.address} declares `source: published`: somebody else publishes it.",
                "Name a release with a source: or a file:.",
                address=str(release.address),
                position=release.place(()),
            )
        )
    size = project.max_package_size
    return Sought(source, project.root, size, target.allow_files, release)


@dataclass(slots=True)
class Inside:
    """A package read and hashed; `sizes` are those of its files in bytes."""

    package: Package
    sizes: Mapping[str, int]
    findings: list[Diagnostic] = field(default_factory=list)


def look(sought: Sought) -> Inside:
    """All of a package, read once more. InputError with every finding."""
    findings: list[Diagnostic] = []
    package = inspect(
        sought.source,
        sought.root,
        sought.max_size,
        at={"address": sought.address or None},
        allow_files=sought.allow_files,
        warn=findings.append,
    )
    return Inside(package, contents(sought).included, findings)


def check(sought: Sought, *, strict: bool = False) -> tuple[Diagnostic, ...]:
    """All that the platform would refuse or ignore, and what keeps the package from being built.

    `strict` makes errors of warnings.
    """
    watch = linter(sought.source)
    found: list[Diagnostic] = []
    try:
        inspect(
            sought.source,
            sought.root,
            sought.max_size,
            at={"address": sought.address or None},
            allow_files=sought.allow_files,
            watch=watch,
        )
    except InputError as problem:
        found.extend(problem.diagnostics)
    flaws = watch.flaws()
    linted = (*watch.config_findings, *map(finding_of, flaws))
    found = [*(located(one, sought.root) for one in linted), *found]
    return tuple(one.as_strict() if strict else one for one in dict.fromkeys(found))


def contents(sought: Sought) -> Listing:
    """What goes into the zip, what does not and why; nothing is hashed."""
    return listing(sought.source, sought.root, allow_files=sought.allow_files)


def build(sought: Sought, path: Path) -> Inside:
    """Write the reproducible zip to a path; InputError where that cannot be."""
    findings: list[Diagnostic] = []
    package = build_zip(
        sought.source,
        sought.root,
        path,
        sought.max_size,
        allow_files=sought.allow_files,
        warn=findings.append,
    )
    return Inside(package, contents(sought).included, findings)


def usual_name(sought: Sought) -> str:
    """`yolo-1.2.0.zip`: of the release, else of the folder and the version in its config.yaml."""
    if sought.release is not None:
        name = sought.release.address.name.replace("@", "-").replace("=", "-")
        return f"{name}.zip"
    version = ""
    try:
        found = config_of(sought.source, sought.root, read_mapping, allow_files=sought.allow_files)
        version = str(found[0].get("version", "")) if found else ""
    except InputError:
        pass  # what is wrong with config.yaml is no reason not to zip it
    folder = (sought.root / sought.source.path).resolve()
    name = folder.stem if sought.source.kind == "file" else folder.name
    whole = not _VERSION.fullmatch(version) or name.endswith(f"-{version}")
    return f"{name}.zip" if whole else f"{name}-{version}.zip"


def difference(where: Where, name: str, against: str = "") -> Difference:
    """How the package of a declared release differs from a published one.

    That is the same release, or the newest one of its series that is recorded; `against` names
    another, by address or version. InputError when the state does not know any bytes of it.
    """
    with open_state(where) as context:
        there = context.store.exists()
        if not there and not context.target.is_embedded:  # which begins with an empty one
            raise missing(context.target)
        release = _release(_declared(where, context.project, context.target), name)
        records = context.store.read().records if there else {}
    record = _record(records, release, against)
    if record.digest is None:
        raise InputError(_unknown_bytes(release, record))
    package = look(_sought(context.project, context.target, release)).package
    files = file_changes(record.files, package.files) if record.files else ()
    known = bool(record.files) or record.digest == package.digest
    return Difference(release, package, record.address, record.digest, known, files)


def _record(records: Mapping[Address, Record], release: Desired, against: str) -> Record:
    address = release.address
    if not against and address in records:
        return records[address]
    kind = CATALOGUE[address.kind]
    series, _ = kind.place_in_series(release.spec)
    siblings = [one for one in records.values() if one.series and one.series == series]
    if against:
        named = [one for one in siblings if against in (str(one.address), one.version)]
        if named:
            return named[0]
        known = [one.version for one in siblings]
        raise InputError(
            error(
                "There is no such published release",
                f"The state has no {against} of the series of {address}.",
                did_you_mean(against, known) or "`synapse-apply state list` shows what it has.",
                address=str(address),
            )
        )
    if not siblings:
        raise InputError(
            error(
                "Nothing was published yet",
                f"The state knows no release that {address} could be compared with.",
                f"`synapse-apply package show {address}` shows what is in it.",
                address=str(address),
            )
        )
    return _newest(siblings)


def _newest(records: Iterable[Record]) -> Record:
    return max(records, key=lambda one: (order(one.version) or (), one.created_at))


def _unknown_bytes(release: Desired, record: Record) -> Diagnostic:
    return error(
        "The state does not know the published bytes",
        f"{record.address} was imported or published by somebody else; no digest of its package "
        "was ever recorded.",
        "The files cannot be compared. A version published from here is known from then on.",
        address=str(release.address),
    )
