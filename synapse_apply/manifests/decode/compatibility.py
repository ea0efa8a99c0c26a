"""Checks across the documents of a target: its API versions, duplicates, missing references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ApiBinding, ResourceType
from synapse_apply.manifests.decode.draft import PUBLISHED, DecodeContext
from synapse_apply.manifests.decode.overlays import Overlay
from synapse_apply.manifests.decode.package_config import release_sort_key
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import (
    Diagnostic,
    Position,
    Severity,
    error_finding,
    warning_finding,
)
from synapse_apply.model.frozen import mutable
from synapse_apply.model.phrases import FirstHints, format_count_and_noun, suggest_words
from synapse_apply.model.project import Target
from synapse_apply.model.resource import Desired, PackageSource
from synapse_apply.model.secrets.credentials import format_unless_secret
from synapse_apply.model.values import Reference


@mutable
class ApiCompatibility:
    """Checks what a target declares against its API versions; appends to `findings`."""

    target: Target
    findings: list[Diagnostic] = field(default_factory=list)

    def drop_unsupported(self, declared: Mapping[Address, Desired]) -> dict[Address, Desired]:
        """The same resources without the fields that their API version does not have."""
        # Findings are built per kind, so resources are grouped first: one pass, not one per kind.
        fitted = dict(declared)
        by_kind: dict[str, list[Desired]] = {}
        for resource in declared.values():
            by_kind.setdefault(resource.address.kind, []).append(resource)
        for kind in CATALOGUE.values():
            if resources := by_kind.get(kind.prefix, []):
                binding = kind.select_newest_binding(self.target.api)
                affected = _affected(binding, resources)
                self.findings.extend(self._mixed_version_errors(kind, binding, resources))
                self.findings.extend(self._unsupported_fields(kind, binding, affected))
                self.findings.extend(self._unsupported_retain(kind, binding, declared))
                self.findings.extend(self._constraint_findings(kind, binding, resources))
                fitted.update(
                    (resource.address, _fitted(binding, resource)) for resource in affected
                )
        return fitted

    def _mixed_version_errors(
        self, kind: ResourceType, binding: ApiBinding, resources: Iterable[Desired]
    ) -> Iterator[Diagnostic]:
        """An error where a kind and one it refers to by id are reached through different versions.

        Each API version numbers its objects on its own, so an id of one means nothing in another.
        """
        for rule in kind.rules.values():
            referred_type = CATALOGUE.get(rule.references)
            referred_api = (
                referred_type.select_newest_binding(self.target.api).api
                if referred_type
                else binding.api
            )
            resource = next(
                (resource for resource in resources if rule.name in resource.spec), None
            )
            if referred_type and resource and referred_api != binding.api:
                # Suggested as the fix; `v2` sorts after `v1`, so the text comparison is enough.
                newest = max(kind.bindings.keys() & referred_type.bindings.keys())
                yield error_finding(
                    "Two API versions for what belongs together",
                    f"target {self.target.name} uses api {binding.api} for a {kind.prefix} and "
                    f"{referred_api} for the {referred_type.prefix} it refers to by its id",
                    f"give both one version: `api: {{{referred_type.prefix}: {newest}, "
                    f"{kind.prefix}: {newest}}}`",
                    position=self.target.position or resource.position,
                    target=self.target.name,
                )

    def _unsupported_fields(
        self, kind: ResourceType, binding: ApiBinding, affected: Sequence[Desired]
    ) -> Iterator[Diagnostic]:
        """One finding for all resources of a kind, at the position of the first such field."""
        if not affected:
            return
        names = [
            name
            for name in kind.rules
            if name not in binding.fields and any(name in resource.spec for resource in affected)
        ]
        position = next(
            resource.find_position((name,))
            for resource in affected
            for name in names
            if name in resource.spec
        )
        yield self._unsupported(binding, ", ".join(names), affected, kind.prefix, position)

    def _unsupported(
        self,
        binding: ApiBinding,
        names: str,
        resources: Sequence[Desired],
        prefix: str,
        position: Position | None,
    ) -> Diagnostic:
        leaves_out = self.target.unsupported_fields == "warning"
        count = format_count_and_noun(len(resources), prefix)
        overlay_hint = (
            "`unsupported_fields: warning` of the target leaves them out, an overlay with null "
        )
        return Diagnostic(
            Severity.WARNING if leaves_out else Severity.ERROR,
            "Fields that the API version cannot carry",
            f"target {self.target.name}: api {binding.api} cannot carry {names} ({count})",
            "they are neither sent nor compared here"
            if leaves_out
            else f"{overlay_hint}does so for one resource",
            position=position,
            target=self.target.name,
        )

    def _unsupported_retain(
        self, kind: ResourceType, binding: ApiBinding, declared: Mapping[Address, Desired]
    ) -> Iterator[Diagnostic]:
        """A finding where `retain` is declared and the API version cannot delete such objects."""
        # `retain` is declared on the owner of a series (a plugin) and deletes members (its
        # releases).
        owner = kind.rules[kind.series_field].references if kind.series_field else ""
        retaining = [
            resource
            for resource in declared.values()
            if resource.address.kind == owner and resource.retain
        ]
        if retaining and binding.delete_object is None:
            yield self._unsupported(
                binding, "retain", retaining, owner, retaining[0].find_position(("retain",))
            )

    # Only a warning when validating: an object made elsewhere may have such values. Creating one
    # with them is refused in the plan.
    def _constraint_findings(
        self, kind: ResourceType, binding: ApiBinding, resources: Sequence[Desired]
    ) -> Iterator[Diagnostic]:
        """Findings for fields that a create needs or refuses.

        A required field that is missing is an error for each resource; anything else is one warning
        for all resources with the same value.
        """
        for name, constraint in binding.create_constraints.items():
            by_value: dict[str, list[Desired]] = {}
            for resource in resources:
                value = resource.spec.get(name)
                # Without the field not even an update can be sent.
                if value is None and constraint.required:
                    yield self._constraint_finding(kind, binding, name, [resource])
                # Only a create is refused: an object that exists may have the value, so this is a
                # warning.
                elif (
                    constraint.required_to_create
                    if value is None
                    else not constraint.accepts_value_in_create(value)
                ):
                    by_value.setdefault(f"{value}", []).append(resource)
            for group in by_value.values():
                yield self._constraint_finding(kind, binding, name, group)

    def _constraint_finding(
        self, kind: ResourceType, binding: ApiBinding, name: str, resources: Sequence[Desired]
    ) -> Diagnostic:
        """The finding for resources with the same value, at the position of the first of them."""
        constraint, first, value = (
            binding.create_constraints[name],
            resources[0],
            resources[0].spec.get(name),
        )
        subject = f"{first.address}"
        if len(resources) > 1:
            subject += (
                f" and {len(resources) - 1} more {kind.prefix}{'s' if len(resources) > 2 else ''}"
            )
        detail_start = (
            f"{subject}: api {binding.api} of target {self.target.name} makes no {kind.prefix} "
        )
        if value is None:
            detail, hint = (
                f"{detail_start}without `{name}`",
                f"add `{name}:`, {constraint.description}",
            )
        else:
            value_text = value if value != "" else '""'
            detail = f"{detail_start}with {name} {value_text}"
            hint = f"it takes {constraint.description}; what is there already may be as it is"
        # `required_to_create` alone is a warning: the object may exist already and need no create.
        build_finding = error_finding if value is None and constraint.required else warning_finding
        return build_finding(
            "Not taken by the API version",
            detail,
            hint,
            position=first.find_position((name,)),
            address=str(first.address),
            path=("spec", name),
            target=self.target.name,
        )


def _affected(binding: ApiBinding, resources: Iterable[Desired]) -> list[Desired]:
    """The resources with a field that the API version does not have."""
    return [resource for resource in resources if not binding.fields >= resource.spec.keys()]


def _fitted(binding: ApiBinding, resource: Desired) -> Desired:
    """A copy of the resource with only the fields that the API version has."""
    spec = {name: value for name, value in resource.spec.items() if name in binding.fields}
    return replace(resource, spec=spec)


def declared_twice_error(
    address: Address, first_position: Position | None, second_position: Position | None
) -> Diagnostic:
    """The error for two documents that declare one address, at the second of them."""
    return error_finding(
        "Declared twice",
        f"{address} is declared here and at {first_position}",
        "keep one of the two, or give one another name",
        position=second_position,
        address=str(address),
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
                search = partial(_suggest_address, value.address, known_addresses)
                hint = hints.find_hint(search) or "declare it"
                yield error_finding(
                    f"Missing {kind}",
                    f"no manifest declares {value.address}",
                    f"{hint.rstrip('?')}; for one that is not declared write {{id: 123}}",
                    position=resource.find_position((name,)),
                    address=str(resource.address),
                    path=("spec", name),
                )


def _suggest_address(missing: Address, known_addresses: Collection[Address]) -> str:
    names = [address.name for address in known_addresses if address.kind == missing.kind]
    return suggest_words(missing.name, names)


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
        if len(releases) > 1:
            newest = max(releases, key=release_sort_key)
            for older in releases:
                if older is not newest:
                    yield _shared_source_warning(older, newest)


def _shared_source_warning(older_release: Desired, newest_release: Desired) -> Diagnostic:
    shared_source = older_release.source or PackageSource("folder")
    return warning_finding(
        "Two releases of one source",
        f"{older_release.address} and {newest_release.address} ({newest_release.position}) both "
        f"take {shared_source}",
        f"delete the document of {older_release.address}: a published release stays on the server",
        position=older_release.position,
        address=str(older_release.address),
    )


def plugin_code_errors(
    context: DecodeContext, declared: Mapping[Address, Desired]
) -> Iterable[Diagnostic]:
    """An error for each package whose config.yaml has another code than its plugin's manifest."""
    for resource in declared.values():
        owner = declared.get(resource.depends_on[0]) if resource.depends_on else None
        if owner is None or resource.source is None:
            continue
        config, positions = context.read_config(resource.source)
        manifest_code, package_code = owner.spec.get("code"), config.get("code")
        if manifest_code is not None and package_code is not None and manifest_code != package_code:
            code_position = positions.get(("code",))
            yield error_finding(
                "Manifest and package disagree",
                f"{owner.address} has code {manifest_code} ({owner.find_position(('code',))}), "
                f"but `code` is {format_unless_secret(package_code)} "
                "in the package's config.yaml" + (f" ({code_position})" if code_position else ""),
                "make both the same, or release another package",
                position=resource.find_position(("plugin",)),
                address=str(resource.address),
            )


def unused_overlay_findings(
    overlays: Iterable[Overlay],
    used_patterns: Collection[str],
    declared_addresses: Collection[Address],
    target: str,
    ref: str = "",
) -> Iterable[Diagnostic]:
    """Findings for overlays that matched nothing: an error for an address, a warning for a pattern.

    With `ref`, the manifests are an older commit's and may lack the address: then a warning, too.
    """
    hints = FirstHints()
    for overlay in overlays:
        if overlay.pattern in used_patterns:
            continue
        yield Diagnostic(
            Severity.WARNING if overlay.has_wildcard_pattern or ref else Severity.ERROR,
            "Overlay matches no resource",
            f"no manifest of target {target} declares {overlay.pattern}"
            + (f" in {ref}: it is passed over" if ref else ""),
            hints.suggest(overlay.pattern, map(str, declared_addresses)),
            overlay.position,
            target=target,
        )
