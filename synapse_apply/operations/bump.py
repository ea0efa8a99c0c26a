"""How the version of a release is raised in the file that declares it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, NoReturn

from synapse_apply.manifests.decode.draft import ConfigWithPositions
from synapse_apply.manifests.decode.loading import FileCache, LoadedManifests
from synapse_apply.manifests.decode.overlays import Overlay
from synapse_apply.manifests.edit.rewriting import (
    Rewrite,
    WrittenDocument,
    iter_readable_written_documents,
    rewrite_all_or_none,
)
from synapse_apply.manifests.project.targets import select_targets_to_check
from synapse_apply.manifests.yaml.editing import Edit, apply_edits
from synapse_apply.manifests.yaml.reader import read_documents, read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.packages import bump_version_or_empty, is_valid_version, version_sort_key
from synapse_apply.model.phrases import suggest_words
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import FILE, FOLDER, GIT, Desired, PackageSource
from synapse_apply.packages.sources import SourceFiles
from synapse_apply.views.paths import format_path_relative_to_cwd_if_inside
from synapse_apply.workspace import configuration
from synapse_apply.workspace.invocation import Invocation

PLUGIN, RELEASE = "plugin", "release"
VERSION_PARTS = ("major", "minor", "patch")


@frozen
class BumpRequest:
    """Which plugin's release to raise, and how far.

    `part` of VERSION_PARTS, or the new version itself (`exact_version`).
    """

    plugin: str
    part: str = ""
    exact_version: str = ""
    changelog: str | None = None

    def require_one_way(self) -> None:
        """InputError unless it says either which part to raise, or the new version."""
        if bool(self.part) == bool(self.exact_version):
            raise InputError.from_summary(
                "How far to raise the version?", "Give a part or the exact version, one of the two."
            )
        if self.part and self.part not in VERSION_PARTS:
            raise InputError.from_summary(
                "A version has no such part",
                f"{self.part!r} is none of {', '.join(VERSION_PARTS)}.",
            )


@frozen
class BumpResult:
    """The edits that were made, or would be.

    `edits` are (file's name, edit, value before); `sources` are those of the release, `changelog`
    is the text in its manifest afterwards.
    """

    old_address: Address
    new_address: Address
    edits: tuple[tuple[str, Edit, Any], ...]
    rewrites: tuple[Rewrite, ...]
    sources: tuple[PackageSource, ...]
    changelog: str | None

    @property
    def new_version(self) -> str:
        return self.new_address.name.rpartition("@")[2]


@mutable
class _BumpProject:
    """The project's documents as written, and the manifests each target decodes from them."""

    invocation: Invocation
    project: Project
    targets: tuple[Target, ...]
    documents: list[WrittenDocument] = field(default_factory=list)
    target_manifests: list[LoadedManifests] = field(default_factory=list)

    def distinct_errors(self) -> list[Diagnostic]:
        """The errors in the manifests of all targets, each once."""
        findings = (
            finding
            for manifests in self.target_manifests
            for finding in manifests.diagnostics
            if finding.is_error
        )
        return list(dict.fromkeys(findings))


def bump_release(invocation: Invocation, request: BumpRequest, *, write: bool = True) -> BumpResult:
    """Edit the version of a plugin's only release, and its changelog if one is given.

    The version is edited in the manifest, in the package's config.yaml, and in the plugin's own
    manifest where that has the same version: these must agree. InputError, with nothing written,
    where several releases could be meant, where a file to edit is out of reach, or where the
    edited manifests would have a new error.
    """
    project = configuration.load_valid_project_or_defaults(invocation)
    bump_project = _BumpProject(
        invocation, project, select_targets_to_check(project, invocation.target)
    )
    paths = [str(path) for path in invocation.paths]
    bump_project.documents = list(
        iter_readable_written_documents(project, bump_project.targets, paths)
    )
    bump_project.target_manifests = [
        configuration.load_target_manifests(invocation, project, target)
        for target in bump_project.targets
    ]
    document, resources = _require_release(bump_project, request.plugin)
    release = resources[0]
    # An edit would replace the variable by a literal in every target that reads the document.
    written_version = document.get_value_or_none(*VERSION_PATH)
    if isinstance(written_version, str) and "${" in written_version:
        raise InputError.from_summary(
            "The version is a variable",
            f"spec.version is {written_version}: it is not written here.",
            "Change the variable's value, or write the version out.",
            address=str(release.address),
            position=document.document.positions.get(VERSION_PATH),
        )
    new_address = compute_address_with_higher_version(release, request.part, request.exact_version)
    for loaded_target in bump_project.target_manifests:
        if new_address in loaded_target.desired:
            raise InputError.from_summary(
                "This version is declared already",
                f"{new_address} stands at {loaded_target.desired[new_address].position}.",
                "Choose another one with --to VERSION.",
                address=str(new_address),
            )
    keys = ("version", "changelog") if request.changelog is not None else ("version",)
    require_no_overlay_conflict(bump_project.targets, release.address, new_address, keys)
    edits = _collect_edits(bump_project, document, resources, new_address, request)
    rewrites = tuple(_iter_rewrites(edits))
    # Decoded from memory, before anything is written: a bad edit never reaches the disk.
    _require_harmless_edits(bump_project, rewrites, new_address)
    if write:
        rewrite_all_or_none(rewrites)
    changelog = (
        request.changelog
        if request.changelog is not None
        else document.get_value_or_none("spec", "changelog")
    )
    sources = dict.fromkeys(
        resource.source for resource in resources if resource.source is not None
    )
    edit_rows = tuple(
        (name, edit, old_value)
        for (_, name), file_edits in edits.items()
        for edit, old_value in file_edits
    )
    return BumpResult(release.address, new_address, edit_rows, rewrites, tuple(sources), changelog)


def _require_release(
    bump_project: _BumpProject, plugin: str
) -> tuple[WrittenDocument, list[Desired]]:
    """The document of the named release, and the resource that each target decodes from it.

    InputError where no document or several match, or where the document has errors.
    """
    # Either address may be given: people copy the one that a plan has shown.
    name = plugin.removeprefix(f"{RELEASE}/").removeprefix(f"{PLUGIN}/")
    name, _, version = name.partition("@")
    matches = [
        candidate
        for candidate in bump_project.documents
        if candidate.address_prefix_or_empty == RELEASE and _plugin_reference(candidate) == name
    ]
    if not matches:
        _raise_no_release(bump_project, plugin, name)
    resources_by_position = {
        candidate.position: [
            resource
            for manifests in bump_project.target_manifests
            for resource in manifests.desired.values()
            if resource.position == candidate.position
        ]
        for candidate in matches
    }
    if version:
        matches = [
            candidate
            for candidate in matches
            if any(
                resource_match.address.name == f"{name}@{version}"
                for resource_match in resources_by_position[candidate.position]
            )
        ] or _raise_no_version(bump_project, name, version, resources_by_position)
    if len(matches) > 1:
        positions = ", ".join(str(candidate.position) for candidate in matches)
        raise InputError.from_summary(
            "Which release?",
            f"{len(matches)} documents declare a release of {name}: {positions}.",
            f"Say {name}@VERSION, -t TARGET or -f FILE.",
        )
    document = matches[0]
    resources = resources_by_position[document.position]
    problems = [
        candidate
        for candidate in bump_project.distinct_errors()
        if (candidate.position and candidate.position.file == document.name)
        or candidate.address in {str(resource.address) for resource in resources}
    ]
    if problems or not resources:
        raise InputError(*(problems or bump_project.distinct_errors()))
    return document, resources


def _plugin_reference(document: WrittenDocument) -> str:
    plugin = document.get_value_or_none("spec", "plugin")
    return f"id={plugin.get('id')}" if isinstance(plugin, Mapping) else str(plugin)


def _raise_no_release(bump_project: _BumpProject, plugin: str, name: str) -> NoReturn:
    owners = sorted(
        {
            _plugin_reference(entry)
            for entry in bump_project.documents
            if entry.address_prefix_or_empty == RELEASE
        }
    )
    unread_errors = [
        entry
        for entry in bump_project.distinct_errors()
        if entry.path is None and entry.address is None
    ]
    raise InputError(
        error_finding(
            "There is no such release",
            f"No manifest declares a release of plugin {name or plugin!r}.",
            suggest_words(name, owners) or Text(Command("new release NAME"), " writes one."),
        ),
        *unread_errors,
    )


def _raise_no_version(
    bump_project: _BumpProject,
    name: str,
    version: str,
    resources_by_position: Mapping[Position, list[Desired]],
) -> NoReturn:
    declared_addresses = sorted(
        {
            str(resource.address)
            for resources in resources_by_position.values()
            for resource in resources
        }
    )
    raise InputError(
        error_finding(
            "There is no such release",
            f"No manifest declares release/{name}@{version}.",
            suggest_words(f"release/{name}@{version}", declared_addresses),
        ),
        *bump_project.distinct_errors(),
    )


_Edits = dict[tuple[Path, str], list[tuple[Edit, Any]]]


# A Plugin's `version` that equals the release's is raised as well: who kept them the same means
# them to be the same.
def _collect_edits(
    bump_project: _BumpProject,
    document: WrittenDocument,
    resources: Sequence[Desired],
    new_address: Address,
    request: BumpRequest,
) -> _Edits:
    """Every edit, by (path, name) of its file, each with the value it replaces."""
    new_version = new_address.name.rpartition("@")[2]
    old_version = str(resources[0].spec["version"])
    edits: _Edits = defaultdict(list)
    for other_document in bump_project.documents:
        is_mirror = (
            other_document.address_prefix_or_empty == PLUGIN
            and other_document.get_value_or_none("metadata", "name") == _plugin_reference(document)
        )
        if other_document is document or (
            is_mirror and other_document.get_value_or_none(*VERSION_PATH) == old_version
        ):
            current_value = other_document.get_value_or_none(*VERSION_PATH)
            if current_value is not None:
                edits[other_document.file, other_document.name].append(
                    (Edit(VERSION_PATH, new_version, other_document.index), current_value)
                )
    if request.changelog is not None:
        # What looks like a variable in a message is none.
        text = request.changelog.replace("${", "$${")
        preceding_key = (
            "version" if document.get_value_or_none(*VERSION_PATH) is not None else "plugin"
        )
        edit = Edit(("spec", "changelog"), text, document.index, preceding_key)
        current_value = document.get_value_or_none("spec", "changelog")
        edits[document.file, document.name].append((edit, current_value))
    for file, current_value in _iter_editable_configs(bump_project, resources):
        edits[file, format_path_relative_to_cwd_if_inside(file)].append(
            (Edit(("version",), new_version), current_value)
        )
    return edits


def _iter_editable_configs(
    bump_project: _BumpProject, resources: Sequence[Desired]
) -> Iterator[tuple[Path, Any]]:
    """Each config.yaml with a version, and the version; InputError for one in Git or a zip."""
    seen_files: set[Path] = set()
    for resource in resources:
        source = resource.source
        if source is None or source.kind not in {FOLDER, GIT, FILE}:
            continue
        allowed_files = next(
            each_target.allow_files
            for each_target, manifests in zip(
                bump_project.targets, bump_project.target_manifests, strict=True
            )
            if resource.address in manifests.desired
        )
        files = SourceFiles(source, bump_project.project.root, allowed_files)
        config = files.config(read_single_mapping)
        version = config[0].get("version") if config else None
        if version is None:
            continue
        file = files.config_file()
        if file is None:
            raise InputError(_out_of_reach(resource, source, str(version)))
        if file not in seen_files:
            seen_files.add(file)
            yield file, version


def _out_of_reach(resource: Desired, source: PackageSource, version: str) -> Diagnostic:
    """The error for a config.yaml that has a version and lies in a Git ref or in a zip."""
    hint = (
        "Raise it in the folder, commit and tag that, and name the new tag as ref."
        if source.kind == GIT
        else "Raise it in the package's folder and build the zip anew."
    )
    return error_finding(
        "The package says the old version",
        f"The config.yaml of {source} says {version}, and it must agree with the manifest.",
        f"{hint} Then edit the manifest by hand.",
        address=str(resource.address),
        position=resource.find_position(()),
    )


def _iter_rewrites(edits: _Edits) -> Iterator[Rewrite]:
    for (file, name), file_edits in edits.items():
        try:
            old_bytes = file.read_bytes()
        except OSError as problem:
            raise InputError.from_summary(
                "A file cannot be read", f"{name}: {problem.strerror}."
            ) from None
        text = apply_edits(old_bytes.decode(), name, [edit for edit, _ in file_edits])
        yield Rewrite(file, name, old_bytes, text.encode())


def _require_harmless_edits(
    bump_project: _BumpProject, rewrites: Sequence[Rewrite], new_address: Address
) -> None:
    """Decode the edited files; InputError with each error that the manifests do not have now."""
    rewrite_by_path = {entry.file.resolve(): entry for entry in rewrites}
    known_errors = {entry.line_independent_key for entry in bump_project.distinct_errors()}
    new_errors: list[Diagnostic] = []
    for target, old_manifests in zip(
        bump_project.targets, bump_project.target_manifests, strict=True
    ):
        file_cache = FileCache(
            {entry.file: read_documents(entry.new_content, entry.name) for entry in rewrites}
        )
        config_reader = _RewrittenConfigReader(bump_project.project, target, rewrite_by_path)
        manifests = configuration.load_target_manifests(
            bump_project.invocation,
            bump_project.project,
            target,
            file_cache=file_cache,
            package_config=config_reader,
        )
        new_errors += [
            e
            for e in manifests.diagnostics
            if e.is_error and e.line_independent_key not in known_errors
        ]
        if not new_errors and len(manifests.desired) != len(old_manifests.desired):
            raise InputError.from_summary(
                "The edit would lose a resource", f"{new_address}, {target.name}."
            )
    if new_errors:
        raise InputError(
            error_finding(
                "The version cannot be raised",
                f"With {new_address} the manifests would have errors, which follow.",
                "Nothing was written.",
            ),
            *dict.fromkeys(new_errors),
        )


@frozen
class _RewrittenConfigReader:
    """Reads a package's config.yaml with the edits applied."""

    project: Project
    target: Target
    rewrites: Mapping[Path, Rewrite]

    def __call__(self, source: PackageSource) -> ConfigWithPositions | None:
        files = SourceFiles(source, self.project.root, self.target.allow_files)
        file = files.config_file()
        if file is not None and file in self.rewrites:
            return read_single_mapping(self.rewrites[file].new_content, self.rewrites[file].name)
        return files.config(read_single_mapping)


VERSION_PATH = ("spec", "version")


def compute_address_with_higher_version(
    release: Desired, part: str, requested_version: str = ""
) -> Address:
    """The release's address with the next version, or with `requested_version`.

    `part` is major, minor or patch. Raises InputError where the version is malformed or not higher.
    """
    version = str(release.spec["version"])
    # `bump_version_or_empty` gives "" where the version is no semantic one.
    new_version = requested_version or bump_version_or_empty(version, part)
    error_fields = {
        "address": str(release.address),
        "position": release.find_position(("version",)),
    }
    if not new_version:
        raise InputError.from_summary(
            "The version cannot be counted on",
            f"{version} is not a semantic version, so nobody can tell its next {part} version.",
            "Say which one follows: --to VERSION.",
            **error_fields,
        )
    if not is_valid_version(new_version):
        raise InputError.from_summary(
            "Malformed version",
            f"{new_version!r} has characters that no version has, or is too long.",
            "Use letters, digits, `.`, `_`, `+` and `-`, at most 64.",
        )
    # Versions without an order (None) cannot be compared: only an equal one is refused.
    old_key, new_key = (version_sort_key(version), version_sort_key(new_version))
    if new_version == version or (
        old_key is not None and new_key is not None and new_key <= old_key
    ):
        raise InputError.from_summary(
            "The version would not rise",
            f"{release.address} is declared, and {new_version} does not come after {version}.",
            "Published versions never change: choose a higher one.",
            **error_fields,
        )
    return Address(release.address.kind, f"{release.address.name.rpartition('@')[0]}@{new_version}")


def require_no_overlay_conflict(
    targets: Iterable[Target], old_address: Address, new_address: Address, keys: Sequence[str]
) -> None:
    """Raise InputError for an overlay that sets a field of `keys`, or matches only the old address.

    The first would undo the edit, the second would no longer apply after it.
    """
    for target in targets:
        overlays: Iterable[Overlay] = target.overlays.values()
        for overlay in overlays:
            if overlay.matches_address(str(old_address)):
                _require_matching_overlay_compatible(
                    overlay, target, old_address, new_address, keys
                )


def _require_matching_overlay_compatible(
    overlay: Overlay,
    target: Target,
    old_address: Address,
    new_address: Address,
    keys: Sequence[str],
) -> None:
    error_fields = {"position": overlay.position, "target": target.name}
    spec = overlay.patch.get("spec")
    for key in keys:
        # The overlay's value wins, so the edit of the manifest would change nothing.
        if isinstance(spec, Mapping) and key in spec:
            raise InputError.from_summary(
                "An overlay sets what is to be edited",
                f"The overlay {overlay.pattern} sets spec.{key}.",
                "Change it there, or remove it from the overlay.",
                **error_fields,
            )
    if not overlay.matches_address(str(new_address)):
        raise InputError.from_summary(
            "An overlay is for the old version alone",
            f"The overlay {overlay.pattern} fits {old_address} and not {new_address}.",
            f"Write {old_address.kind}/{old_address.name.rpartition('@')[0]}@* in the project "
            f"file.",
            **error_fields,
        )
