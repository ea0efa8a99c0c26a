"""Which action a declared or recorded resource gets, or why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, import_text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, is_at_or_below
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import RUN_VERB
from synapse_apply.model.phrases import format_field_path, format_short_list, format_time_after
from synapse_apply.model.plan import EXTERNAL, OTHER_RUN_RULE, Action, Refusal
from synapse_apply.model.resource import FoundBy, Lookup
from synapse_apply.model.state import CREATE_VERB, PLAN_ROW_PREFIX, Intent, Record
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    KnownAfterApply,
    get_at_or_absent,
    holds_secret,
    unflatten,
)
from synapse_apply.planning import open_call_refusals, package, refusals
from synapse_apply.planning.decision import CREATES, Decision, build_change
from synapse_apply.planning.diff import (
    ResourceDiff,
    create_changes,
    diff_resource,
    is_provably_unchanged,
)
from synapse_apply.planning.identity import IdentityClaims, changed_identity
from synapse_apply.planning.open_call_refusals import acting_call
from synapse_apply.planning.plan_input import PlanInput, ResourceState
from synapse_apply.planning.series import Series

_CREATES_OR_ADOPTS = CREATES | {Action.ADOPT}
_SENT_UNCHECKED = "this update also sends the declared value"
_MUST_EXIST = "the object must already exist on the backend: the manifest alone cannot create it"


@frozen
class PlanIndex:
    """What a plan is made of, and what is known across all addresses before any is decided.

    `calls_of_others` has the open call of another address that is of an address's object, or may
    have made it.
    """

    plan_input: PlanInput
    identity_claims: IdentityClaims
    series: Series
    open_intents: Mapping[Address, Intent]
    calls_of_others: Mapping[Address, Intent]

    def open_intent_refusal(self, intent: Intent, refused: Address | None = None) -> Refusal:
        """The refusal of an address while an earlier call is open.

        The call is one of this address, or, with a `refused` one, of another address: it may have
        made the refused one's object, or is of what is renamed with it.
        """
        given, relation = self.plan_input, ""
        if refused is not None:
            old = self.identity_claims.renames.get(refused, intent.address)
            is_same = old == intent.address
            relation = (
                ", which may be the same object," if is_same else ", which is renamed with it,"
            )
        resource = given.resources.get(intent.address)
        is_forgotten = not any(
            one.record and (one.address == intent.address or one.record.is_object_of(intent))
            for one in given.resources.values()
            if one.address.kind == intent.address.kind
        )
        seconds = given.seconds_until_resolvable.get(intent.id)
        until = "" if seconds is None else format_time_after(given.created, seconds)
        if given.has_concurrent_run:
            return open_call_refusals.concurrent_call(intent, until, relation)
        return open_call_refusals.outcome_unknown_refusal(
            intent,
            until and f"plan again after {until}",
            given.recovery_hints.get(intent.id, ""),
            relation,
            given.call_ends.get(intent.id, ""),
            is_recorded=resource is not None and resource.record is not None,
            is_forgotten=is_forgotten and intent.verb not in {CREATE_VERB, RUN_VERB},
        )


class Decider:
    """What is decided about one resource, without regard to what it depends on."""

    def __init__(self, resource: ResourceState, index: PlanIndex) -> None:
        self.resource, self.index = resource, index
        self.given, self.options = index.plan_input, index.plan_input.options

    def left_alone(self, note: str = "", action: Action = Action.NO_OP, **more: Any) -> Decision:
        """A decision without a call, with a note that says why."""
        decision = Decision(
            build_change(self.resource, action, notes=(note,) if note else (), **more)
        )
        if action is Action.FORGET:
            decision = decision.refused(*acting_call(self.resource))
        return decision

    def refusal(self, case: str, paths: list[FieldPath] | None = None, **fields: Any) -> Refusal:
        return refusals.refusal(case, self.resource, paths or [], **fields)

    def declared(self) -> Decision:
        """The decision on a declared resource."""
        resource, index, record = self.resource, self.index, self.resource.record
        lookup, address = resource.lookup_result, resource.address
        errors = (
            *((lookup.problem,) if lookup.problem else ()),
            *index.identity_claims.conflicts.get(address, ()),
            *self.unsupported_fields(),
        )
        if errors:
            return Decision(build_change(self.resource, reason="in error"), errors)
        # While it is unknown what an earlier call did, any other decision could be wrong: but an
        # update may be sent again as it was.
        open_intent, is_external = index.open_intents.get(address), resource.is_external
        if open_intent is not None and (
            is_external
            or not self.can_send_again(open_intent)
            or not open_call_refusals.repeats_call(resource, open_intent)
        ):
            return self.refused_open(open_intent)
        if is_external:
            return self.external()
        if resource.observed is None:
            decision = self.create() if record is None else self.recreate(record)
        elif record is None or self.is_made_anew:
            decision = self.adopt(record)
            # The other run may have created the object and not recorded it yet.
            if self.given.has_concurrent_run and lookup.found_by is FoundBy.KEY:
                decision = decision.refused(
                    Refusal(
                        OTHER_RUN_RULE,
                        f"id {resource.remote_id} has its name, and the state does not record "
                        "it: the run in progress may have just created it",
                        open_call_refusals.AFTER_OTHER_RUN,
                        outcome_unknown=True,
                    )
                )
        else:
            decision = self.update(record)
            if open_intent is not None and (
                decision.change.action is not Action.UPDATE or decision.change.is_refused
            ):
                return self.refused_open(open_intent)
        if resource.type.carries_package and resource.observed is not None:
            decision = package.judge_package(resource, decision, self.options, index.series)
        # A final call cannot be undone.
        seal = resource.binding.final_call
        if seal is not None and any(map(seal.makes_change, decision.change.fields)):
            # Nobody can tell whose package would stay for good.
            if record is not None and record.is_package_untold:
                decision = decision.refused(
                    self.untold_refusal("seal-untold", [(seal.name,)], verb=seal.verb)
                )
            decision = decision.noted(seal.warning)
        # It may have made this very object, or may still make or change it.
        open_call, action = index.calls_of_others.get(address), decision.change.action
        if open_call is not None and (
            action in _CREATES_OR_ADOPTS
            or (action is Action.UPDATE and open_call.verb != CREATE_VERB)
        ):
            if open_call.verb != CREATE_VERB:  # what it is of is there, and nothing is to be made
                decision = self.left_alone()
            decision = decision.refused(index.open_intent_refusal(open_call, address))
        if record is not None and record.api != resource.binding.api:
            (recorded_form, _, recorded_key), (form, _, key) = (
                key.partition("=") for key in (record.natural_key, resource.natural_key)
            )
            # Keys of different forms (name=..., code=...) may be of one object, so they prove
            # nothing.
            if recorded_key and key and recorded_form == form and recorded_key != key:
                decision = decision.refused(self.refusal("other-space"))
        # A guessed rename is never carried out: the user has to say so in the file or by a command.
        rename = index.identity_claims.find_rename(address)
        if rename is None or address in index.calls_of_others:
            return decision
        old, new = rename
        is_whole = new == address
        what = f"the object recorded as {old}" if is_whole else f"recorded as part of {old}"
        move = Text(Command("state mv", old, new))
        if any(str(old) in {str(call.address), call.series} for call in self.given.looked_up):
            first = Command("state settle")
            move = Text("first ", first, " to record an earlier call, then ", move)
        return decision.refused(self.refusal("renamed", what=what, move=move, old=old, new=new))

    def external(self) -> Decision:
        """The decision on an object that somebody else manages: it must exist, nothing is sent.

        Its record, from when it was managed here, is forgotten, so that nothing deletes the object.
        """
        resource = self.resource
        if resource.observed is None:
            is_absent = resource.lookup_result.lookup is Lookup.COMPLETE
            case = "external: absent" if is_absent else "external: not found"
            return self.left_alone(extras=EXTERNAL).refused(self.refusal(case))
        if resource.record is not None:
            return self.left_alone("external: somebody else manages it now", Action.FORGET)
        note = f"external: exists as id {resource.remote_id}, is never written"
        return self.left_alone(note, extras=EXTERNAL)

    def can_send_again(self, intent: Intent) -> bool:
        """Whether an open call may be sent once more as it was, before its outcome is known.

        An approval is for one time: it is waited for until it is certain that it was not used.
        """
        given, record = self.given, self.resource.record
        return (
            not given.has_concurrent_run
            and all(name.startswith(PLAN_ROW_PREFIX) for name in intent.approvals)
            and record is not None
            and record.is_object_of(intent)  # else it could not be kept as given up
            and intent.id not in given.recovery_hints
            and sum(one.address == intent.address for one in given.open_intents) == 1
            and self.resource.observed is not None
        )

    def unsupported_fields(self) -> list[Diagnostic]:
        """An error for each declared field that this API version does not have."""
        resource, has = self.resource, self.resource.binding.fields
        if resource.desired is not None and resource.desired.spec.keys() <= has:
            return []
        names = {path[0] for path in resource.declared_fields}
        return [
            error_finding(
                "Field not supported by this API version",
                f"{resource.address}: API {resource.binding.api} has no field `{name}`.",
                "Remove the field, or use an API version that supports it: "
                f"{', '.join(sorted(has))}.",
                position=resource.position((name,)),
                address=str(resource.address),
                path=("spec", name),
            )
            for name in sorted(map(str, names - has))
        ]

    def refused_open(self, intent: Intent) -> Decision:
        action = Action.CREATE if intent.verb == CREATE_VERB else Action.NO_OP
        return Decision(build_change(self.resource, action)).refused(
            self.index.open_intent_refusal(intent)
        )

    def untold_refusal(
        self, case: str, paths: list[FieldPath] | None = None, **fields: Any
    ) -> Refusal:
        """The refusal of what might be done to somebody else's package."""
        address = self.resource.address
        verify, ours = Command("verify", address, "--bytes"), Command("state accept", address)
        return self.refusal(case, paths, verify=verify, ours=ours, **fields)

    @property
    def is_made_anew(self) -> bool:
        """Whether the recorded object is gone, and its natural key led to a new one."""
        record, observed = self.resource.record, self.resource.observed
        is_by_key = self.resource.lookup_result.found_by is FoundBy.KEY
        return bool(record and observed and is_by_key and record.remote_id != observed.remote_id)

    def create(self, action: Action = Action.CREATE) -> Decision:
        resource, constraints = self.resource, self.resource.binding.create_constraints
        fields, extras = create_changes(resource), package.package_extras(resource)
        decision = Decision(build_change(resource, action, fields, extras=extras))
        found, spec = [], resource.spec
        if resource.record is None and (known := self.given.forgotten.get(resource.address)):
            import_it = import_text(resource.address, known, is_recorded=False)
            found.append(self.refusal("forgotten", record_it=import_it))
        if live_secrets := self.unsent_secrets(()):
            found.append(self.refusal("no-live-secret", live_secrets))
        if unaccepted := [
            name
            for name, constraint in constraints.items()
            if (
                not constraint.accepts_value_in_create(spec[name])
                if name in spec
                else constraint.required or constraint.required_to_create
            )
        ]:
            taken = "; ".join(f"{name}: {constraints[name].description}" for name in unaccepted)
            paths: list[FieldPath] = [(name,) for name in unaccepted]
            found.append(self.refusal("not-taken", paths, taken=taken))
        if resource.type.carries_package and resource.desired and not resource.package:
            source = resource.desired.source
            position = source.position if source else None
            what = f"`source: {source.kind}`" if source else "the manifest"
            found.append(self.refusal("no-package", source=what, position=position))
        # It may exist already, which was not looked up.
        if found and self.given.base.is_offline:
            return decision.changed(notes=(_MUST_EXIST,))
        return decision.refused(*found)

    def recreate(self, record: Record) -> Decision:
        resource, seal = self.resource, self.resource.binding.final_call
        if resource.is_unsearchable:
            return self.left_alone().refused(self.refusal("other-api"))
        decision = self.create(Action.RECREATE)
        note = f"recorded as id {record.remote_id}, which no longer exists{resource.deleted_by}"
        if record.api != resource.binding.api:
            note = f"{self.recorded_id(record)}; API {resource.binding.api} has none"
        # Users of this version had other content before, so the reader of the plan should know.
        digest, uploaded = package.known_digest(resource), package.uploaded_digest(decision.change)
        notes = [note]
        if digest and uploaded and uploaded != digest:
            notes.append(
                "its content differs from the content already published under this version"
            )
        of_git = (
            uploaded != (digest or "")
            or not record.applied.keys() <= resource.declared_fields.keys()
            or self.declares_unrecorded(record)
        )
        decision = decision.changed(reason="missing", notes=tuple(notes), of_git=of_git)
        decision = decision.refused(*acting_call(resource, [], uploaded))
        # An identity that was sealed can never be used again.
        if seal is None or record.seen.get((seal.name,)) is not True:
            return decision
        paths: list[FieldPath] = [(name,) for name in resource.type.identity_fields]
        if any(resource.declared_fields.get(path) != record.seen.get(path) for path in paths):
            return decision
        return decision.refused(self.refusal("sealed", [(resource.identity_name,)]))

    def declares_unrecorded(self, record: Record, ignored: tuple[FieldPath, ...] = ()) -> bool:
        """Whether all declared fields, but for the `ignored`, have something no call has sent."""
        for path, value in self.resource.declared_fields.items():
            applied = self.resource.recorded.get(path, ABSENT)
            if is_at_or_below(path, ignored):
                continue
            if isinstance(value, DesiredSecret):
                is_new = value.may_be_of_git(applied)
            elif isinstance(value, KnownAfterApply):
                is_new = value.address not in record.depends_on
            else:
                is_new = not is_same_value(value, applied, self.resource.rule(path).compare)
            if is_new:
                return True
        return False

    def recorded_id(self, record: Record) -> str:
        is_other_api = record.api != self.resource.binding.api
        what = f" of API {record.api}" if is_other_api else ": it was created again outside Git"
        return f"recorded as id {record.remote_id}{what}"

    def adopt(self, record: Record | None) -> Decision:
        resource, observed = self.resource, self.resource.observed
        diff = diff_resource(resource, None, self.options.resend_secrets)
        is_pinned = resource.lookup_result.found_by is FoundBy.PIN
        notes, extras = list(diff.notes), {}
        if record is not None and self.is_made_anew:
            notes.insert(0, self.recorded_id(record))
        if resource.type.carries_package:
            # A replaceable package may be another one by now, so its digest is not recorded.
            is_replaceable = package.is_replaceable(resource)
            digest = None if is_replaceable else package.known_digest(resource)
            if digest is None:
                notes.append(
                    "its published bytes are unverified: nothing proves which package they are"
                )
            if digest:
                extras["published_digest"] = digest
        change = build_change(
            self.resource,
            Action.ADOPT,
            diff.changes,
            notes=tuple(notes),
            reason="pinned" if is_pinned else "found by natural key",
            extras=extras,
        )
        decision = Decision(change, foreign_secrets=tuple(diff.foreign_secrets))
        if observed is not None and observed.is_platform_owned:
            return decision.refused(self.refusal("not-ours"))
        if observed is not None and (marked := observed.describe_other_owner(self.options.owners)):
            owner = observed.owner
            return decision.refused(self.refusal("other-owner", marked=marked, owner=owner))
        decision = decision.refused(*self.refused_fields(diff))
        if record and record.is_same_object_elsewhere(resource.binding.api, resource.natural_key):
            decision = decision.refused(*acting_call(resource, diff.changes))
        return decision

    def update(self, record: Record) -> Decision:
        resource = self.resource
        # On another tenant, or after the server was set up anew, the same id is another object.
        if names := changed_identity(resource):
            found = self.refusal("other-object: recorded", names=format_short_list(names))
            return self.left_alone().refused(found)
        # Nearly every resource of a large target ends here, without the full comparison.
        is_outdated = self.is_outdated(record)
        if not is_outdated and is_provably_unchanged(resource, record):
            return Decision(build_change(self.resource, is_unchanged=True))
        diff = diff_resource(
            resource, record, self.options.resend_secrets, self.options.holds_drift
        )
        refused = (*self.refused_fields(diff), *acting_call(resource, diff.changes))
        # Nothing ends that before the call is over, nor an update of what is kept.
        held_too = acting_call(resource, [*diff.changes, *diff.held_drift])
        is_waiting = any(one.hides_drift for one in (*refused, *held_too))
        held = refusals.held_drift_notes(
            resource, diff.held_drift, self.given.can_write, has_ways_out=not is_waiting
        )
        # An update of other fields cannot leave a secret out, which would clear it.
        unchecked = self.replaced(sorted({*diff.undigested, *diff.foreign_secrets}), diff)
        sent = [f"{format_field_path(path)}: {_SENT_UNCHECKED}" for path in unchecked]
        change = build_change(
            self.resource,
            Action.UPDATE if diff.changes else Action.NO_OP,
            diff.changes,
            notes=(*diff.notes, *(sent if diff.changes and not refused else ()), *held),
            held=tuple(diff.held_drift),
            accepted=tuple(diff.accepted),
            rebase=not diff.changes and (diff.rebase or is_outdated),
            of_git=bool(diff.changes) and self.declares_unrecorded(record, resource.ignored),
        )
        return Decision(change, foreign_secrets=tuple(diff.foreign_secrets)).refused(*refused)

    def is_outdated(self, record: Record) -> bool:
        """Whether the record differs in something declared besides fields, such as dependencies."""
        resource, desired = self.resource, self.resource.desired
        return desired is not None and (
            record.protected != desired.lifecycle.prevent_destroy
            # After a change of the API version the record has to name the new one.
            or record.api != resource.binding.api
            or (record.series, record.version) != resource.type.locate_in_series(desired.spec)
            or not {*desired.depends_on} <= {*record.depends_on}
            or (bool(resource.natural_key) and record.natural_key != resource.natural_key)
        )

    def refused_fields(self, diff: ResourceDiff) -> list[Refusal]:
        """What stands against sending the differences: fixed fields, another object, lost secrets.

        Some reasons leave out the others. Policy, locks and open calls are judged elsewhere.
        """
        resource, binding, can_write = self.resource, self.resource.binding, self.given.can_write
        seal = binding.final_call
        fixed = [
            change
            for change in diff.changes
            if resource.is_fixed(change.path) and not (seal and seal.makes_change(change))
        ]
        fixed_paths = [change.path for change in fixed]
        identity = [path for path in fixed_paths if path[0] in resource.type.identity_fields]
        if identity and refusals.is_given_by_id(resource):
            # Other refusals would advise on changing an object that is not the declared one.
            return [self.refusal("other-object: given", identity)]
        found = [refusals.fixed(resource, fixed, can_write)] if fixed else []
        # Secrets that were changed outside and are kept, although an update overwrites them.
        held = [one.path for one in diff.held_drift if one.sensitive]
        if diff.changes and not found and (lost := self.replaced(held, diff)):
            revert = Command("apply --only", resource.address, "--revert-drift")
            return [self.refusal(self.case("held-secret", lost), lost, revert=revert)]
        # Without an update every field is fixed, and refused as such.
        unresettable = diff.unresettable_paths if binding.update_object is not None else []
        if loose := [path for path in unresettable if path not in fixed_paths]:
            found.append(self.refusal("no-reset", loose))
        if diff.changes and not found and (lost := self.cleared_secrets(diff)):
            case = self.case("secret-cleared", lost)
            found.append(refusals.of_fields(case, resource, lost, diff.changes, can_write))
        return found

    def case(self, rule: str, lost: list[FieldPath]) -> str:
        """The case of a rule for secrets that an update would lose."""
        declared = (get_at_or_absent(self.resource.spec, path) for path in lost)
        return rule if any(value is not ABSENT for value in declared) else f"{rule}: undeclared"

    def replaced(self, paths: list[FieldPath], diff: ResourceDiff) -> list[FieldPath]:
        """Those of these fields that an update sends anew, or else clears.

        A PUT replaces every field, a PATCH the whole top-level fields in which something changed.
        """
        names = {change.path[0] for change in diff.changes}
        is_put = self.resource.binding.update_mode is UpdateMode.PUT
        return [path for path in paths if is_put or path[0] in names]

    def cleared_secrets(self, diff: ResourceDiff) -> list[FieldPath]:
        """Live secrets that an update would leave out although nobody dropped them."""
        resource, changed = self.resource, {change.path for change in diff.changes}
        ignored = resource.ignored
        sent = unflatten(
            {
                path: value
                for path, value in resource.declared_fields.items()
                if not is_at_or_below(path, ignored)
            }
        )
        # Answers mask secrets, so a live one cannot be sent back with the rest of the object.
        lost = {
            path
            for path, value in resource.live_fields.items()
            if holds_secret(value)
            and path not in changed
            and get_at_or_absent(sent, path) is ABSENT
        }
        return self.replaced(sorted({*lost, *self.unsent_secrets(ignored)}), diff)

    def unsent_secrets(self, ignored: tuple[FieldPath, ...]) -> list[FieldPath]:
        """Declared secrets that no update sends: they keep the live value or are ignored."""
        return [
            path
            for path, value in sorted(self.resource.declared_fields.items())
            if isinstance(value, DesiredSecret)
            and (value.ref.keeps_live_value or is_at_or_below(path, ignored))
        ]

    def undeclared(self) -> Decision:
        """The decision on a record without manifest."""
        resource, index, given = self.resource, self.index, self.given
        address, series = resource.address, index.series
        intent = index.open_intents.get(address)
        if intent is not None and not (
            intent.verb == "delete" and self.options.prune and self.can_send_again(intent)
        ):
            return self.left_alone().refused(index.open_intent_refusal(intent))
        # Its object is declared under a new address, so it must be neither deleted nor forgotten.
        if address in index.identity_claims.held_records | given.unmoved:
            return self.left_alone("kept in state: its address was renamed in the manifests")
        can_delete = resource.binding.delete_object is not None
        is_removed = address in given.removed_addresses
        is_pruned = self.options.prune and can_delete and series.is_beyond_retention(resource)
        if series.continues(resource) and not is_pruned and not is_removed:
            return self.left_alone(superseded=True)
        if conflicts := index.identity_claims.conflicts.get(address, ()):
            return Decision(build_change(self.resource), tuple(conflicts))
        # Its manifest may be among those that were not read.
        if self.options.partial:
            return self.left_alone()
        if is_removed:
            note = "listed under `removed:` in the project file; the live object stays"
            return self.left_alone(note, Action.FORGET)
        if not can_delete:
            note = "no longer declared; the live object stays, because this API cannot delete it"
            return self.left_alone(note, Action.FORGET)
        if not self.options.prune:
            forget = Command("state rm", address)
            why = "no longer declared: --prune deletes it, "
            return self.left_alone(Text(why, forget, " only stops managing it"))
        # Whether the object exists is unknown, so its record must stay.
        if resource.lookup_result.problem is not None:
            return Decision(build_change(self.resource), (resource.lookup_result.problem,))
        if resource.observed is None:
            return self.left_alone("no longer declared, and already gone", Action.FORGET)
        return self.delete()

    def delete(self) -> Decision:
        resource, record = self.resource, self.resource.record
        reason, seal = "no longer declared, and --prune was given", resource.binding.final_call
        if self.index.series.is_beyond_retention(resource):
            reason = "older than the retained versions, and --prune was given"
        decision = Decision(build_change(self.resource, Action.DELETE, reason=reason))
        # The id belongs to another object by now, which must not be deleted.
        if names := changed_identity(resource):
            found = self.refusal("other-object: recorded", names=format_short_list(names))
            return decision.refused(found)
        # The protection is in the record, since the manifest that declared it is gone.
        if record is not None and record.protected:
            return decision.refused(self.refusal("prevent-destroy"))
        if record is not None and record.is_package_untold:
            return decision.refused(self.untold_refusal("delete-untold"))
        # A seal cannot be taken back, so it counts, too, that the object was sealed when last seen.
        sides = (resource.live_fields, record.seen if record else {})
        if seal is None or not any(side.get((seal.name,)) is True for side in sides):
            return decision
        digest = record.digest if record is not None else None
        content = f", and its content {digest}, if no other copy exists," if digest else ""
        loss = (
            f"{resource.address} (id {resource.remote_id}){content} is lost permanently: API "
            f"{resource.binding.api} accepts no second {resource.type.prefix} with this "
            f"{resource.identity_name}"
        )
        if self.options.allow_locked:
            return decision.noted(loss)
        allow = Command("apply --prune --allow-locked")
        return decision.refused(self.refusal("delete-sealed", loss=loss, allow=allow))
