"""How the version of a release is raised in the file that declares it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from synapse_apply.manifests.decode.draft import ConfigWithPositions
from synapse_apply.manifests.decode.loading import FileCache
from synapse_apply.manifests.decode.variables import Overlay
from synapse_apply.manifests.project.targets import select_targets_to_check
from synapse_apply.manifests.rewriting import (
    Rewrite,
    WrittenDocument,
    edited,
    readable_documents,
    rewrite_all_or_none,
)
from synapse_apply.manifests.yaml.editing import Edit
from synapse_apply.manifests.yaml.reader import read_documents, read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import bump_version_or_empty, is_valid_version, version_sort_key
from synapse_apply.model.phrases import shown_path, suggest_words
from synapse_apply.model.project import Target
from synapse_apply.model.resource import FILE, FOLDER, GIT, Desired, PackageSource
from synapse_apply.packages.sources import SourceFiles
from synapse_apply.workspace import configuration
from synapse_apply.workspace.invocation import Invocation

PLUGIN, RELEASE = "plugin", "release"
_NO_RELEASE = "There is no such release"
VERSION_PARTS = ("major", "minor", "patch")


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


_Edits = dict[tuple[Path, str], list[tuple[Edit, Any]]]
VERSION_PATH = ("spec", "version")


class Bump:
    """One raise: the project's documents as written, and the manifests that each target decodes.

    `part` of VERSION_PARTS, or the new version itself (`exact_version`), says how far.
    """

    def __init__(
        self,
        invocation: Invocation,
        plugin: str,
        part: str,
        exact_version: str,
        changelog: str | None,
    ) -> None:
        """InputError unless it says either which part to raise, or the new version."""
        if bool(part) == bool(exact_version):
            raise InputError.from_summary(
                "Which version comes next?",
                "Specify either the part to raise or the exact version.",
            )
        if part and part not in VERSION_PARTS:
            raise InputError.from_summary(
                "Unknown part of a version", f"{part!r} is not one of {', '.join(VERSION_PARTS)}."
            )
        self._invocation = invocation
        self._plugin, self._changelog = plugin, changelog
        self._part, self._exact_version = part, exact_version
        self._project = configuration.load_valid_project_or_defaults(invocation)
        self._targets = select_targets_to_check(self._project, invocation.target)
        paths = [str(path) for path in invocation.paths]
        self._documents = list(readable_documents(self._project, self._targets, paths))
        self._manifests = [
            configuration.load_target_manifests(invocation, self._project, target)
            for target in self._targets
        ]

    def run(self, *, write: bool = True) -> BumpResult:
        """Edit the version of the plugin's only release, and its changelog if one is given.

        The version is edited in the manifest, in the package's config.yaml, and in the plugin's own
        manifest where that has the same version: these must agree. InputError, with nothing
        written, where several releases could be meant, where a file to edit is out of reach, or
        where the edited manifests would have a new error.
        """
        document, resources = self._find_release()
        release = resources[0]
        # An edit would replace the variable by a literal in every target that reads the document.
        written_version = document.get_value_or_none(*VERSION_PATH)
        if isinstance(written_version, str) and "${" in written_version:
            raise InputError.from_summary(
                "The version is a variable",
                f"spec.version is {written_version}, so this file does not contain the version.",
                "Change the variable's value, or write the version in the manifest.",
                address=str(release.address),
                position=document.document.positions.get(VERSION_PATH),
            )
        new_address = _raise_version(release, self._part, self._exact_version)
        for loaded in self._manifests:
            if new_address in loaded.desired:
                raise InputError.from_summary(
                    "This version is already declared",
                    f"{new_address} is declared at {loaded.desired[new_address].position}.",
                    "Choose another version with --to VERSION.",
                    address=str(new_address),
                )
        for target in self._targets:
            self._require_no_overlay_conflict(target, release.address, new_address)
        edits = self._collect_edits(document, resources, new_address)
        rewrites = tuple(
            edited(file, name, [edit for edit, _ in file_edits])
            for (file, name), file_edits in edits.items()
        )
        # Decoded from memory, before anything is written: a bad edit never reaches the disk.
        self._require_same_but_for_version(rewrites, new_address)
        if write:
            rewrite_all_or_none(rewrites)
        if (changelog := self._changelog) is None:
            changelog = document.get_value_or_none("spec", "changelog")
        sources = dict.fromkeys(found.source for found in resources if found.source is not None)
        edit_rows = tuple(
            (name, edit, old_value)
            for (_, name), file_edits in edits.items()
            for edit, old_value in file_edits
        )
        return BumpResult(
            release.address, new_address, edit_rows, rewrites, tuple(sources), changelog
        )

    def _errors(self) -> list[Diagnostic]:
        """The errors in the manifests of all targets, each once."""
        findings = (finding for loaded in self._manifests for finding in loaded.diagnostics)
        return list(dict.fromkeys(finding for finding in findings if finding.is_error))

    def _find_release(self) -> tuple[WrittenDocument, list[Desired]]:
        """The document of the named release, and the resource that each target decodes from it.

        InputError where no document or several match, or where the document has errors.
        """
        # Either address may be given: people copy the one that a plan has shown.
        name = self._plugin.removeprefix(f"{RELEASE}/").removeprefix(f"{PLUGIN}/")
        name, _, version = name.partition("@")
        releases = [d for d in self._documents if d.address_prefix_or_empty == RELEASE]
        matches = [document for document in releases if _plugin_of(document) == name]
        if not matches:
            owners = sorted(set(map(_plugin_of, releases)))
            unread = [e for e in self._errors() if e.path is None and e.address is None]
            detail = f"No manifest declares a release of plugin {name or self._plugin!r}."
            hint = suggest_words(name, owners) or Text(Command("init release NAME"), " writes one.")
            raise InputError(error_finding(_NO_RELEASE, detail, hint), *unread)
        by_position = {
            document.position: [
                resource
                for loaded in self._manifests
                for resource in loaded.desired.values()
                if resource.position == document.position
            ]
            for document in matches
        }
        if version:
            address = f"{RELEASE}/{name}@{version}"
            declared = {
                position: [str(resource.address) for resource in found]
                for position, found in by_position.items()
            }
            matches = [entry for entry in matches if address in declared[entry.position]]
            if not matches:
                detail = f"No manifest declares {address}."
                hint = suggest_words(address, sorted(set(chain(*declared.values()))))
                raise InputError(error_finding(_NO_RELEASE, detail, hint), *self._errors())
        if len(matches) > 1:
            positions = ", ".join(str(candidate.position) for candidate in matches)
            raise InputError.from_summary(
                "Which release?",
                f"{len(matches)} documents declare a release of {name}: {positions}.",
                f"Give {name}@VERSION, -t TARGET or -f FILE.",
            )
        document = matches[0]
        resources = by_position[document.position]
        addresses = {str(found.address) for found in resources}
        problems = [
            error
            for error in self._errors()
            if (error.position and error.position.file == document.name)
            or error.address in addresses
        ]
        if problems or not resources:
            raise InputError(*(problems or self._errors()))
        return document, resources

    def _require_no_overlay_conflict(
        self, target: Target, old_address: Address, new_address: Address
    ) -> None:
        """InputError for an overlay that sets what is edited, or matches only the old address.

        The first would undo the edit, the second would no longer apply after it.
        """
        keys = ("version", "changelog") if self._changelog is not None else ("version",)
        overlays: Iterable[Overlay] = target.overlays.values()
        for overlay in overlays:
            if not overlay.matches_address(str(old_address)):
                continue
            place = {"position": overlay.position, "target": target.name}
            spec = overlay.patch.get("spec")
            # The overlay's value wins, so the edit of the manifest would change nothing.
            fields = spec if isinstance(spec, Mapping) else {}
            for key in keys:
                if key in fields:
                    raise InputError.from_summary(
                        "An overlay sets the field to edit",
                        f"The overlay {overlay.pattern} sets spec.{key}.",
                        "Change it there, or remove it from the overlay.",
                        **place,
                    )
            if not overlay.matches_address(str(new_address)):
                pattern = f"{old_address.kind}/{old_address.name.rpartition('@')[0]}@*"
                raise InputError.from_summary(
                    "An overlay matches only the old version",
                    f"The overlay {overlay.pattern} matches {old_address}, but not {new_address}.",
                    f"Write {pattern} in the project file.",
                    **place,
                )

    # A Plugin's `version` that equals the release's is raised as well: who kept them the same means
    # them to be the same.
    def _collect_edits(
        self, document: WrittenDocument, resources: Sequence[Desired], new_address: Address
    ) -> _Edits:
        """Every edit, by (path, name) of its file, each with the value it replaces."""
        new_version = new_address.name.rpartition("@")[2]
        old_version = str(resources[0].spec["version"])
        edits: _Edits = defaultdict(list)
        for other in self._documents:
            current = other.get_value_or_none(*VERSION_PATH)
            is_mirror = (
                other.address_prefix_or_empty == PLUGIN
                and other.get_value_or_none("metadata", "name") == _plugin_of(document)
                and current == old_version
            )
            if (other is document or is_mirror) and current is not None:
                edit = Edit(VERSION_PATH, new_version, other.index)
                edits[other.file, other.name].append((edit, current))
        if self._changelog is not None:
            # What looks like a variable in a message is none.
            text = self._changelog.replace("${", "$${")
            has_version = document.get_value_or_none(*VERSION_PATH) is not None
            preceding_key = "version" if has_version else "plugin"
            edit = Edit(("spec", "changelog"), text, document.index, preceding_key)
            current = document.get_value_or_none("spec", "changelog")
            edits[document.file, document.name].append((edit, current))
        for file, current in self._config_versions(resources):
            edits[file, shown_path(file)].append((Edit(("version",), new_version), current))
        return edits

    def _config_versions(self, resources: Sequence[Desired]) -> Iterator[tuple[Path, Any]]:
        """Each config.yaml with a version, and the version; InputError for one in Git or a zip."""
        seen_files: set[Path] = set()
        for resource in resources:
            source = resource.source
            if source is None or source.kind not in {FOLDER, GIT, FILE}:
                continue
            allowed_files = next(
                target.allow_files
                for target, loaded in zip(self._targets, self._manifests, strict=True)
                if resource.address in loaded.desired
            )
            files = SourceFiles(source, self._project.root, allowed_files)
            config = files.config(read_single_mapping)
            version = config[0].get("version") if config else None
            if version is None:
                continue
            if (file := files.config_file()) is None:
                hint = (
                    (
                        "Raise the version in the folder, commit it, tag the commit, and "
                        "set ref to the new tag."
                    )
                    if source.kind == GIT
                    else "Raise the version in the package's folder, and build the zip again."
                )
                raise InputError.from_summary(
                    "The package still has the old version",
                    f"The config.yaml of {source} has version {version}, but must match the "
                    "manifest.",
                    f"{hint} Then edit the manifest manually.",
                    address=str(resource.address),
                    position=resource.find_position(()),
                )
            if file not in seen_files:
                seen_files.add(file)
                yield file, version

    def _require_same_but_for_version(
        self, rewrites: Sequence[Rewrite], new_address: Address
    ) -> None:
        """InputError with each error that the edited manifests have, and those of now do not."""
        rewrite_by_path = {entry.file.resolve(): entry for entry in rewrites}

        def read_config(target: Target, source: PackageSource) -> ConfigWithPositions | None:
            files = SourceFiles(source, self._project.root, target.allow_files)
            file = files.config_file()
            if file is None or file not in rewrite_by_path:
                return files.config(read_single_mapping)
            return read_single_mapping(
                rewrite_by_path[file].new_content, rewrite_by_path[file].name
            )

        known_errors = {error.line_independent_key for error in self._errors()}
        new_errors: list[Diagnostic] = []
        for target, old_manifests in zip(self._targets, self._manifests, strict=True):
            manifests = configuration.load_target_manifests(
                self._invocation,
                self._project,
                target,
                file_cache=FileCache(
                    {e.file: read_documents(e.new_content, e.name) for e in rewrites}
                ),
                package_config=partial(read_config, target),
            )
            new_errors += [
                finding
                for finding in manifests.diagnostics
                if finding.is_error and finding.line_independent_key not in known_errors
            ]
            if not new_errors and len(manifests.desired) != len(old_manifests.desired):
                raise InputError.from_summary(
                    "The edit would lose a resource", f"{new_address}, {target.name}."
                )
        if new_errors:
            detail = f"With {new_address} the manifests would have the errors below."
            summary = "The version cannot be raised"
            raise InputError(
                error_finding(summary, detail, "Nothing was written."), *dict.fromkeys(new_errors)
            )


def _plugin_of(document: WrittenDocument) -> str:
    plugin = document.get_value_or_none("spec", "plugin")
    return f"id={plugin.get('id')}" if isinstance(plugin, Mapping) else str(plugin)


def _raise_version(release: Desired, part: str, requested_version: str = "") -> Address:
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
            "The next version is unknown",
            f"{version} is not a semantic version, so it has no next {part} version.",
            "Specify the next version with --to VERSION.",
            **error_fields,
        )
    if not is_valid_version(new_version):
        raise InputError.from_summary(
            "Malformed version",
            f"{new_version!r} has characters that a version cannot have, or is too long.",
            "Use letters, digits, `.`, `_`, `+` and `-`, at most 64.",
        )
    # Versions without an order (None) cannot be compared: only an equal one is refused.
    old_key, new_key = version_sort_key(version), version_sort_key(new_version)
    if new_version == version or (old_key and new_key and new_key <= old_key):
        raise InputError.from_summary(
            "The new version is not higher",
            f"{release.address} is declared, and {new_version} does not come after {version}.",
            "Published versions never change: choose a higher version.",
            **error_fields,
        )
    return Address(release.address.kind, f"{release.address.name.rpartition('@')[0]}@{new_version}")
