"""Which declared fields and values a target's API versions accept; what they cannot is dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ApiBinding, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import (
    Diagnostic,
    Position,
    Severity,
    error_finding,
    warning_finding,
)
from synapse_apply.model.frozen import mutable
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.project import Target
from synapse_apply.model.resource import Desired


@mutable
class ApiCompatibility:
    """Checks what a target declares against its API versions; appends to `findings`."""

    target: Target
    findings: list[Diagnostic] = field(default_factory=list)

    def check_and_drop_unsupported_fields(
        self, declared: Mapping[Address, Desired]
    ) -> dict[Address, Desired]:
        """The same resources without the fields that their API version does not have."""
        # Findings are built per kind, so resources are grouped first: one pass, not one per kind.
        fitted = dict(declared)
        by_kind: dict[str, list[Desired]] = {}
        for resource in declared.values():
            by_kind.setdefault(resource.address.kind, []).append(resource)
        for kind in CATALOGUE.values():
            if resources := by_kind.get(kind.prefix, []):
                binding = kind.select_newest_binding(self.target.api)
                affected = _list_resources_with_unsupported_fields(binding, resources)
                self.findings.extend(
                    self._iter_errors_of_references_across_api_versions(kind, binding, resources)
                )
                self.findings.extend(
                    self._iter_one_finding_of_unsupported_fields(kind, binding, affected)
                )
                self.findings.extend(
                    self._iter_one_finding_of_unsupported_retain(kind, binding, declared)
                )
                self.findings.extend(
                    self._iter_create_constraint_findings(kind, binding, resources)
                )
                fitted.update(
                    (resource.address, _copy_without_unsupported_fields(binding, resource))
                    for resource in affected
                )
        return fitted

    def _iter_errors_of_references_across_api_versions(
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

    def _iter_one_finding_of_unsupported_fields(
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
        yield self._build_unsupported_finding(
            binding, ", ".join(names), affected, kind.prefix, position
        )

    def _build_unsupported_finding(
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

    def _iter_one_finding_of_unsupported_retain(
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
            yield self._build_unsupported_finding(
                binding, "retain", retaining, owner, retaining[0].find_position(("retain",))
            )

    # Only a warning when validating: an object made elsewhere may have such values. Creating one
    # with them is refused in the plan.
    def _iter_create_constraint_findings(
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
                    yield self._build_constraint_finding(kind, binding, name, [resource])
                # Only a create is refused: an object that exists may have the value, so this is a
                # warning.
                elif (
                    constraint.required_to_create
                    if value is None
                    else not constraint.accepts_value_in_create(value)
                ):
                    by_value.setdefault(f"{value}", []).append(resource)
            for group in by_value.values():
                yield self._build_constraint_finding(kind, binding, name, group)

    def _build_constraint_finding(
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


def _list_resources_with_unsupported_fields(
    binding: ApiBinding, resources: Iterable[Desired]
) -> list[Desired]:
    """The resources with a field that the API version does not have."""
    return [resource for resource in resources if not binding.fields >= resource.spec.keys()]


def _copy_without_unsupported_fields(binding: ApiBinding, resource: Desired) -> Desired:
    """A copy of the resource with only the fields that the API version has."""
    spec = {name: value for name, value in resource.spec.items() if name in binding.fields}
    return replace(resource, spec=spec)
