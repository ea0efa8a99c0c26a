"""Checks across the documents of a target: its API versions, duplicates, missing references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ResourceType
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
from synapse_apply.model.phrases import FirstHints, format_count_and_noun, suggest_words
from synapse_apply.model.project import Target
from synapse_apply.model.resource import Desired, PackageSource
from synapse_apply.model.secrets.credentials import format_unless_secret
from synapse_apply.model.values import Reference


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
    for kind in CATALOGUE.values():
        if kind.prefix in by_kind:
            check = _KindCheck(target, kind, by_kind[kind.prefix])
            findings += (*check.mixed_version_errors(), *check.unsupported_fields())
            findings += (*check.unsupported_retain(declared), *check.constraint_findings())
            for resource in check.affected:
                fitted[resource.address] = replace(
                    resource,
                    spec={n: v for n, v in resource.spec.items() if n in check.binding.fields},
                )
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
                    "Two API versions for what belongs together",
                    f"target {target.name} uses api {api} for a {kind.prefix} and {referred_api} "
                    f"for the {referred.prefix} it refers to by its id",
                    f"give both one version: `api: {{{referred.prefix}: {newest}, "
                    f"{kind.prefix}: {newest}}}`",
                    position=target.position or resource.position,
                    target=target.name,
                )

    def unsupported_fields(self) -> Iterator[Diagnostic]:
        """One finding for all resources of a kind, at the position of the first such field."""
        if not self.affected:
            return
        names = [
            name
            for name in self._kind.rules
            if name not in self.binding.fields and any(name in item.spec for item in self.affected)
        ]
        position = next(
            resource.find_position((name,))
            for resource in self.affected
            for name in names
            if name in resource.spec
        )
        yield self._unsupported(", ".join(names), self.affected, self._kind.prefix, position)

    def unsupported_retain(self, declared: Mapping[Address, Desired]) -> Iterator[Diagnostic]:
        """A finding where `retain` is declared and the API version cannot delete such objects."""
        # `retain` is declared on the owner of a series (a plugin) and deletes members (its
        # releases).
        kind = self._kind
        owner = kind.rules[kind.series_field].references if kind.series_field else ""
        retaining = [
            resource
            for resource in declared.values()
            if resource.address.kind == owner and resource.retain
        ]
        if retaining and self.binding.delete_object is None:
            yield self._unsupported(
                "retain", retaining, owner, retaining[0].find_position(("retain",))
            )

    def _unsupported(
        self, names: str, resources: Sequence[Desired], prefix: str, position: Position | None
    ) -> Diagnostic:
        leaves_out = self._target.unsupported_fields == "warning"
        count = format_count_and_noun(len(resources), prefix)
        hint = (
            "they are neither sent nor compared here"
            if leaves_out
            else "`unsupported_fields: warning` of the target leaves them out, an overlay with "
            "null does so for one resource"
        )
        return Diagnostic(
            Severity.WARNING if leaves_out else Severity.ERROR,
            "Fields that the API version cannot carry",
            f"target {self._target.name}: api {self.binding.api} cannot carry {names} ({count})",
            hint,
            position=position,
            target=self._target.name,
        )

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
        detail = f"{subject}: api {api} of target {target} makes no {prefix} "
        if value is None:
            end, hint = f"without `{name}`", f"add `{name}:`, {constraint.description}"
        else:
            value_text = value if value != "" else '""'
            end = f"with {name} {value_text}"
            hint = f"it takes {constraint.description}; what is there already may be as it is"
        # `required_to_create` alone is a warning: the object may exist already and need no create.
        build_finding = error_finding if value is None and constraint.required else warning_finding
        return build_finding(
            "Not taken by the API version",
            detail + end,
            hint,
            position=first.find_position((name,)),
            address=str(first.address),
            path=("spec", name),
            target=target,
        )


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
