"""What is known of one resource from all sides: as declared, as recorded, and as live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from synapse_apply.model import values
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, name_target_in_commands
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.phrases import suggest_name
from synapse_apply.model.plan import CONCURRENT_RUN_SUMMARY, OTHER_RUN_RULE, FieldChange
from synapse_apply.model.secrets.secret_marks import UNMARKED
from synapse_apply.operations.plan import plan
from synapse_apply.planning.plan_input import PlanOptions, ResourceState
from synapse_apply.views.text.values import SECRET_TYPES
from synapse_apply.workspace.target_session import PlanResult, TargetSession

SAME, DIFFERENT = "same", "different"
NOT_SHOWN, ANOTHER_KEY, NOT_CHECKED = "not shown", "under another key", "not checked"
NOT_KNOWN = "not known"


@frozen
class ComparedSecret:
    """Whether a secret is the same as declared, in the record and live; else, live as recorded.

    Each is SAME, DIFFERENT, NOT_SHOWN (by the server), ANOTHER_KEY, NOT_CHECKED, or NOT_KNOWN after
    a call without an answer; None where that side has no value, or there is nothing to compare it
    with.
    """

    recorded: str | None
    live: str | None

    @classmethod
    def compare_sides(cls, declared: Any, recorded: Any, live: Any) -> Self:
        """Compare one field's values of the three sides."""
        is_declared = isinstance(declared, values.DesiredSecret)
        declared_mac = declared.mac if is_declared else None
        base = declared_mac if is_declared else recorded
        return cls(
            _compare_digests(declared_mac, recorded) if is_declared else None,
            NOT_SHOWN if isinstance(live, values.WithheldSecret) else _compare_digests(base, live),
        )


def _compare_digests(base_secret: Any, other_secret: Any) -> str | None:
    if not isinstance(other_secret, values.Mac):
        return None
    if not isinstance(base_secret, values.Mac):
        return NOT_CHECKED
    if values.Mac.UNSEEN in {base_secret.digest, other_secret.digest}:
        return NOT_KNOWN
    if base_secret.key_id != other_secret.key_id:
        return ANOTHER_KEY
    return SAME if base_secret == other_secret else DIFFERENT


@frozen
class ResourceSides:
    """The three sides of one address.

    `is_live_unread`: the live side could not be read, and a finding says why. `accepted_changes`
    are the fields that differ by `state accept`.
    """

    resource: ResourceState
    findings: tuple[Diagnostic, ...] = ()
    is_live_unread: bool = False
    accepted_changes: tuple[FieldChange, ...] = ()

    @classmethod
    def from_plan_result(
        cls, plan_result: PlanResult, address: Address, typed_target: str = ""
    ) -> Self:
        """The sides of an address; InputError that suggests similar ones for an unknown address.

        `typed_target` is the target's name where printed commands must name it.
        """
        if (resource := plan_result.resources.get(address)) is not None:
            resource = _withhold_new_secrets(resource)
        else:
            hint = suggest_name(
                str(address),
                map(str, plan_result.resources),
                Text(Command("plan --show-unchanged"), "."),
            )
            detail = f"{address} is not declared or recorded."
            for one in plan_result.resolved_intents:
                call = one.intent
                if (call.address, call.verb, one.is_done) == (address, "delete", True):
                    detail = (
                        f"{address} is not declared, and its delete of {call.sent_at} was done."
                    )
                    hint = Text("The next ", Command("apply"), " removes the record.")
            raise InputError.from_summary("There is no such resource", detail, hint)
        text = str(address)
        calls = [r.intent for r in plan_result.resolved_intents if r.intent.address == address]
        own_findings = [
            finding
            for finding in plan_result.plan.diagnostics
            if finding.address == text or (calls and finding.summary == CONCURRENT_RUN_SUMMARY)
        ]
        own_findings += [
            warning_finding("A call of this object is open", f"{text}: {refusal.reason}.")
            for change in plan_result.plan.changes
            if calls and change.address == address
            for refusal in change.refusals
            if refusal.rule == OTHER_RUN_RULE
        ]
        # Where several calls are open, the plan tells of all at once, without addresses.
        untold = (
            warning_finding(
                "The outcome of an earlier call is still unknown",
                f"{one.intent.verb} of {text} was sent at {one.intent.sent_at}: {one.reason}.",
                Text(Command("state settle", address, "--wait"), " waits for the call.")
                if one.seconds_until_resolvable is not None
                else "",
            )
            for one in plan_result.resolved_intents
            if one.is_open
            and one.intent.address == address
            and not any(one.intent.sent_at in finding.detail for finding in own_findings)
        )
        read_failures = _iter_read_failures(resource, plan_result.resources)
        own_findings += name_target_in_commands(tuple(untold), typed_target)
        read_problems = name_target_in_commands(tuple(read_failures), typed_target)
        accepted_changes = (
            change.accepted for change in plan_result.plan.changes if change.address == address
        )
        findings = tuple(dict.fromkeys((*own_findings, *read_problems)))
        return cls(resource, findings, bool(read_problems), next(accepted_changes, ()))

    def compare_secrets(self) -> dict[FieldPath, ComparedSecret]:
        """Compare the digests of each secret, which were all made with one salt."""
        sides = (
            self.declared_fields_with_defaults(),
            self.recorded_fields(),
            self.resource.live_fields,
        )
        paths = {path for side in sides for path, value in side.items()
                 if isinstance(value, SECRET_TYPES)}  # fmt: skip
        return {
            path: ComparedSecret.compare_sides(*(side.get(path, values.ABSENT) for side in sides))
            for path in sorted(paths, key=lambda path: [str(part) for part in path])
        }

    def declared_fields_with_defaults(self) -> Mapping[FieldPath, Any]:
        """The fields of the manifest, defaults included."""
        return dict(self.resource.declared_fields)

    def recorded_fields(self) -> values.Fields:
        """What was sent; of an imported record, what was seen."""
        record = self.resource.record
        # An imported record has nothing applied yet.
        return (record.applied or record.seen) if record else {}

    def shown_fields(self) -> Mapping[FieldPath, Any]:
        """The fields of the live object; none where it is not there, or could not be read."""
        observed = self.resource.observed
        return values.flatten(observed.spec) if observed else {}


def read_sides(session: TargetSession, name: str) -> tuple[PlanResult, ResourceSides]:
    """The sides of one resource, and the plan that has read no other."""
    address = session.names.choose(name)
    options = PlanOptions().with_target_rules(session.target)
    plan_result = plan(session, options, addresses_to_read=(address,))
    return plan_result, ResourceSides.from_plan_result(plan_result, address, session.typed_target)


def _withhold_new_secrets(resource: ResourceState) -> ResourceState:
    """The resource without recorded plain values of fields that have become secret since."""
    paths = frozenset(
        path
        for side in (resource.declared_fields, resource.live_fields)
        for path, value in side.items()
        if isinstance(value, SECRET_TYPES)
    )
    if resource.record is None or not paths:
        return resource
    marks = UNMARKED.with_named_secret_paths(paths)

    def redact(fields: values.Fields) -> values.Fields:
        return {
            path: values.WithheldSecret("masked")
            if not isinstance(value, SECRET_TYPES)
            and (marks.is_secret(path) or marks.has_named_field_below(path))
            else value
            for path, value in fields.items()
        }

    record = resource.record
    record = replace(record, applied=redact(record.applied), seen=redact(record.seen))
    return replace(resource, record=record)


def _iter_read_failures(
    resource: ResourceState, resources: Mapping[Address, ResourceState]
) -> Iterator[Diagnostic]:
    """Why it is unknown whether an object is live: its own failed read, or that of a parent.

    An object without a record is searched for among its parent's members.
    """
    if resource.lookup_result.problem is not None:
        yield resource.lookup_result.problem
    elif resource.observed is None and resource.desired is not None:
        for value in resource.desired.spec.values():
            parent = resources.get(value.address) if isinstance(value, values.Reference) else None
            if parent is not None and parent.lookup_result.problem is not None:
                yield parent.lookup_result.problem
