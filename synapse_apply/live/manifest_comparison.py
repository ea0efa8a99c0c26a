"""Which edits of a manifest accept drift, and what a plan would still change after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from synapse_apply.applying.records import flatten_live
from synapse_apply.live.comparable_values import build_declared_fields
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import Spec
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.ports import Secrets
from synapse_apply.model.resource import Desired
from synapse_apply.model.secrets.secret_marks import contains_masked_text
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    SecretRef,
    Sensitive,
    delete_at_if_present,
    get_at_or_absent,
    is_map,
)
from synapse_apply.planning.diff.change_sides import holds_secret, unflatten
from synapse_apply.planning.diff.field_diff import diff_resource
from synapse_apply.planning.plan_input import ResourceState


def build_live_edits(
    resource: ResourceState, spec: Spec, drift_changes: Sequence[FieldChange]
) -> tuple[FieldChange, ...]:
    """The edits that make a spec declare what is live, from the declared to the live value.

    Drift is a set of leaves, and a leaf cannot say that live has something else than a map above
    it. So each edit is of the highest path that must change: where live has a text, a list, a
    number or a null above a leaf, that replaces the declared map; where live has nothing, a map
    that becomes empty is removed with its last leaf. A map that live has stays. `sensitive`: one of
    the sides holds a secret, so neither value is given.
    """
    live_tree = unflatten(resource.live_fields)
    remaining_tree = _copy_maps(spec)
    leaf_paths = {change.path for change in drift_changes}
    changes_by_path: dict[FieldPath, FieldChange] = {}
    for change in drift_changes:
        path = change.path if change.sensitive else _leaf_path(live_tree, change.path)
        if path == change.path and change.after is ABSENT and not change.sensitive:
            # Remove a leaf, and each map above it that is empty then and that live lacks.
            removed_path = path
            delete_at_if_present(remaining_tree, removed_path)
            while (
                len(removed_path) > 1
                and get_at_or_absent(remaining_tree, removed_path[:-1]) == {}
                and get_at_or_absent(live_tree, removed_path[:-1]) is ABSENT
            ):
                removed_path = removed_path[:-1]
                delete_at_if_present(remaining_tree, removed_path)
            path = removed_path
        changes_by_path.setdefault(path, change)
    field_edits = []
    for path, change in changes_by_path.items():
        if any(path[:end] in changes_by_path for end in range(1, len(path))):
            continue
        declared_value, live_value = get_at_or_absent(spec, path), get_at_or_absent(live_tree, path)
        if live_value is ABSENT and path not in leaf_paths and _is_live_null(resource, path):
            live_value = None
        # What the server repeats of a secret is no value that a manifest could hold either.
        is_sensitive = (
            change.sensitive or holds_secret(live_value) or contains_masked_text(live_value)
        )
        is_sensitive = is_sensitive or _contains_secret(declared_value)
        if is_sensitive:
            declared_value = live_value = ABSENT
        field_edits.append(
            FieldChange(path, declared_value, live_value, change.cause, is_sensitive)
        )
    return tuple(field_edits)


def _leaf_path(live_tree: Mapping[str, Any], path: FieldPath) -> FieldPath:
    """The first path above a leaf where live has a value that is no map; else the leaf's path."""
    for end in range(1, len(path)):
        value = get_at_or_absent(live_tree, path[:end])
        if value is not ABSENT and not is_map(value):
            return path[:end]
    return path


def _is_live_null(resource: ResourceState, path: FieldPath) -> bool:
    """Whether the server answered null there, which comparisons treat as absent."""
    observed = resource.lookup_result.observed
    parent: Any = get_at_or_absent(observed.spec, path[:-1]) if observed else ABSENT
    return is_map(parent) and parent.get(path[-1], ABSENT) is None


def _contains_secret(value: Any) -> bool:
    if is_map(value):
        return any(map(_contains_secret, value.values()))
    return isinstance(value, SecretRef | Sensitive)


def _copy_maps(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the maps of a tree, with shared leaves: a secret is never copied."""
    return {key: _copy_maps(value) if is_map(value) else value for key, value in tree.items()}


@frozen
class ManifestComparison:
    """The resources of a plan, to compare other manifests with the same live objects."""

    resources: Mapping[Address, ResourceState]
    secrets: Secrets

    def list_changed_fields(self, desired: Desired) -> tuple[FieldPath, ...]:
        """The drifted fields that a plan would still change if this were declared.

        Also other fields that only the new declaration makes it change. Changes that were pending
        before the edit are left out.
        """
        resource = self.resources[desired.address]
        new_resource = self._redeclared(desired, resource)
        old_diff, new_diff = (
            diff_resource(resource, resource.record),
            diff_resource(new_resource, new_resource.record),
        )
        drifted_paths = {change.path for change in old_diff.drifted}
        pending_paths = {change.path for change in old_diff.changes} - drifted_paths
        changed_paths = {change.path for change in new_diff.changes} - pending_paths
        return tuple(sorted(changed_paths | {change.path for change in new_diff.drifted}))

    def _redeclared(self, desired: Desired, resource: ResourceState) -> ResourceState:
        lookup_results = {
            address: other_resource.lookup_result
            for address, other_resource in self.resources.items()
        }
        declared_fields = build_declared_fields(
            desired, lookup_results, resource.salt, self.secrets
        )
        observed_fields: Fields = {}
        if resource.lookup_result.observed is not None:
            managed_fields = {
                **(resource.record.applied if resource.record else {}),
                **declared_fields,
            }
            observed_fields = flatten_live(
                resource.lookup_result.observed, managed_fields, resource.salt, self.secrets
            )
        return replace(
            resource, desired=desired, declared_fields=declared_fields, live_fields=observed_fields
        )
