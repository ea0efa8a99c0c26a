"""Use case: raise the version of a declared release where it is written, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from synapse_apply.manifests import raising
from synapse_apply.manifests.draft import Config
from synapse_apply.manifests.editing import Edit, edited
from synapse_apply.manifests.loading import Loaded, Shelf
from synapse_apply.manifests.reader import read, read_mapping
from synapse_apply.manifests.rewriting import Rewrite, rewrite
from synapse_apply.manifests.targets import targets_to_check
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.manifests.written import Written, written
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, Position, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target
from synapse_apply.packages.inspect import config_of
from synapse_apply.packages.sources import FILE, FOLDER, GIT, config_file
from synapse_apply.session import declare
from synapse_apply.session.where import Where

PLUGIN, RELEASE = "plugin", "release"
PARTS = ("major", "minor", "patch")
_SPEC_VERSION = raising.SPEC_VERSION


@frozen
class Wanted:
    """What was asked for: a `part` of the version to raise, or the version itself (`to`)."""

    plugin: str
    part: str = ""
    to: str = ""
    changelog: str | None = None


@frozen
class Bumped:
    """What was edited, or would be.

    `edits` are (file's name, edit, value before); `sources` those of the release, `changelog` what
    its manifest says now.
    """

    before: Address
    after: Address
    edits: tuple[tuple[str, Edit, Any], ...]
    files: tuple[Rewrite, ...]
    sources: tuple[PackageSource, ...]
    changelog: str | None

    @property
    def version(self) -> str:
        return self.after.name.rpartition("@")[2]


@dataclass(slots=True)
class _Place:
    """The project as it is written and as each of its targets reads it."""

    where: Where
    project: Project
    targets: tuple[Target, ...]
    documents: list[Written] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)

    def errors(self) -> list[Diagnostic]:
        found = (one for loaded in self.loaded for one in loaded.diagnostics if one.is_error)
        return list(dict.fromkeys(found))


def bump(where: Where, wanted: Wanted, *, write: bool = True) -> Bumped:
    """Edit the version of a plugin's one release, and its changelog if one is given.

    The version is edited in the manifest, in the package's config.yaml, and in the plugin's own
    manifest where that says the same: whatever must agree. InputError where it cannot be told
    which release is meant, or what would have to be edited, or when the manifests would have an
    error afterwards that they have not now; nothing is written then.
    """
    project = declare.project_of(where)
    place = _Place(where, project, targets_to_check(project, where.target))
    paths = [str(path) for path in where.paths]
    place.documents = list(written(project, place.targets, paths))
    place.loaded = [declare.loaded(where, project, target) for target in place.targets]
    document, resources = _chosen(place, wanted.plugin)
    release = resources[0]
    raising.check_written(document, release)
    after = raising.raised(release, wanted.part, wanted.to)
    raising.check_free(after, place.loaded)
    keys = ("version", "changelog") if wanted.changelog is not None else ("version",)
    raising.check_overlays(place.targets, release.address, after, keys)
    edits = _edits(place, document, resources, after, wanted)
    files = tuple(_rewritten(edits))
    _check_result(place, files, after)
    if write:
        rewrite(files)
    log = wanted.changelog if wanted.changelog is not None else document.get("spec", "changelog")
    sources = dict.fromkeys(one.source for one in resources if one.source is not None)
    told = tuple((name, edit, old) for (_, name), made in edits.items() for edit, old in made)
    return Bumped(release.address, after, told, files, tuple(sources), log)


def _chosen(place: _Place, plugin: str) -> tuple[Written, list[Desired]]:
    """The document of the one release that is meant, and what each target makes of it."""
    name = plugin.removeprefix(f"{RELEASE}/").removeprefix(f"{PLUGIN}/")
    name, _, version = name.partition("@")
    found = [one for one in place.documents if one.prefix == RELEASE and _owner(one) == name]
    if not found:
        _nothing(place, plugin, name)
    known = {one.position: _decoded(place, one) for one in found}
    if version:
        found = [
            one
            for one in found
            if any(d.address.name == f"{name}@{version}" for d in known[one.position])
        ] or _no_version(place, name, version, known)
    if len(found) > 1:
        places = ", ".join(str(one.position) for one in found)
        raise InputError.of(
            "Which release?",
            f"{len(found)} documents declare a release of {name}: {places}.",
            f"Say {name}@VERSION, -t TARGET or -f FILE.",
        )
    document = found[0]
    resources = known[document.position]
    problems = [
        one
        for one in place.errors()
        if (one.position and one.position.file == document.name)
        or one.address in {str(resource.address) for resource in resources}
    ]
    if problems or not resources:
        raise InputError(*(problems or place.errors()))
    return document, resources


def _owner(document: Written) -> str:
    plugin = document.get("spec", "plugin")
    return f"id={plugin.get('id')}" if isinstance(plugin, Mapping) else str(plugin)


def _decoded(place: _Place, document: Written) -> list[Desired]:
    return [
        resource
        for loaded in place.loaded
        for resource in loaded.desired.values()
        if resource.position == document.position
    ]


def _nothing(place: _Place, plugin: str, name: str) -> NoReturn:
    owners = sorted({_owner(one) for one in place.documents if one.prefix == RELEASE})
    unread = [one for one in place.errors() if one.path is None and one.address is None]
    raise InputError(
        error(
            "There is no such release",
            f"No manifest declares a release of plugin {name or plugin!r}.",
            did_you_mean(name, owners) or "`synapse-apply new release NAME` writes one.",
        ),
        *unread,
    )


def _no_version(
    place: _Place, name: str, version: str, known: Mapping[Position, list[Desired]]
) -> NoReturn:
    there = sorted({str(one.address) for found in known.values() for one in found})
    raise InputError(
        error(
            "There is no such release",
            f"No manifest declares release/{name}@{version}.",
            did_you_mean(f"release/{name}@{version}", there),
        ),
        *place.errors(),
    )


_Edits = dict[tuple[Path, str], list[tuple[Edit, Any]]]


def _edits(
    place: _Place,
    document: Written,
    resources: Sequence[Desired],
    after: Address,
    wanted: Wanted,
) -> _Edits:
    """Every edit by file, with the value that stands there now."""
    new = after.name.rpartition("@")[2]
    old = str(resources[0].spec["version"])
    made: _Edits = defaultdict(list)
    for one in place.documents:
        mirrors = one.prefix == PLUGIN and one.get("metadata", "name") == _owner(document)
        if one is document or (mirrors and one.get(*_SPEC_VERSION) == old):
            raw = one.get(*_SPEC_VERSION)
            if raw is not None:
                made[one.file, one.name].append((Edit(_SPEC_VERSION, new, one.index), raw))
    if wanted.changelog is not None:
        # What looks like a variable in a message is none.
        text = wanted.changelog.replace("${", "$${")
        behind = "version" if document.get(*_SPEC_VERSION) is not None else "plugin"
        edit = Edit(("spec", "changelog"), text, document.index, behind)
        raw = document.get("spec", "changelog")
        made[document.file, document.name].append((edit, raw))
    for file, raw in _configs(place, resources):
        made[file, declare.shown(file)].append((Edit(("version",), new), raw))
    return made


def _configs(place: _Place, resources: Sequence[Desired]) -> Iterator[tuple[Path, Any]]:
    """Each config.yaml that says a version, and which; InputError for one we cannot edit."""
    seen: set[Path] = set()
    for resource in resources:
        source = resource.source
        if source is None or source.kind not in {FOLDER, GIT, FILE}:
            continue
        allowed = next(t.allow_files for t, one in zip(place.targets, place.loaded, strict=True)
                       if resource.address in one.desired)  # fmt: skip
        config = config_of(source, place.project.root, read_mapping, allow_files=allowed)
        version = config[0].get("version") if config else None
        if version is None:
            continue
        file = None
        if source.kind == FOLDER:
            file = config_file(source, place.project.root, allowed)
        if file is None:
            raise InputError(_out_of_reach(resource, source, str(version)))
        if file not in seen:
            seen.add(file)
            yield file, version


def _out_of_reach(resource: Desired, source: PackageSource, version: str) -> Diagnostic:
    way = (
        "Raise it in the folder, commit and tag that, and name the new tag as ref."
        if source.kind == GIT
        else "Raise it in the package's folder and build the zip anew."
    )
    return error(
        "The package says the old version",
        f"The config.yaml of {source} says {version}, and it must agree with the manifest.",
        f"{way} Then edit the manifest by hand.",
        address=str(resource.address),
        position=resource.place(()),
    )


def _rewritten(edits: _Edits) -> Iterator[Rewrite]:
    for (file, name), made in edits.items():
        try:
            before = file.read_bytes()
        except OSError as problem:
            raise InputError.of("A file cannot be read", f"{name}: {problem.strerror}.") from None
        text = edited(before.decode(), name, [edit for edit, _ in made])
        yield Rewrite(file, name, before, text.encode())


def _check_result(place: _Place, files: Sequence[Rewrite], after: Address) -> None:
    """Read all as it will be: InputError with every error that is not there now."""
    new = {one.file.resolve(): one for one in files}
    known = {_mark(one) for one in place.errors()}
    found: list[Diagnostic] = []
    for target, before in zip(place.targets, place.loaded, strict=True):
        shelf = Shelf({one.file: read(one.after, one.name) for one in files})
        config = _Reader(place.project, target, new)
        loaded = declare.loaded(
            place.where, place.project, target, shelf=shelf, package_config=config
        )
        found += [e for e in loaded.diagnostics if e.is_error and _mark(e) not in known]
        if not found and len(loaded.desired) != len(before.desired):
            raise InputError.of("The edit would lose a resource", f"{after}, {target.name}.")
    if found:
        raise InputError(
            error(
                "The version cannot be raised",
                f"With {after} the manifests would have errors, which follow.",
                "Nothing was written.",
            ),
            *dict.fromkeys(found),
        )


def _mark(finding: Diagnostic) -> tuple[Any, ...]:
    """What makes two errors the same where lines have moved."""
    file = finding.position.file if finding.position else ""
    return finding.summary, finding.address, finding.path, finding.target, file


@frozen
class _Reader:
    """Reads a package's config.yaml as it will be."""

    project: Project
    target: Target
    new: Mapping[Path, Rewrite]

    def __call__(self, source: PackageSource) -> Config | None:
        root, allowed = self.project.root, self.target.allow_files
        file = config_file(source, root, allowed) if source.kind == FOLDER else None
        if file is not None and file in self.new:
            return read_mapping(self.new[file].after, self.new[file].name)
        return config_of(source, root, read_mapping, allow_files=allowed)
