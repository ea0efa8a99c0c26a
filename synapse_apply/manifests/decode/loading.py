"""How all manifests of a target become Desired resources, with every finding of one run."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synapse_apply.files.checkout import read_regular_file
from synapse_apply.manifests.decode.compatibility import (
    declared_twice_error,
    drop_unsupported,
    plugin_code_errors,
    shared_source_warnings,
    undeclared_reference_errors,
    unused_overlay_findings,
)
from synapse_apply.manifests.decode.decode import (
    API_VERSION,
    apply_overlay,
    begin_draft,
    decode_desired,
    decode_fitting_part,
    find_misfits,
    report_shared,
    set_address,
)
from synapse_apply.manifests.decode.draft import DecodeContext, ReadPackageConfig
from synapse_apply.manifests.decode.overlays import Overlay
from synapse_apply.manifests.decode.package_config import with_dependencies
from synapse_apply.manifests.decode.variables import VariableValues
from synapse_apply.manifests.export.inventory import is_inventory_file
from synapse_apply.manifests.files.manifest_files import ManifestPaths, format_display_path
from synapse_apply.manifests.project.policy import (
    findings_of_moves_at_ref,
    names_after_moves,
    still_declared_errors,
)
from synapse_apply.manifests.schema import schemas
from synapse_apply.manifests.yaml.reader import Document, ReadResult, read_documents
from synapse_apply.model.address import Address, has_wildcard
from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.coding.json_values import build_canonical_encoder
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Desired, PackageSource
from synapse_apply.model.runtime.paused_collection import pause_gc
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import Reference, SecretRef

# Few commands read the manifests of a commit.
if TYPE_CHECKING:
    from synapse_apply.manifests.files.committed import CommittedFolder

# Each is compared with a resource, and lies over those before it.
_MAX_OVERLAYS = 100


@frozen
class LoadedManifests:
    """What one target declares; must not be used when `has_errors`."""

    target: Target
    desired: Mapping[Address, Desired]
    diagnostics: tuple[Diagnostic, ...]
    marks: SecretMarks
    reported_flaws: frozenset[tuple[PackageSource, str]] = frozenset()

    @property
    def has_errors(self) -> bool:
        return any(finding.is_error for finding in self.diagnostics)

    @cached_property
    def manifests_digest(self) -> str:
        """`sha256:HEX` over what is declared, whatever files declare it.

        Secrets only by reference.
        """
        import hashlib  # noqa: PLC0415 - OpenSSL, 3 ms that `validate` does not need

        encoded_resources = [
            _encode_resource(self.desired[address]) for address in sorted(self.desired)
        ]
        text = _DIGEST_ENCODER.encode(encoded_resources)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@mutable
class FileCache:
    """Remembers the documents of each file, since several targets read the same ones."""

    readings: dict[Path, ReadResult] = field(default_factory=dict)

    def read(self, file: Path, name: str) -> ReadResult:
        """The documents of a file, read once; a finding where it cannot be read."""
        if file not in self.readings:
            try:
                self.readings[file] = read_documents(read_regular_file(file), name)
            except OSError as problem:
                finding = error_finding(
                    "Unreadable file",
                    f"{name}: {problem.strerror}",
                    "check its permissions",
                    position=Position(name, 1, 1),
                )
                self.readings[file] = ReadResult((), (finding,))
        return self.readings[file]


def load_manifests(
    project: Project,
    target: Target,
    *,
    variables: Mapping[str, Any] | None = None,
    strict: bool = False,
    read_package_config: ReadPackageConfig | None = None,
    paths: Sequence[str] = (),
    file_cache: FileCache | None = None,
    commit_folder: CommittedFolder | None = None,
) -> LoadedManifests:
    """Read and decode the manifests of one target.

    `variables` are those of the command line; `paths` replace the listed manifests; `strict` turns
    warnings into errors. With `commit_folder` the manifests are those of a commit, and `paths` are
    relative to the project's folder. Mistakes in manifests are findings, never exceptions.
    """
    context = DecodeContext(
        project,
        target,
        schemas.build_marks(project.providers),
        read_package_config,
        read_committed_file=commit_folder.read_secret if commit_folder else None,
    )
    # Decoding allocates many small objects that all stay: collections would find nothing.
    with pause_gc():
        values = VariableValues(project, target, variables or {})
        # Before the documents, so that an unused variable with a wrong value is reported as well.
        values.compute_set_values()
        documents = _read_documents(context, paths, file_cache or FileCache(), commit_folder)
        declared = _decode_documents_and_report(
            context, documents, values, commit_folder.name if commit_folder else ""
        )
    findings = [*values.findings, *context.findings]
    if strict:
        findings = [finding.as_error() for finding in findings]
    return LoadedManifests(
        target,
        declared,
        # A finding on a variable or a package may come from many documents.
        tuple(dict.fromkeys(findings)),
        context.marks,
        frozenset(context.reported_flaws),
    )


def load_all_manifests(
    project: Project,
    targets: Iterable[Target],
    *,
    variables: Mapping[str, Any] | None = None,
    strict: bool = False,
    package_config_reader: Callable[[Target], ReadPackageConfig] | None = None,
    paths: Sequence[str] = (),
) -> tuple[tuple[LoadedManifests, ...], tuple[Diagnostic, ...]]:
    """Load every target; returns the results and all findings, those shared by targets once.

    `package_config_reader` builds the reader of one target, since their `allow_files` differ.
    """
    file_cache = FileCache()
    results = tuple(
        load_manifests(
            project,
            target,
            variables=variables,
            strict=strict,
            read_package_config=package_config_reader(target) if package_config_reader else None,
            paths=paths,
            file_cache=file_cache,
        )
        for target in targets
    )
    # Without its target, a finding that two targets share is equal, and shown without naming one.
    findings_by_text: dict[Diagnostic, list[Diagnostic]] = {}
    for result in results:
        for finding in result.diagnostics:
            findings_by_text.setdefault(finding.with_changes(target=None), []).append(finding)
    return results, tuple(
        duplicates[0] if len(duplicates) == 1 else key
        for key, duplicates in findings_by_text.items()
    )


# An inventory in a listed folder is no manifest and is passed over, recognised by its one key; a
# file that is listed itself is read as one.
def _read_documents(
    context: DecodeContext,
    paths: Sequence[str],
    file_cache: FileCache,
    commit_folder: CommittedFolder | None,
) -> list[Document]:
    if commit_folder is not None:
        listing = commit_folder.collect(context.project, context.target, paths)
    else:
        listing = ManifestPaths(context.project, context.target, paths).collect()
    context.findings.extend(listing.findings)
    documents: list[Document] = []
    # Once for all files: asking the system for each costs more than reading a small one.
    folder = os.getcwd()  # noqa: PTH109 - compared as text, a thousand times
    for file, is_listed in listing.files.items():
        if commit_folder is not None:
            reading = commit_folder.read_documents(str(file))
        else:
            reading = file_cache.read(file, format_display_path(file, folder))
        # A folder that nobody configured may hold other YAML, whose errors are not ours to report.
        if listing.implicit and not has_our_documents(reading):
            continue
        # The inventory that `export` writes into the folder is no manifest, unless it is named
        # itself.
        if not is_listed and is_inventory_file(reading):
            continue
        context.findings.extend(reading.diagnostics)
        documents.extend(reading.documents)
    return documents


def has_our_documents(reading: ReadResult) -> bool:
    """Whether any document has our `apiVersion`.

    Asked where no folder of manifests is configured and the project's folder is read: it holds
    other YAML, too.
    """
    version_family = API_VERSION.partition("/")[0]
    return any(
        isinstance(document.value, dict)
        and str(document.value.get("apiVersion", "")).startswith(version_family)
        for document in reading.documents
    )


def _decode_documents_and_report(
    context: DecodeContext, documents: Iterable[Document], values: VariableValues, ref: str
) -> dict[Address, Desired]:
    overlays = TargetOverlays(context, ref)
    position_by_address: dict[Address, Position | None] = {}
    declared: dict[Address, Desired] = {}
    partly_known: dict[Address, Desired] = {}
    for document in documents:
        draft = begin_draft(context, document, values)
        if draft is None:
            continue
        set_address(draft)
        if draft.address is not None:
            # Overlays come before the schema check, since they may complete a document.
            for overlay in overlays.select(draft.address):
                apply_overlay(draft, overlay, values)
            # A duplicate is skipped: the first document wins, so that later checks see one of the
            # two.
            if draft.address in position_by_address:
                first_position = position_by_address[draft.address]
                context.findings.append(
                    declared_twice_error(draft.address, first_position, draft.position)
                )
                continue
            # Noted before the schema is checked: also a broken document declares its address.
            position_by_address[draft.address] = draft.position
        misfits = find_misfits(draft)
        if misfits or draft.has_unknown_values:
            resource = decode_fitting_part(draft, misfits)
            if resource is not None:
                partly_known[resource.address] = resource
        else:
            resource = decode_desired(draft)
            if resource is not None:
                declared[resource.address] = resource
    report_shared(context)
    context.findings.extend(
        undeclared_reference_errors({**declared, **partly_known}, position_by_address)
    )
    context.findings.extend(shared_source_warnings(declared))
    context.findings.extend(plugin_code_errors(context, declared))
    context.findings.extend(overlays.iter_unused_findings(position_by_address))
    context.findings.extend(_move_findings(context, position_by_address, ref))
    # Last, on decoded values: what an API version cannot carry is still checked above.
    declared = with_dependencies(declared, context.read_config)
    return drop_unsupported(context.target, declared, context.findings)


def _move_findings(
    context: DecodeContext, declared_addresses: Collection[Address], ref: str
) -> Iterable[Diagnostic]:
    project, target = context.project, context.target.name
    if ref:
        return findings_of_moves_at_ref(
            ref, project.moved, project.removed, declared_addresses, target
        )
    return still_declared_errors(project.moved, project.removed, declared_addresses, target)


class TargetOverlays:
    """The overlays of a target, and which of them have matched an address.

    Manifests of a Git ref may use an address that was moved since; an overlay for the new address
    then applies to the old one.
    """

    def __init__(self, context: DecodeContext, ref: str) -> None:
        self._context = context
        self._overlays: list[Overlay] = list(context.target.overlays.values())
        self._by_beginning: dict[str, dict[int, Overlay]] = defaultdict(dict)
        for index, overlay in enumerate(self._overlays):
            self._by_beginning["".join(overlay.pattern.partition("*")[:2])][index] = overlay
        self._lengths = {len(key) - 1 for key in self._by_beginning if has_wildcard(key)}
        self._ref = ref
        moves = context.project.moved if ref else ()
        self._new_by_old = {move.old: move.new for move in moves}
        self._used_patterns: set[str] = set()

    def select(self, address: Address) -> list[Overlay]:
        """The overlays that match an address, in the order of the project file.

        From the first address on that too many may match (reported) there are none.
        """
        if not self._overlays:
            return []
        # Overlays are those of today's project file, which may use the address after a rename.
        names = names_after_moves(address, self._new_by_old)
        found: dict[int, Overlay] = {}
        for name in names:
            for key in (name, *[f"{name[:length]}*" for length in self._lengths]):
                found |= self._by_beginning.get(key, {})
        overlays = [found[index] for index in sorted(found)]
        if len(overlays) > _MAX_OVERLAYS:
            finding = error_finding(
                "Too many overlays for one resource",
                f"{len(overlays)} overlays begin as {address} does, and at most {_MAX_OVERLAYS} "
                "are compared with one resource",
                "write more of the address before the first `*`",
                position=overlays[_MAX_OVERLAYS].position,
                target=self._context.target.name,
            )
            self._context.findings.append(finding)
            self._overlays = overlays = []
        matching = [overlay for overlay in overlays if any(map(overlay.matches_address, names))]
        self._used_patterns.update(overlay.pattern for overlay in matching)
        return matching

    def iter_unused_findings(self, declared_addresses: Collection[Address]) -> Iterable[Diagnostic]:
        """Findings for the overlays that matched no address so far."""
        return unused_overlay_findings(
            self._overlays,
            self._used_patterns,
            declared_addresses,
            self._context.target.name,
            self._ref,
        )


def _encode_resource(resource: Desired) -> JsonObject:
    return {
        "address": str(resource.address),
        "spec": resource.spec,
        "labels": resource.labels,
        "prevent_destroy": resource.lifecycle.prevent_destroy,
        "ignore_changes": resource.lifecycle.ignore_changes,
        "own": resource.lifecycle.own,
        "id": resource.remote_id,
        "source": str(resource.source) if resource.source else None,
        "verify": resource.verify,
        # Left out if not set, so that digests from before this field stay the same.
        **({"retain": resource.retain} if resource.retain is not None else {}),
    }


def _encode_value(value: Any) -> Any:
    if isinstance(value, SecretRef):
        return {"$secret": [*value.identity]}
    if isinstance(value, Reference):
        return {"$reference": str(value.address)}
    return list(value) if isinstance(value, tuple) else str(value)


_DIGEST_ENCODER = build_canonical_encoder(
    default=_encode_value,
    check_circular=False,  # a manifest holds no circles
)
