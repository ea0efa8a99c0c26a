"""Which action a declared or recorded resource gets, or why it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, is_at_or_below
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.phrases import format_short_list, format_time_after
from synapse_apply.model.plan import Action, Refusal
from synapse_apply.model.resource import FoundBy
from synapse_apply.model.state import CREATE_VERB, Intent, Record
from synapse_apply.model.values import ABSENT, DesiredSecret, KnownAfterApply, get_at_or_absent
from synapse_apply.planning import open_call_refusals, package, refusals
from synapse_apply.planning.decision import Decision, build_change, no_op_change
from synapse_apply.planning.diff import (
    ResourceDiff,
    build_create_diff,
    diff_resource,
    is_provably_unchanged,
)
from synapse_apply.planning.fields import holds_secret, unflatten
from synapse_apply.planning.identity import IdentityClaims, changed_identity
from synapse_apply.planning.open_call_refusals import iter_acting_call_refusals
from synapse_apply.planning.plan_input import PlanInput, ResourceState, SeriesKey
from synapse_apply.planning.refusals import can_write_all, is_or_was_sealed, was_recorded_sealed
from synapse_apply.planning.series import (
    SeriesMap,
    declared_successors,
    is_beyond_retention,
    is_of_declared_series,
)

_CREATES_OR_ADOPTS = frozenset({Action.CREATE, Action.RECREATE, Action.ADOPT})
_MUST_EXIST = "the backend must have it already: the manifest alone cannot create it"


@frozen
class PlanIndex:
    """What a plan is made of, and what is known across all addresses before any is decided.

    `dependencies` has what each declared address depends on; `calls_of_others` the open call of
    another address that is of its object, or may have made it.
    """

    plan_input: PlanInput
    dependencies: Mapping[Address, tuple[Address, ...]]
    identity_claims: IdentityClaims
    series: SeriesMap
    open_intents: Mapping[Address, Intent]
    calls_of_others: Mapping[Address, Intent]

    def open_intent_refusal(self, intent: Intent, refused: Address | None = None) -> Refusal:
        """The refusal of an address while an earlier call is open.

        The call is one of this address, or, with a `refused` one, of another address: it may have
        made the refused one's object, or is of what is renamed with it.
        """
        relation = ""
        if refused is not None:
            old = self.identity_claims.renames.get(refused, intent.address)
            relation = (
                ", which may be this object,"
                if old == intent.address
                else ", which is renamed with it,"
            )
        resource = self.plan_input.resources.get(intent.address)
        seconds = self.plan_input.seconds_until_resolvable.get(intent.id)
        until = "" if seconds is None else format_time_after(self.plan_input.created, seconds)
        if self.plan_input.has_concurrent_run:
            return open_call_refusals.concurrent_call_refusal(intent, until, relation)
        return open_call_refusals.outcome_unknown_refusal(
            intent,
            until and f"plan again after {until}",
            self.plan_input.recovery_hints.get(intent.id, ""),
            relation,
            self.plan_input.call_ends.get(intent.id, ""),
            is_recorded=resource is not None and resource.record is not None,
        )

    def can_send_again(self, intent: Intent, resource: ResourceState) -> bool:
        """Whether an open call may be sent once more as it was, before its outcome is known.

        An approval is for one time: it is waited for until it is certain that it was not used.
        """
        return (
            not self.plan_input.has_concurrent_run
            and not intent.approvals
            and resource.record is not None
            and resource.record.is_object_of(intent)  # else it could not be kept as given up
            and intent.id not in self.plan_input.recovery_hints
            and sum(one.address == intent.address for one in self.plan_input.open_intents) == 1
            and resource.lookup_result.observed is not None
        )


def decide_declared_alone(resource: ResourceState, index: PlanIndex) -> Decision:
    """The decision on a declared resource, without regard to its dependencies."""
    problem = (resource.lookup_result.problem,) if resource.lookup_result.problem else ()
    conflicts = (
        index.identity_claims.conflicts.get(resource.address, ())
        if index.identity_claims.conflicts
        else ()
    )
    errors = (*problem, *conflicts, *_unsupported_fields(resource))
    if errors:
        return Decision(replace(build_change(resource, Action.NO_OP), reason="in error"), errors)
    # While it is unknown what an earlier call did, any other decision could be wrong: but an update
    # may be sent again as it was.
    open_intent = index.open_intents.get(resource.address)
    if open_intent is not None and not (
        index.can_send_again(open_intent, resource)
        and open_call_refusals.repeats_call(resource, open_intent)
    ):
        return _refuse_open(resource, open_intent, index)
    if resource.lookup_result.observed is None:
        decision = (
            _decide_create(resource, index)
            if resource.record is None
            else _decide_recreate(resource, resource.record, index)
        )
    elif resource.record is None or _is_made_anew(resource):
        decision = _decide_adopt(resource, index)
        # The other run may have created the object and not recorded it yet.
        if index.plan_input.has_concurrent_run and resource.lookup_result.found_by is FoundBy.KEY:
            decision = decision.refused(open_call_refusals.concurrent_object_refusal(resource))
    else:
        decision = _decide_update(resource, resource.record, index)
        if open_intent is not None and (
            decision.change.action is not Action.UPDATE or decision.change.is_refused
        ):
            return _refuse_open(resource, open_intent, index)
    if resource.type.carries_package and resource.lookup_result.observed is not None:
        decision = package.note_refuse_or_replace(
            resource, decision, index.plan_input.options, index.series
        )
    decision = _with_seal_warning(resource, decision)
    # It may have made this very object, or may still make or change it.
    open_call = index.calls_of_others.get(resource.address)
    if open_call is not None and (
        decision.change.action in _CREATES_OR_ADOPTS
        or (decision.change.action is Action.UPDATE and open_call.verb != CREATE_VERB)
    ):
        if open_call.verb != CREATE_VERB:  # what it is of is there, and nothing is to be made
            decision = Decision(build_change(resource, Action.NO_OP))
        decision = decision.refused(index.open_intent_refusal(open_call, resource.address))
    if _names_other_object(resource):
        decision = decision.refused(refusals.refusal("other-space", resource))
    # A guessed rename is never carried out: the user has to say so in the file or by a command.
    rename = index.identity_claims.find_rename(resource.address)
    if rename is None or resource.address in index.calls_of_others:
        return decision
    old, new = rename
    what = (
        f"the object recorded as {old}" if new == resource.address else f"recorded as part of {old}"
    )
    move = Text(Command("state mv", old, new))
    if any(str(old) in {str(call.address), call.series} for call in index.plan_input.looked_up):
        move = Text("first ", Command("state settle"), " to record an earlier call, then ", move)
    return decision.refused(
        refusals.refusal("renamed", resource, what=what, move=move, old=old, new=new)
    )


def _names_other_object(resource: ResourceState) -> bool:
    """Whether the record names another object, on the API version that it was made with."""
    record = resource.record
    if record is None or record.api == resource.binding.api:
        return False
    # Keys of different forms (name=..., code=...) may be of one object, so they prove nothing.
    (recorded_form, _, recorded_key), (declared_form, _, declared_key) = (
        key.partition("=") for key in (record.natural_key, resource.natural_key)
    )
    return (
        bool(recorded_key and declared_key)
        and recorded_form == declared_form
        and recorded_key != declared_key
    )


def _with_seal_warning(resource: ResourceState, decision: Decision) -> Decision:
    """The decision with a warning note, where it includes a final call, which cannot be undone.

    Refused where nobody can tell whose package would stay for good.
    """
    seal, change = resource.binding.final_call, decision.change
    if seal is None or not any(seal.makes_change(field) for field in change.fields):
        return decision
    if resource.record is not None and resource.record.is_package_untold:
        verify = Command("verify", resource.address, "--bytes")
        accept = Command("state accept", resource.address)
        decision = decision.refused(
            refusals.refusal(
                "seal-untold", resource, [(seal.name,)], verb=seal.verb, verify=verify, ours=accept
            )
        )
    return replace(decision, change=replace(decision.change, notes=(*change.notes, seal.warning)))


def _unsupported_fields(resource: ResourceState) -> tuple[Diagnostic, ...]:
    """An error for each declared field that this API version does not have."""
    if resource.desired is not None and resource.desired.spec.keys() <= resource.binding.fields:
        return ()
    declared_names = {path[0] for path in resource.declared_fields}
    if declared_names <= resource.binding.fields:
        return ()
    unknown = sorted(str(name) for name in declared_names - resource.binding.fields)
    return tuple(
        error_finding(
            "Field not supported by this API version",
            f"{resource.address}: API {resource.binding.api} cannot carry `{name}`.",
            f"Remove it, or use an API version that has it. It has: "
            f"{', '.join(sorted(resource.binding.fields))}.",
            position=resource.desired.find_position((name,)) if resource.desired else None,
            address=str(resource.address),
            path=("spec", name),
        )
        for name in unknown
    )


def _refuse_open(resource: ResourceState, intent: Intent, index: PlanIndex) -> Decision:
    action = Action.CREATE if intent.verb == CREATE_VERB else Action.NO_OP
    return Decision(build_change(resource, action)).refused(index.open_intent_refusal(intent))


def _is_made_anew(resource: ResourceState) -> bool:
    """Whether the recorded object is gone, and its natural key led to a new one."""
    record, observed = resource.record, resource.lookup_result.observed
    found_by_key = resource.lookup_result.found_by is FoundBy.KEY
    return bool(record and observed and found_by_key and record.remote_id != observed.remote_id)


def _decide_create(
    resource: ResourceState, index: PlanIndex, action: Action = Action.CREATE
) -> Decision:
    change = build_change(resource, action, build_create_diff(resource).changes)
    decision = Decision(replace(change, extras=package.package_extras(resource)))
    found_refusals = []
    if live_secrets := _unsent_secrets(resource, ()):
        found_refusals.append(refusals.refusal("no-live-secret", resource, live_secrets))
    spec = resource.desired.spec if resource.desired else {}
    if unaccepted := [
        name
        for name, constraint in resource.binding.create_constraints.items()
        if (
            not constraint.accepts_value_in_create(spec[name])
            if name in spec
            else constraint.required or constraint.required_to_create
        )
    ]:
        taken = (
            f"{name}: {resource.binding.create_constraints[name].description}"
            for name in unaccepted
        )
        found_refusals.append(
            refusals.refusal(
                "not-taken", resource, [(name,) for name in unaccepted], taken="; ".join(taken)
            )
        )
    if (
        resource.type.carries_package
        and resource.desired is not None
        and resource.desired.package is None
    ):
        source = resource.desired.source
        found_refusals.append(
            refusals.refusal(
                "no-package",
                resource,
                source=f"`source: {source.kind}`" if source else "the manifest",
                position=source.position if source else None,
            )
        )
    if (
        found_refusals and index.plan_input.base.is_offline
    ):  # it may exist already, which was not looked up
        return replace(decision, change=replace(decision.change, notes=(_MUST_EXIST,)))
    return decision.refused(*found_refusals)


def _decide_recreate(resource: ResourceState, record: Record, index: PlanIndex) -> Decision:
    if resource.is_unsearchable:
        return Decision(build_change(resource, Action.NO_OP)).refused(
            refusals.refusal("other-api", resource)
        )
    decision = _decide_create(resource, index, Action.RECREATE)
    notes = [f"recorded as id {record.remote_id}, which is no longer there{resource.deleted_by}"]
    if record.api != resource.binding.api:
        notes = [f"{_describe_recorded_id(resource, record)}; API {resource.binding.api} has none"]
    # Users of this version had other content before, so the reader of the plan should know.
    digest = package.known_digest(resource)
    uploaded = package.uploaded_digest(decision.change)
    if digest and uploaded and uploaded != digest:
        notes.append("its content is not what was published before under this version")
    of_git = (
        uploaded != (digest or "")
        or not record.applied.keys() <= resource.declared_fields.keys()
        or _declares_unrecorded(resource, record)
    )
    decision = replace(
        decision,
        change=replace(decision.change, reason="missing", notes=tuple(notes), of_git=of_git),
    )
    decision = decision.refused(
        *open_call_refusals.iter_acting_call_refusals(resource, [], uploaded)
    )
    if not _was_sealed_before(resource):
        return decision
    identity = resource.type.version_field if resource.type.series_field else "name"
    return decision.refused(refusals.refusal("sealed", resource, [(identity,)]))


def _declares_unrecorded(
    resource: ResourceState, record: Record, ignored: tuple[FieldPath, ...] = ()
) -> bool:
    """Whether all declared fields, but for the `ignored`, have something that no call has sent."""
    for path, value in resource.declared_fields.items():
        applied = (record.applied or record.seen).get(path, ABSENT)
        if is_at_or_below(path, ignored):
            continue
        if isinstance(value, DesiredSecret):
            is_new = value.may_be_of_git(applied)
        elif isinstance(value, KnownAfterApply):
            is_new = value.address not in record.depends_on
        else:
            compare = resource.type.require_rule_of_field(path).compare
            is_new = not is_same_value(value, applied, compare)
        if is_new:
            return True
    return False


def _was_sealed_before(resource: ResourceState) -> bool:
    """Whether the recorded object was sealed under this identity, which can never be used again."""
    record = resource.record
    if record is None or not was_recorded_sealed(resource):
        return False
    return all(
        resource.declared_fields.get((name,)) == record.seen.get((name,))
        for name in resource.type.identity_fields
    )


def _decide_adopt(resource: ResourceState, index: PlanIndex) -> Decision:
    diff = diff_resource(resource, None, index.plan_input.options.resend_secrets)
    is_pinned = resource.lookup_result.found_by is FoundBy.PIN
    notes = list(diff.notes)
    extras = {}
    if _is_made_anew(resource) and resource.record is not None:
        notes.insert(0, _describe_recorded_id(resource, resource.record))
    if package.is_package_unproven(resource):
        notes.append("its published bytes are unverified: nothing tells what they are")
    # A replaceable package may be another one by now, so its digest is not recorded.
    digest = None if package.is_replaceable(resource) else package.known_digest(resource)
    if resource.type.carries_package and digest:
        extras["published_digest"] = digest
    change = replace(
        build_change(resource, Action.ADOPT, diff.changes),
        notes=tuple(notes),
        reason="pinned" if is_pinned else "found by natural key",
        extras=extras,
    )
    decision = Decision(change, foreign_secrets=tuple(diff.foreign_secrets))
    if (
        resource.lookup_result.observed is not None
        and resource.lookup_result.observed.is_platform_owned
    ):
        return decision.refused(refusals.refusal("not-ours", resource))
    record, acting = resource.record, tuple[Refusal, ...]()
    if record and record.is_same_object_elsewhere(resource.binding.api, resource.natural_key):
        acting = tuple(open_call_refusals.iter_acting_call_refusals(resource, diff.changes))
    return decision.refused(*_refuse_to_send(resource, diff, index), *acting)


def _describe_recorded_id(resource: ResourceState, record: Record) -> str:
    if record.api != resource.binding.api:
        return f"recorded as id {record.remote_id} of API {record.api}"
    return f"recorded as id {record.remote_id}: it was made anew outside"


def _decide_update(resource: ResourceState, record: Record, index: PlanIndex) -> Decision:
    # On another tenant, or after the server was set up anew, the same id is another object.
    if names := changed_identity(resource):
        return Decision(build_change(resource, Action.NO_OP)).refused(
            refusals.refusal("other-object: recorded", resource, names=format_short_list(names))
        )
    options = index.plan_input.options
    # Nearly every resource of a large target ends here, without the full comparison.
    if is_provably_unchanged(resource, record) and not _is_record_outdated(resource, record):
        return Decision(no_op_change(resource, index.dependencies[resource.address]))
    diff = diff_resource(resource, record, options.resend_secrets, options.holds_drift)
    ignored = resource.desired.lifecycle.ignore_changes if resource.desired else ()
    action = Action.UPDATE if diff.changes else Action.NO_OP
    change = replace(
        build_change(resource, action, diff.changes),
        notes=(
            *diff.notes,
            *refusals.held_drift_note(resource, diff.held_drift, index.plan_input.can_write),
        ),
        held=tuple(diff.held_drift),
        accepted=tuple(diff.accepted),
        rebase=action is Action.NO_OP and (diff.rebase or _is_record_outdated(resource, record)),
        of_git=bool(diff.changes) and _declares_unrecorded(resource, record, ignored),
    )
    decision = Decision(change, foreign_secrets=tuple(diff.foreign_secrets))
    return decision.refused(
        *_refuse_to_send(resource, diff, index),
        *open_call_refusals.iter_acting_call_refusals(resource, diff.changes),
    )


def _is_record_outdated(resource: ResourceState, record: Record) -> bool:
    """Whether the record differs in something declared besides fields, such as dependencies."""
    desired = resource.desired
    if desired is None:
        return False
    series_and_version = resource.type.locate_in_series(desired.spec)
    return (
        record.protected != desired.lifecycle.prevent_destroy
        # After a change of the API version the record has to name the new one.
        or record.api != resource.binding.api
        or (record.series, record.version) != series_and_version
        or (bool(desired.depends_on) and not set(desired.depends_on) <= set(record.depends_on))
        or (bool(resource.natural_key) and record.natural_key != resource.natural_key)
    )


def _refuse_to_send(resource: ResourceState, diff: ResourceDiff, index: PlanIndex) -> list[Refusal]:
    """What stands against sending the differences: fixed fields, another object, lost secrets.

    Some reasons leave out the others. Policy, locks and open calls are judged elsewhere.
    """
    unresettable = [
        # Without an update every field is fixed, and refused as such.
        path
        for path in diff.unresettable_paths
        if resource.binding.update_object is not None
    ]
    seal = resource.binding.final_call
    fixed_changes = [
        change
        for change in diff.changes
        if not (seal is not None and seal.makes_change(change))
        and refusals.is_fixed_field(resource, change.path)
    ]
    fixed_paths = [change.path for change in fixed_changes]
    if refusals.is_given_by_id(resource) and (
        identity_paths := [path for path in fixed_paths if path[0] in resource.type.identity_fields]
    ):
        # Other refusals would advise on changing an object that is not the declared one.
        return [refusals.refusal("other-object: given", resource, identity_paths)]
    found_refusals = []
    if fixed_changes:
        is_live_writable = can_write_all(resource, fixed_changes, index.plan_input.can_write)
        found_refusals.append(
            refusals.fixed(resource, fixed_changes, is_live_writable=is_live_writable)
        )
    if (
        diff.changes
        and not found_refusals
        and (lost_secrets := _overwritten_secrets(resource, diff))
    ):
        revert = Command("apply --only", resource.address, "--revert-drift")
        return [refusals.refusal("held-secret", resource, lost_secrets, revert=revert)]
    if loose_paths := [path for path in unresettable if path not in fixed_paths]:
        found_refusals.append(refusals.refusal("no-reset", resource, loose_paths))
    if diff.changes and not found_refusals and (lost_secrets := _cleared_secrets(resource, diff)):
        is_live_writable = can_write_all(resource, diff.changes, index.plan_input.can_write)
        found_refusals.append(
            refusals.secret_cleared(
                resource, lost_secrets, diff.changes, is_live_writable=is_live_writable
            )
        )
    return found_refusals


def _cleared_secrets(resource: ResourceState, diff: ResourceDiff) -> list[FieldPath]:
    """Live secrets that an update would leave out although nobody dropped them.

    A PUT replaces every field, a PATCH the whole top-level fields in which something changed.
    """
    ignored = resource.desired.lifecycle.ignore_changes if resource.desired else ()
    sent = {
        path: value
        for path, value in resource.declared_fields.items()
        if not is_at_or_below(path, ignored)
    }
    declared_tree, changed_paths = unflatten(sent), {change.path for change in diff.changes}
    changed_names = {path[0] for path in changed_paths}
    replaces_all = resource.binding.update_mode is UpdateMode.PUT
    # Answers mask secrets, so a live one cannot be sent back with the rest of the object.
    lost_secrets = [
        path
        for path, value in sorted(resource.live_fields.items())
        if holds_secret(value)
        and path not in changed_paths
        and get_at_or_absent(declared_tree, path) is ABSENT
    ]
    unsent_secrets = sorted({*lost_secrets, *_unsent_secrets(resource, ignored)})
    return [path for path in unsent_secrets if replaces_all or path[0] in changed_names]


def _overwritten_secrets(resource: ResourceState, diff: ResourceDiff) -> list[FieldPath]:
    """Secrets that were changed outside and are kept, although this update would overwrite them."""
    changed_names = {change.path[0] for change in diff.changes}
    replaces_all = resource.binding.update_mode is UpdateMode.PUT
    secret_paths = [change.path for change in diff.held_drift if change.sensitive]
    return [path for path in secret_paths if replaces_all or path[0] in changed_names]


def _unsent_secrets(resource: ResourceState, ignored: Sequence[FieldPath]) -> list[FieldPath]:
    """Declared secrets that no update sends: they keep the live value or are ignored."""
    return [
        path
        for path, value in sorted(resource.declared_fields.items())
        if isinstance(value, DesiredSecret)
        and (value.ref.keeps_live_value or is_at_or_below(path, ignored))
    ]


_REMOVALS = frozenset({Action.DELETE, Action.FORGET})
_CREATES = frozenset({Action.CREATE, Action.RECREATE})


def decide_undeclared_alone(resource: ResourceState, index: PlanIndex) -> Decision:
    """The decision on a record without manifest, without regard to what depends on it."""
    intent = index.open_intents.get(resource.address)
    if intent is not None and not (
        intent.verb == "delete"
        and index.plan_input.options.prune
        and index.can_send_again(intent, resource)
    ):
        return Decision(build_change(resource, Action.NO_OP)).refused(
            index.open_intent_refusal(intent)
        )
    # Its object is declared under a new address, so it must be neither deleted nor forgotten.
    if resource.address in index.identity_claims.held_records | index.plan_input.unmoved:
        return _noted(
            resource, Action.NO_OP, "kept in state: its address was renamed in the manifests"
        )
    is_past_retention = resource.binding.delete_object is not None and is_beyond_retention(
        resource, index.series
    )
    is_staying = (
        not (is_past_retention and index.plan_input.options.prune)
        and resource.address not in index.plan_input.removed_addresses
    )
    if is_of_declared_series(resource, index.series) and is_staying:
        return Decision(replace(build_change(resource, Action.NO_OP), superseded=True))
    conflicts = index.identity_claims.conflicts.get(resource.address, ())
    if conflicts:
        return Decision(build_change(resource, Action.NO_OP), tuple(conflicts))
    # Its manifest may be among those that were not read.
    if index.plan_input.options.partial:
        return Decision(build_change(resource, Action.NO_OP))
    if resource.address in index.plan_input.removed_addresses:
        return _noted(resource, Action.FORGET, "removed: in the project file; the object stays")
    if resource.binding.delete_object is None:
        return _noted(
            resource,
            Action.FORGET,
            "no longer declared; the object stays, this API cannot delete it",
        )
    return _decide_removal(resource, index)


def _decide_removal(resource: ResourceState, index: PlanIndex) -> Decision:
    if not index.plan_input.options.prune:
        return _noted(
            resource,
            Action.NO_OP,
            Text(
                "no longer declared: --prune deletes it, ",
                Command("state rm", resource.address),
                " only forgets it",
            ),
        )
    # Whether the object exists is unknown, so its record must stay.
    if resource.lookup_result.problem is not None:
        return Decision(build_change(resource, Action.NO_OP), (resource.lookup_result.problem,))
    if resource.lookup_result.observed is None:
        return _noted(resource, Action.FORGET, "no longer declared, and gone already")
    reason = "no longer declared, and --prune was given"
    if is_beyond_retention(resource, index.series):
        reason = "older than what is retained, and --prune was given"
    decision = Decision(replace(build_change(resource, Action.DELETE), reason=reason))
    # The id belongs to another object by now, which must not be deleted.
    if names := changed_identity(resource):
        return decision.refused(
            refusals.refusal("other-object: recorded", resource, names=format_short_list(names))
        )
    # The protection is in the record, since the manifest that declared it is gone.
    if resource.record is not None and resource.record.protected:
        return decision.refused(refusals.refusal("prevent-destroy", resource))
    if not is_or_was_sealed(resource):
        return decision
    loss = refusals.sealed_loss(resource)
    if not index.plan_input.options.allow_locked:
        allow = Command("apply --prune --allow-locked")
        return decision.refused(refusals.refusal("delete-sealed", resource, loss=loss, allow=allow))
    notes = (*decision.change.notes, loss)
    return replace(decision, change=replace(decision.change, notes=notes))


def _noted(resource: ResourceState, action: Action, note: str) -> Decision:
    decision = Decision(replace(build_change(resource, action), notes=(note,)))
    if action is Action.FORGET:
        decision = decision.refused(*iter_acting_call_refusals(resource))
    return decision


@mutable
class SeriesSuccessors:
    """The declared members that take the place of removed ones, by series; computed once each.

    `declared_decisions` are the decisions on all declared resources.
    """

    index: PlanIndex
    declared_decisions: Mapping[Address, Decision]
    _successors_by_series: dict[SeriesKey, tuple[list[Address], list[Address]]] = field(
        default_factory=dict
    )

    def after_successors(self, decision: Decision, resource: ResourceState) -> Decision:
        """The decision on a removed series member, ordered after the members that replace it.

        Where one of those cannot be created, the record stays and nothing is deleted. What
        `removed:` in the project file names does not wait.
        """
        if (
            decision.change.action not in _REMOVALS
            or resource.address in self.index.plan_input.removed_addresses
        ):
            return decision
        successors, unsolved = self._successors_and_unsolved(resource)
        # Nothing is lost by keeping a record for now, so this is a note in place of a refusal.
        if unsolved and decision.change.action is Action.FORGET and not decision.is_blocked:
            return _noted(
                resource,
                Action.NO_OP,
                f"kept in state until {format_short_list(unsolved)} is there",
            )
        predecessors = tuple(sorted({*decision.change.depends_on, *successors}))
        decision = replace(decision, change=replace(decision.change, depends_on=predecessors))
        left_out = [
            address for address in unsolved if not self.declared_decisions[address].is_blocked
        ]
        if left_out:
            decision = decision.refused(refusals.not_selected_refusal(resource, left_out))
        blocked = [address for address in unsolved if address not in left_out]
        return (
            decision.refused(refusals.build_dependency_refusal(resource, blocked))
            if blocked
            else decision
        )

    def _successors_and_unsolved(
        self, resource: ResourceState
    ) -> tuple[list[Address], list[Address]]:
        """Declared members that change or are blocked, and those blocked or not selected."""
        series = SeriesKey(
            resource.address.kind, resource.record.series if resource.record is not None else ""
        )
        if series not in self._successors_by_series:
            members = declared_successors(resource, self.index.series)
            decisions = {address: self.declared_decisions[address] for address in members}
            changed = [
                address
                for address, member_decision in decisions.items()
                if member_decision.change.has_unrefused_call_or_run or member_decision.is_blocked
            ]
            unsolved = [
                address
                for address in changed
                if decisions[address].is_blocked or self._is_unselected_create(decisions[address])
            ]
            self._successors_by_series[series] = changed, unsolved
        return self._successors_by_series[series]

    def _is_unselected_create(self, decision: Decision) -> bool:
        """Whether a decision is a create that the selection leaves out."""
        selected = self.index.plan_input.options.selected
        is_unselected = selected is not None and decision.change.address not in selected
        return is_unselected and decision.change.action in _CREATES
