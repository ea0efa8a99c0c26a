"""What a step of an apply is, and the ports and callbacks that all steps share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import field

from synapse_apply.applying.claimed_ids import ClaimedIds
from synapse_apply.applying.executors import SerialExecutor
from synapse_apply.applying.permits import FinalPermit
from synapse_apply.applying.steps.plain_forms import AcceptedPlainForms
from synapse_apply.kinds.descriptor import Api, ApiBinding, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.coding.codec import fields_to_json
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import CallEnded, Effect, RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Capabilities, Observed
from synapse_apply.model.plan import Action, Change, FieldChange
from synapse_apply.model.ports import Clock, Packages, Progress, Secrets, Slot, StateStore
from synapse_apply.model.resource import Desired
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import AuditEntry, Intent, Record, Uptime
from synapse_apply.model.values import Fields

CREATES = frozenset({Action.CREATE, Action.RECREATE})
# The live objects known so far, including those that this run has created.
LiveObjects = Mapping[Address, Observed]


@frozen
class Step:
    """One change to carry out, after everything in `predecessors` has succeeded.

    `declared_fields` are the declared fields as a record stores them: secrets as Mac, without those
    that could not be resolved, with ignored ones. `companion` is created by the same call. `unkept`
    are fields that the backend is known not to keep for any object of the kind.
    """

    change: Change
    type: ResourceType
    binding: ApiBinding
    predecessors: tuple[Address, ...] = ()
    desired: Desired | None = None
    record: Record | None = None
    observed: Observed | None = None
    declared_fields: Fields = field(default_factory=dict)
    salt: str = ""
    natural_key: str = ""
    companion: Step | None = None
    unkept: frozenset[str] = frozenset()

    @property
    def address(self) -> Address:
        return self.change.address

    @property
    def ignored_and_held_paths(self) -> tuple[FieldPath, ...]:
        """The paths that an update leaves as they are live: ignored fields, and kept drift."""
        ignored = self.desired.lifecycle.ignore_changes if self.desired else ()
        return (*ignored, *(held_change.path for held_change in self.change.held))

    @property
    def has_call_or_record_write(self) -> bool:
        """Whether the step makes a call or writes a record, before its verification run."""
        if self.change.action is Action.UPDATE and not self.change.replaces_package:
            return bool(self.fields_without_final_call) or self.change.rebase
        return self.change.action is not Action.NO_OP or self.change.rebase

    @property
    def has_final_call(self) -> bool:
        """Whether the step ends with a final call, which cannot be undone."""
        return len(self.fields_without_final_call) < len(self.change.fields)

    @property
    def has_call_before_final_call(self) -> bool:
        """Whether an object is made, adopted or updated before its final call."""
        return self.change.action is not Action.UPDATE or bool(self.fields_without_final_call)

    @property
    def fields_without_final_call(self) -> tuple[FieldChange, ...]:
        """The differing fields without the one that the final call sets."""
        seal, changes = self.binding.final_call, self.change.fields
        return tuple(change for change in changes if seal is None or not seal.makes_change(change))


def list_step_and_companion(step: Step) -> tuple[Step, ...]:
    """The steps whose objects this step's call creates: itself, and its companion."""
    return (step,) if step.companion is None else (step, step.companion)


# The number of changed files of a checkout that an audit entry has.
_MAX_DIRTY_FILES = 20
# `json.dumps` would make one at each call.
_DIGEST_ENCODER = json.JSONEncoder(sort_keys=True)


# Both entries are built here, of calls and of changes of the state alone (moves, imports, adopted
# and forgotten objects): an auditor asks for both.
@frozen
class Actor:
    """Who applies: `who` is user@host, with the CI run's URL and the commit where there are any.

    `command` is the command line; `dirty` are the checkout's files that differ from the commit.
    `trace` is the run's TRACEPARENT.
    """

    who: str
    run: str = ""
    commit: str = ""
    command: str = ""
    dirty: tuple[str, ...] = ()
    trace: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """What an intent keeps of who sends its call, without what is empty."""
        names = ("who", "command", "run", "commit", "trace")
        return {name: value for name in names if (value := getattr(self, name))}

    def build_audit_entry(
        self,
        intent: Intent,
        result: str,
        *,
        moment: str,
        plan_id: str = "",
        request_id: str | None = None,
    ) -> AuditEntry:
        """The audit entry of a call that this actor made or settled, with digests, never values.

        `plan_id` is that of the run that made or settled it, "" where a person settles it.
        """
        text = _DIGEST_ENCODER.encode(fields_to_json(intent.fields))
        is_own = plan_id == intent.plan_id
        sender = self.facts if is_own else intent.sender
        settler = ", ".join(filter(None, (self.who, f"{self.command} {plan_id}".strip())))
        return AuditEntry(
            at=moment,
            who=sender.get("who", ""),
            run=sender.get("run", ""),
            commit=sender.get("commit", ""),
            command=sender.get("command", ""),
            dirty=self.dirty[:_MAX_DIRTY_FILES] if is_own else (),
            plan_id=intent.plan_id,
            address=str(intent.address),
            verb=intent.verb,
            remote_id=intent.remote_id,
            request_id=request_id or "",
            result=result,
            digest=intent.digest or "sha256:" + hashlib.sha256(text.encode()).hexdigest(),
            trace=sender.get("trace", ""),
            settled_by="" if is_own else settler,
        )

    def build_state_audit_entry(
        self, address: Address, verb: str, *, moment: str, plan_id: str, remote_id: str = ""
    ) -> AuditEntry:
        """The audit entry of a change of the state without a call, such as a rename."""
        return AuditEntry(
            at=moment,
            who=self.who,
            run=self.run,
            commit=self.commit,
            command=self.command,
            dirty=self.dirty[:_MAX_DIRTY_FILES],
            plan_id=plan_id,
            address=str(address),
            verb=verb,
            remote_id=remote_id,
            request_id="",
            result="done",
            trace=self.trace,
        )


class StepNotStarted(Exception):
    """Raised where the run shall end and nothing of the step was sent."""


@frozen
class ApplyTools:
    """The ports and callbacks that all steps of one apply share.

    `settle_after` and the result of `max_call_seconds`, after which a call that uploads so many
    bytes must have ended, are in seconds. `last_request_id` gives the server's id of the last
    request of this thread ("" without one). `read_uptime` counts elapsed time, which no change of a
    wall clock affects. `on_observed` is called with each object as a call has left it, since later
    steps need its id; `on_job_followed` with each followed job, after it is recorded.
    `write_recovery_file` stores the outcome of a call that could not be recorded, and returns the
    file ("" if that failed, too). `target` is for commands in messages. `slot` limits concurrent
    calls; `stop_reason` says why no other call may begin ("" while it may). `started_addresses` are
    those whose calls may have been sent. `may_adopt` allows a create that meets an existing object
    to adopt it. `claimed_ids` has the address of each remote id. `sign_record` signs a record's
    last run, where there is a key. `accepted_plain_forms` are the fields of which the backend has
    accepted only the plain form. `permit` says whether calls may begin at all; `approvals` are the
    ids of those that the first write of an address uses up.
    """

    api: Api
    store: StateStore
    secrets: Secrets
    packages: Packages
    clock: Clock
    progress: Progress
    marks: SecretMarks
    actor: Actor
    plan_id: str
    last_request_id: Callable[[], str]
    capabilities: Capabilities = Capabilities()
    max_call_seconds: Callable[[int], float] = lambda _size: 60.0
    settle_after: float = 30.0
    sleep: Callable[[float], None] = lambda _seconds: None
    read_uptime: Callable[[], Uptime] = Uptime
    on_observed: Callable[[Address, Observed], None] = lambda _address, _observed: None
    on_job_followed: Callable[[Address, str], None] = lambda _address, _job: None
    target: str = ""
    slot: Slot = field(default_factory=SerialExecutor)
    stop_reason: Callable[[], str] = lambda: ""
    started_addresses: set[Address] = field(default_factory=set)
    may_adopt: bool = False
    claimed_ids: ClaimedIds = field(default_factory=ClaimedIds)
    write_recovery_file: Callable[[Intent, Record | None, AuditEntry], str] = lambda *_ended: ""
    sign_record: Callable[[Record], Record] = lambda record: record
    accepted_plain_forms: AcceptedPlainForms = field(default_factory=AcceptedPlainForms)
    permit: FinalPermit = field(default_factory=FinalPermit)
    approvals: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)

    def acquire_slot_and_mark_started_or_raise_not_started(self, *addresses: Address) -> None:
        """Wait for a slot to call the backend; raises StepNotStarted where the run shall end."""
        if self.slot.acquire_slot_unless_held() and self.stop_reason():
            raise StepNotStarted
        self.started_addresses.update(addresses)

    def require_permit_or_raise_not_started(self) -> None:
        """Raise StepNotStarted where no call may begin any more."""
        if self.permit.explain_missing_or_empty():
            raise StepNotStarted

    def explain_unsent_call_or_empty(self, failure: RemoteError) -> str:
        """Why a failed call was not let out for want of a permit; "" if it failed otherwise."""
        was_kept = isinstance(failure, CallEnded) and failure.effect is Effect.NONE
        return self.permit.final_reason if was_kept else ""
