"""What a plan asks of the project's files, and what edits of a manifest would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from synapse_apply.applying.records import flatten_live
from synapse_apply.live.comparable_values import build_declared_fields
from synapse_apply.manifests.decode.loading import FileCache, load_manifests
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath, Position
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import Spec
from synapse_apply.model.packages import (
    RULES_BY_ID,
    SECRET_RULES,
    Level,
    PackageFlaw,
    iter_limited_flaws,
)
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.ports import Secrets
from synapse_apply.model.resource import Desired
from synapse_apply.model.secrets.secret_marks import contains_masked_text
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    delete_at_if_present,
    get_at_or_absent,
    holds_secret,
    is_map,
    unflatten,
)
from synapse_apply.planning.diff import diff_resource
from synapse_apply.planning.guards import literal_addresses
from synapse_apply.planning.plan_input import PackageVerdict, PlanOptions, ResourceState
from synapse_apply.workspace.configuration import relate_to_working_folder
from synapse_apply.workspace.offline_target import OfflineTarget

if TYPE_CHECKING:
    from synapse_apply.applying.settle import ResolvedIntent
    from synapse_apply.manifests.rewriting import WrittenDocument
    from synapse_apply.workspace.target_session import TargetSession


class PackageJudge:
    """Says what plans of one target refuse in a package; looks into it at the first question."""

    def __init__(self, declared: OfflineTarget) -> None:
        self._declared = declared

    def __call__(self, desired: Desired, options: PlanOptions) -> PackageVerdict:
        """What no option and no policy lets pass, secrets first.

        InputError where the package is no longer what was hashed.
        """
        source, package, target = desired.source, desired.package, self._declared.target
        sources = self._declared.declared_target.sources
        # The embedded backend takes what the platform's own tools refuse.
        if sources is None or source is None or package is None or target.is_embedded:
            return PackageVerdict()
        root = self._declared.project.root
        flaws = [
            replace(flaw, position=relate_to_working_folder(flaw.position, root))
            for flaw in sources.list_flaws(source, target)
            if RULES_BY_ID[flaw.rule].level is Level.REFUSED
        ]
        count_by_file = Counter(flaw.file for flaw in flaws)
        notes = [
            _note_on_pass(flaw, package.digest, options, is_alone=count_by_file[flaw.file] == 1)
            for flaw in flaws
        ]
        left = [flaw for flaw, note in zip(flaws, notes, strict=True) if not note]
        left.sort(key=lambda flaw: flaw.rule not in SECRET_RULES)
        return PackageVerdict(
            tuple(iter_limited_flaws(left)), tuple(dict.fromkeys(filter(None, notes)))
        )


def _note_on_pass(flaw: PackageFlaw, digest: str, options: PlanOptions, *, is_alone: bool) -> str:
    """A note on why a finding is let pass, "" where it is not; `is_alone`: in its file."""
    if flaw.rule not in SECRET_RULES:
        is_lifted = flaw.rule in options.no_package_check
        return f"findings of {flaw.rule} are ignored: --no-package-check" if is_lifted else ""
    line = flaw.position.line if flaw.position else 0
    for entry in options.policy.allow_package_secrets:
        is_meant = (entry.file, entry.digest) == (flaw.file, digest)
        if is_meant and (entry.line == line or (is_alone and not entry.line)):
            return f"the policy allows the secret in {flaw.position}: {entry.reason}"
    return ""


class WrittenFieldPredicate:
    """When a live value can be written in place of a field's declared one, in one target.

    Reads the files at the first question. Of an object with one of `calls`, none is.
    """

    def __init__(self, session: TargetSession, calls: Iterable[ResolvedIntent] = ()) -> None:
        self._session = session
        self._unsettled = {call.intent.address for call in calls}

    def __call__(self, desired: Desired, path: FieldPath) -> bool:
        """Whether the value is written in a manifest or overlay of this resource.

        False for a value from a variable or a package, and for manifests of a commit.
        """
        from synapse_apply.manifests.rewriting import FieldOrigins

        document = self._documents.get(desired.position) if desired.position else None
        if document is None or desired.address in self._unsettled:
            return False
        try:
            FieldOrigins(
                self._session.target, desired, document, self._project_document, is_shared=False
            ).require_edit_spot(path)
        except (SynapseApplyError, OSError):
            return False
        return True

    @cached_property
    def _documents(self) -> dict[Position, WrittenDocument]:
        from synapse_apply.manifests.rewriting import readable_documents

        session = self._session
        if session.declared_target.commit:
            return {}
        try:
            documents = readable_documents(session.project, [session.target], list(session.paths))
            return {document.position: document for document in documents}
        except (SynapseApplyError, OSError):
            return {}

    @cached_property
    def _project_document(self) -> WrittenDocument | None:
        from synapse_apply.manifests.rewriting import read_project_document

        return read_project_document(self._session.project)


def find_declared_elsewhere(
    session: TargetSession, own_addresses: Collection[Address]
) -> frozenset[str]:
    """Of the addresses that a policy rule names, those that other targets with this rule declare.

    Other targets' manifests are read only where a rule names an address that is not among
    `own_addresses`.
    """
    own_names = {str(address) for address in own_addresses}
    rules = {
        rule: names
        for rule in session.target.policy.rules
        if (names := set(literal_addresses(rule, session.catalogue)) - own_names)
    }
    shared_names: set[str] = set()
    file_cache = FileCache()
    for other_target in session.project.targets.values() if rules else ():
        searched_names = {
            name for rule in other_target.policy.rules for name in rules.get(rule, ())
        } - shared_names
        if searched_names and other_target.name != session.target.name:
            declared_addresses = load_manifests(
                session.project, other_target, file_cache=file_cache
            ).desired
            shared_names |= searched_names & {str(address) for address in declared_addresses}
    return frozenset(shared_names)


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
        is_sensitive = is_sensitive or holds_secret(declared_value)
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
    observed = resource.observed
    parent: Any = get_at_or_absent(observed.spec, path[:-1]) if observed else ABSENT
    return is_map(parent) and parent.get(path[-1], ABSENT) is None


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
        if resource.observed is not None:
            applied = resource.record.applied if resource.record else {}
            managed_fields = {**applied, **declared_fields}
            observed_fields = flatten_live(
                resource.observed, managed_fields, resource.salt, self.secrets
            )
        return replace(
            resource, desired=desired, declared_fields=declared_fields, live_fields=observed_fields
        )
