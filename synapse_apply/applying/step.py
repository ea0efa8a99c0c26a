"""What a step is: one change with all that its calls need; who carries it out, and may."""

from __future__ import annotations

import hashlib
import json
from dataclasses import field
from functools import cached_property
from threading import Lock
from typing import Any

from synapse_apply.kinds.descriptor import ApiBinding, ResourceType, SeriesMember
from synapse_apply.model.address import Address
from synapse_apply.model.codec import fields_to_json
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import Spec
from synapse_apply.model.plan import Action, Change, FieldChange
from synapse_apply.model.ports import CallPermit
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.resource import Desired, Observed, Package
from synapse_apply.model.state import AuditEntry, Intent, Record
from synapse_apply.model.values import Fields

CREATES = frozenset({Action.CREATE, Action.RECREATE})


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

    @cached_property
    def address(self) -> Address:
        return self.change.address

    @property
    def spec(self) -> Spec:
        return self.desired.spec if self.desired else {}

    @property
    def package(self) -> Package | None:
        return self.desired.package if self.desired else None

    @property
    def series(self) -> SeriesMember:
        """Series and version as a record has them; both "" without."""
        if self.desired is None:
            return SeriesMember("", "")
        return self.type.locate_in_series(self.desired.spec)

    @property
    def protected(self) -> bool:
        return bool(self.desired and self.desired.lifecycle.prevent_destroy)

    @property
    def all_created(self) -> tuple[Step, ...]:
        """The steps whose objects this step's call creates: itself, and its companion."""
        return (self,) if self.companion is None else (self, self.companion)

    @property
    def ignored_and_held_paths(self) -> tuple[FieldPath, ...]:
        """The paths that an update leaves as they are live: ignored fields, and kept drift."""
        ignored = self.desired.lifecycle.ignore_changes if self.desired else ()
        return (*ignored, *(held_change.path for held_change in self.change.held))

    @property
    def has_call_or_record_write(self) -> bool:
        """Whether the step makes a call or writes a record, before its verification run."""
        if self.change.action is Action.UPDATE and not self.change.replaces_package:
            return bool(self.plain_fields) or self.change.rebase
        return self.change.action is not Action.NO_OP or self.change.rebase

    @cached_property
    def has_final_call(self) -> bool:
        """Whether the step ends with a final call, which cannot be undone."""
        return len(self.plain_fields) < len(self.change.fields)

    @cached_property
    def plain_fields(self) -> tuple[FieldChange, ...]:
        """The differing fields without the one that the final call sets."""
        seal, changes = self.binding.final_call, self.change.fields
        return tuple(change for change in changes if seal is None or not seal.makes_change(change))

    def outcome(
        self,
        result: Result,
        *findings: Diagnostic,
        remote_id: str = "",
        request_id: str | None = None,
    ) -> Outcome:
        """What has become of this step."""
        return Outcome(
            self.address,
            self.change.action,
            result,
            remote_id,
            request_id or "",
            diagnostics=findings,
        )


# The number of changed files of a checkout that an audit entry has.
_MAX_DIRTY_FILES = 20
_SENDER_FACTS = ("who", "run", "commit", "command", "trace")
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

    @cached_property
    def facts(self) -> dict[str, str]:
        """What an intent keeps of who sends its call, without what is empty."""
        return {name: value for name in _SENDER_FACTS if (value := getattr(self, name))}

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
        settler = ", ".join(filter(None, (self.who, f"{self.command} {plan_id}".strip())))
        sender = self.facts if is_own else intent.sender
        facts: dict[str, Any] = {name: sender.get(name, "") for name in _SENDER_FACTS}
        return AuditEntry(
            at=moment,
            dirty=self.dirty[:_MAX_DIRTY_FILES] if is_own else (),
            plan_id=intent.plan_id,
            address=str(intent.address),
            verb=intent.verb,
            remote_id=intent.remote_id,
            request_id=request_id or "",
            result=result,
            digest=intent.digest or "sha256:" + hashlib.sha256(text.encode()).hexdigest(),
            settled_by="" if is_own else settler,
            call=intent.id,
            **facts,
        )

    def build_state_audit_entry(
        self, address: Address, verb: str, *, moment: str, plan_id: str, remote_id: str = ""
    ) -> AuditEntry:
        """The audit entry of a change of the state without a call, such as a rename."""
        facts: dict[str, Any] = {name: self.facts.get(name, "") for name in _SENDER_FACTS}
        return AuditEntry(
            at=moment,
            dirty=self.dirty[:_MAX_DIRTY_FILES],
            plan_id=plan_id,
            address=str(address),
            verb=verb,
            remote_id=remote_id,
            request_id="",
            result="done",
            **facts,
        )


class FinalPermit:
    """A CallPermit whose first reason stays: after it nothing begins any more.

    Without a permit every call may begin. For any thread.
    """

    def __init__(self, permit: CallPermit | None = None) -> None:
        """`permit` is asked until it gives a reason, and never again."""
        self._permit = permit
        self._mutex = Lock()
        # Why no call may begin any more, as it was told; "" before.
        self.final_reason = ""

    def explain_missing_or_empty(self) -> str:
        """Why no call may begin, as a phrase; "" while calls may. Waits as long as the permit."""
        reason = self.final_reason
        if self._permit is None or reason:
            return reason
        try:
            reason = self._permit.explain_missing_or_empty()
        # Of one that cannot be read nobody knows whether it still holds.
        except Exception as failure:  # noqa: BLE001 - whatever it raises
            reason = f"the permit to continue could not be read ({type(failure).__name__})"
        with self._mutex:
            # Another thread may have had a reason meanwhile: that one stays.
            self.final_reason = self.final_reason or reason
            return self.final_reason
