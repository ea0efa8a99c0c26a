"""How all manifests of a target become Desired resources, with every finding of one run."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synapse_apply.files.checkout import read_regular_file
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.manifests import schemas
from synapse_apply.manifests.decode import decode
from synapse_apply.manifests.decode.draft import PUBLISHED, DecodeContext, ReadPackageConfig
from synapse_apply.manifests.decode.kinds import warn_of_unknown_providers
from synapse_apply.manifests.decode.package_config import release_sort_key, with_dependencies
from synapse_apply.manifests.decode.variables import Overlay, VariableValues
from synapse_apply.manifests.files import ManifestFiles, ManifestPaths, format_display_path
from synapse_apply.manifests.project.policy import findings_of_moves, names_after_moves
from synapse_apply.manifests.project.project import FILE_NAME, text_position
from synapse_apply.manifests.yaml.reader import Document, ReadResult, read_documents
from synapse_apply.model.address import Address, has_wildcard
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import (
    Diagnostic,
    Position,
    Severity,
    error_finding,
    warning_finding,
)
from synapse_apply.model.frozen import frozen, mutable, replace
from synapse_apply.model.json_values import build_canonical_encoder
from synapse_apply.model.paused_collection import pause_gc
from synapse_apply.model.phrases import FirstHints, format_count_and_noun
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Desired, PackageSource
from synapse_apply.model.secrets.credentials import format_unless_secret
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import Reference, SecretRef

if TYPE_CHECKING:
    from synapse_apply.manifests.committed import CommittedFolder


def is_inventory_file(reading: ReadResult) -> bool:
    """Whether a file holds an inventory and nothing else; in a folder it is skipped."""
    if reading.diagnostics or len(reading.documents) != 1:
        return False
    value = reading.documents[0].value
    return isinstance(value, dict) and value.keys() == {"inventory"}


def format_inventory(rows: Sequence[Mapping[str, object]]) -> str:
    """Inventory rows as YAML text, which `import -f` reads; fields that are None are left out."""
    lines = ["# synapse-apply inventory: read by `synapse-apply import -f`", "inventory:"]
    for row in rows:
        present_fields = [(key, value) for key, value in row.items() if value is not None]
        # A JSON string is a YAML string, whatever it holds.
        pairs = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in present_fields]
        lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
    return "\n".join(lines if rows else [lines[0], "inventory: []"]) + "\n"


def drop_unsupported(
    target: Target, declared: Mapping[Address, Desired], findings: list[Diagnostic]
) -> dict[Address, Desired]:
    """The same resources without the fields that their API version on a target does not have.

    What it does not carry or take is appended to `findings`.
    """
    # Findings are built per kind, so resources are grouped first: one pass, not one per kind.
    fitted = dict(declared)
    by_kind: dict[str, list[Desired]] = defaultdict(list)
    for resource in declared.values():
        by_kind[resource.address.kind].append(resource)
    for kind in [kind for prefix, kind in CATALOGUE.items() if prefix in by_kind]:
        check = _KindCheck(target, kind, by_kind[kind.prefix])
        findings += (*check.mixed_version_errors(), *check.unsupported_fields())
        findings += (*check.unsupported_retain(declared), *check.constraint_findings())
        for resource in check.affected:
            spec = {n: v for n, v in resource.spec.items() if n in check.binding.fields}
            fitted[resource.address] = replace(resource, spec=spec)
    return fitted


class _KindCheck:
    """The resources of one kind beside the API version that reaches them on a target."""

    def __init__(self, target: Target, kind: ResourceType, resources: Sequence[Desired]) -> None:
        self._target = target
        self._kind = kind
        self._resources = resources
        self.binding = kind.select_newest_binding(target.api)
        # Those with a field that the API version does not have.
        self.affected = [item for item in resources if not self.binding.fields >= item.spec.keys()]

    def mixed_version_errors(self) -> Iterator[Diagnostic]:
        """An error where a kind and one it refers to by id are reached through different versions.

        Each API version numbers its objects on its own, so an id of one means nothing in another.
        """
        kind, target, api = self._kind, self._target, self.binding.api
        for rule in kind.rules.values():
            referred = CATALOGUE.get(rule.references)
            referred_api = referred.select_newest_binding(target.api).api if referred else api
            resource = next((item for item in self._resources if rule.name in item.spec), None)
            if referred and resource and referred_api != api:
                # Suggested as the fix; `v2` sorts after `v1`, so the text comparison is enough.
                newest = max(kind.bindings.keys() & referred.bindings.keys())
                yield error_finding(
                    "Two API versions for related kinds",
                    f"target {target.name} uses api {api} for a {kind.prefix} and {referred_api}"
                    f" for the {referred.prefix} that it refers to by id",
                    f"set one version for both: `api: {{{referred.prefix}: {newest}, "
                    f"{kind.prefix}: {newest}}}`",
                    position=target.position or resource.position,
                    target=target.name,
                )

    def unsupported_fields(self) -> Iterator[Diagnostic]:
        """One finding for all resources of a kind, at the position of the first such field."""
        if self.affected:
            unknown = [name for name in self._kind.rules if name not in self.binding.fields]
            names = [name for name in unknown if any(name in item.spec for item in self.affected)]
            found = ((one, name) for one in self.affected for name in names if name in one.spec)
            first, name = next(found)
            position = first.find_position((name,))
            yield self._unsupported(", ".join(names), self.affected, self._kind.prefix, position)

    def unsupported_retain(self, declared: Mapping[Address, Desired]) -> Iterator[Diagnostic]:
        """A finding where `retain` is declared and the API version cannot delete such objects."""
        # `retain` is declared on the owner of a series (a plugin) and deletes members (its
        # releases).
        kind = self._kind
        owner = kind.rules[kind.series_field].references if kind.series_field else ""
        owners = (one for one in declared.values() if one.address.kind == owner)
        retaining = [resource for resource in owners if resource.retain]
        if retaining and self.binding.delete_object is None:
            position = retaining[0].find_position(("retain",))
            yield self._unsupported("retain", retaining, owner, position)

    def _unsupported(
        self, names: str, resources: Sequence[Desired], prefix: str, position: Position | None
    ) -> Diagnostic:
        target, count = self._target, format_count_and_noun(len(resources), prefix)
        severity, hint = Severity.WARNING, "they are neither sent nor compared on this target"
        if target.unsupported_fields != "warning":
            severity = Severity.ERROR
            hint = (
                "With `unsupported_fields: warning`, the target omits them. An overlay with null "
                "omits them for one resource"
            )
        summary = "The API version lacks these fields"
        detail = f"target {target.name}: api {self.binding.api} lacks {names} ({count})"
        return Diagnostic(severity, summary, detail, hint, position, target=target.name)

    # Only a warning when validating: an object made elsewhere may have such values. Creating one
    # with them is refused in the plan.
    def constraint_findings(self) -> Iterator[Diagnostic]:
        """Findings for fields that a create needs or refuses.

        A required field that is missing is an error for each resource; anything else is one warning
        for all resources with the same value.
        """
        for name, constraint in self.binding.create_constraints.items():
            by_value: dict[str, list[Desired]] = {}
            for resource in self._resources:
                value = resource.spec.get(name)
                # Without the field not even an update can be sent.
                if value is None and constraint.required:
                    yield self._constraint_finding(name, [resource])
                # Only a create is refused: an object that exists may have the value, so this is a
                # warning.
                elif (
                    constraint.required_to_create
                    if value is None
                    else not constraint.accepts_value_in_create(value)
                ):
                    by_value.setdefault(f"{value}", []).append(resource)
            for group in by_value.values():
                yield self._constraint_finding(name, group)

    def _constraint_finding(self, name: str, resources: Sequence[Desired]) -> Diagnostic:
        """The finding for resources with the same value, at the position of the first of them."""
        constraint, prefix = self.binding.create_constraints[name], self._kind.prefix
        first, others = resources[0], len(resources) - 1
        value, subject = first.spec.get(name), f"{first.address}"
        if others:
            subject += f" and {others} more {prefix}{'s' if others > 1 else ''}"
        api, target = self.binding.api, self._target.name
        detail = f"{subject}: api {api} of target {target} creates no {prefix} "
        if value is None:
            end, hint = f"without `{name}`", f"add `{name}:`, {constraint.description}"
        else:
            value_text = value if value != "" else '""'
            end = f"with {name} {value_text}"
            hint = f"it accepts {constraint.description}. Existing objects may keep their value"
        # `required_to_create` alone is a warning: the object may exist already and need no create.
        build_finding = error_finding if value is None and constraint.required else warning_finding
        return build_finding(
            "The API version does not accept this",
            detail + end,
            hint,
            position=first.find_position((name,)),
            address=str(first.address),
            path=("spec", name),
            target=target,
        )


def undeclared_reference_errors(
    declared: Mapping[Address, Desired], known_addresses: Collection[Address]
) -> Iterable[Diagnostic]:
    """An error for each reference to an address that no manifest declares.

    `known_addresses` includes addresses whose documents could not be decoded: a broken document
    must not cause a second error at everything that refers to it.
    """
    hints = FirstHints()
    for resource in declared.values():
        # `depends_on` is empty without a Reference in the spec, which spares the walk for most
        # resources.
        for name, value in resource.spec.items() if resource.depends_on else ():
            if isinstance(value, Reference) and value.address not in known_addresses:
                kind = value.address.kind
                names = (address.name for address in known_addresses if address.kind == kind)
                hint = hints.suggest(value.address.name, names) or "declare it"
                yield error_finding(
                    f"Missing {kind}",
                    f"no manifest declares {value.address}",
                    f"{hint.rstrip('?')}; for an undeclared object, write {{id: 123}}",
                    position=resource.find_position((name,)),
                    address=str(resource.address),
                    path=("spec", name),
                )


def shared_source_warnings(declared: Mapping[Address, Desired]) -> Iterable[Diagnostic]:
    """A warning for each release whose source a newer declared release takes, too.

    A folder or a Git ref has one content, so only one release can be published from it.
    """
    by_source: dict[tuple[str, str, str], list[Desired]] = defaultdict(list)
    for resource in declared.values():
        source = resource.source
        # A published package has no source of its own to share.
        if source is not None and source.kind != PUBLISHED:
            by_source[source.kind, source.path, source.ref].append(resource)
    for releases in by_source.values():
        newest = max(releases, key=release_sort_key)
        for older in [release for release in releases if release is not newest]:
            name, other = older.address, f"{newest.address} ({newest.position})"
            yield warning_finding(
                "Two releases of one source",
                f"{name} and {other} both use {older.source}",
                f"delete the document of {name}: a published release stays on the server",
                position=older.position,
                address=str(name),
            )


def plugin_code_errors(
    context: DecodeContext, declared: Mapping[Address, Desired]
) -> Iterable[Diagnostic]:
    """An error for each package whose config.yaml has another code than its plugin's manifest."""
    for resource in declared.values():
        owner = declared.get(resource.depends_on[0]) if resource.depends_on else None
        if owner is None or resource.source is None:
            continue
        config = context.read_config(resource.source)
        manifest_code, package_code = owner.spec.get("code"), config.value.get("code")
        if manifest_code is not None and package_code is not None and manifest_code != package_code:
            code_position = config.positions.get(("code",))
            yield error_finding(
                "Manifest and package disagree",
                f"{owner.address} has code {manifest_code} ({owner.find_position(('code',))}), "
                f"but `code` is {format_unless_secret(package_code)} "
                "in the package's config.yaml" + (f" ({code_position})" if code_position else ""),
                "make both the same, or release another package",
                position=resource.find_position(("plugin",)),
                address=str(resource.address),
            )


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
            {
                "address": str(resource.address),
                "spec": resource.spec,
                "labels": resource.labels,
                "prevent_destroy": resource.lifecycle.prevent_destroy,
                "ignore_changes": resource.lifecycle.ignore_changes,
                "own": resource.lifecycle.own,
                **({"external": True} if resource.is_external else {}),
                **(
                    {
                        "exceptions": [
                            (one.subject, one.until) for one in resource.lifecycle.exceptions
                        ]
                    }
                    if resource.lifecycle.exceptions
                    else {}
                ),
                "id": resource.remote_id,
                "source": str(resource.source) if resource.source else None,
                "verify": resource.verify,
                # Left out if not set, so that digests from before this field stay the same.
                **({"retain": resource.retain} if resource.retain is not None else {}),
            }
            for _, resource in sorted(self.desired.items())
        ]
        text = _DIGEST_ENCODER.encode(encoded_resources)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@mutable
class FileCache:
    """Remembers files and their documents, since several targets of a project read the same."""

    readings: dict[Path, ReadResult] = field(default_factory=dict)
    listings: dict[Hashable, ManifestFiles] = field(default_factory=dict)

    def collect(self, paths: ManifestPaths) -> ManifestFiles:
        """The files of a target, which are listed once for all that read the same."""
        if paths.identity not in self.listings:
            self.listings[paths.identity] = paths.collect()
        return self.listings[paths.identity]

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


def _read_documents(
    context: DecodeContext,
    paths: Sequence[str],
    file_cache: FileCache,
    commit_folder: CommittedFolder | None,
) -> list[Document]:
    if commit_folder is not None:
        listing = commit_folder.collect(context.project, context.target, paths)
    else:
        listing = file_cache.collect(ManifestPaths(context.project, context.target, paths))
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
        # The inventory that `export` writes into the folder is no manifest, unless it is named
        # itself.
        is_other = listing.implicit and not has_our_documents(reading)
        if not is_other and (is_listed or not is_inventory_file(reading)):
            context.findings.extend(reading.diagnostics)
            documents.extend(reading.documents)
    return documents


def has_our_documents(reading: ReadResult) -> bool:
    """Whether any document has our `apiVersion`.

    Asked where no folder of manifests is configured and the project's folder is read: it holds
    other YAML, too.
    """
    version_family = decode.API_VERSION.partition("/")[0]
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
        draft = decode.begin_draft(context, document, values)
        if draft is None:
            continue
        decode.set_address(draft)
        if draft.address is not None:
            # Overlays come before the schema check, since they may complete a document.
            for overlay in overlays.select(draft.address):
                decode.apply_overlay(draft, overlay, values)
            # A duplicate is skipped: the first document wins, so that later checks see one of the
            # two.
            if draft.address in position_by_address:
                first = position_by_address[draft.address]
                detail = f"{draft.address} is declared here and at {first}"
                hint, address = "keep one of the two, or rename one", str(draft.address)
                context.findings.append(
                    error_finding(
                        "Declared twice", detail, hint, position=draft.position, address=address
                    )
                )
                continue
            # Noted before the schema is checked: also a broken document declares its address.
            position_by_address[draft.address] = draft.position
        misfits = decode.find_misfits(draft)
        is_partly_known = bool(misfits or draft.unknown_paths)
        resource = (
            decode.decode_fitting_part(draft, misfits)
            if is_partly_known
            else decode.decode_desired(draft)
        )
        if resource is not None:
            (partly_known if is_partly_known else declared)[resource.address] = resource
    warn_of_unknown_providers(context)
    target = context.target.name
    context.findings += [
        *undeclared_reference_errors({**declared, **partly_known}, position_by_address),
        *shared_source_warnings(declared),
        *plugin_code_errors(context, declared),
        *overlays.iter_unused_findings(position_by_address),
        *findings_of_moves(context.project, position_by_address, target, ref),
    ]
    # Last, on decoded values: what an API version cannot carry is still checked above.
    declared = with_dependencies(declared, lambda source: context.read_config(source)[:2])
    return drop_unsupported(context.target, declared, context.findings)


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
                f"{len(overlays)} overlays share the start of {address}, and the tool compares "
                f"at most {_MAX_OVERLAYS} with one resource",
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
        """Findings for overlays that matched nothing: an error for an address, else a warning.

        The manifests of a Git ref may lack the address: then it is a warning, too.
        """
        hints, target, ref = FirstHints(), self._context.target.name, self._ref
        for overlay in self._overlays:
            if overlay.pattern not in self._used_patterns:
                yield Diagnostic(
                    Severity.WARNING if has_wildcard(overlay.pattern) or ref else Severity.ERROR,
                    "Overlay matches no resource",
                    f"no manifest of target {target} declares {overlay.pattern}"
                    + (f" in {ref}: the overlay is ignored" if ref else ""),
                    hints.suggest(overlay.pattern, map(str, declared_addresses)),
                    overlay.position,
                    target=target,
                )


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


_HOW_TO_BEGIN = Text(
    Command("init"),
    " writes a project file and ",
    Command("init KIND NAME"),
    " a manifest; a manifest is a .yaml or .yml file with `apiVersion: synapse-apply/v1`",
)


def nothing_declared_finding(
    project: Project, purpose: str, paths: Sequence[str] = ()
) -> Diagnostic:
    """The error that there is neither a project file nor a manifest."""
    looked_at = ", ".join(paths) if paths else str(project.root)
    return error_finding(
        f"There is nothing to {purpose}",
        f"there is no {FILE_NAME} in {project.root} or above, and no manifest in {looked_at}",
        "go to the project's folder, or name it with -C FOLDER; " + _HOW_TO_BEGIN,
    )


def no_manifest_findings(
    project: Project, targets: Iterable[LoadedManifests], paths: Sequence[str] = ()
) -> tuple[Diagnostic, ...]:
    """Findings for folders and targets without a manifest; an error without any project.

    `paths` are those of the command line. A target with errors is skipped: what it would
    declare is not known.
    """
    readable = [loaded for loaded in targets if not loaded.has_errors]
    findings: list[Diagnostic] = []
    if readable and project.file is None and not any(loaded.desired for loaded in readable):
        return (nothing_declared_finding(project, "validate", paths),)
    empty_folders: dict[Hashable, list[str]] = {}
    for loaded in readable:
        read = ManifestPaths(project, loaded.target, paths)
        if read.identity not in empty_folders:
            empty_folders[read.identity] = read.folders_without_manifests()
        folders = empty_folders[read.identity]
        findings += [
            warning_finding(
                "No manifest in a folder",
                f"`{text}` is listed but contains no manifest",
                _HOW_TO_BEGIN,
                position=text_position(text),
            )
            for text in folders
        ]
        if not loaded.desired and not folders:
            name = loaded.target.name
            detail = f"the files of target {name} contain no manifest"
            findings.append(
                warning_finding("Nothing is declared", detail, _HOW_TO_BEGIN, target=name)
            )
    return tuple(dict.fromkeys(findings))
