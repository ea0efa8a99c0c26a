"""What the applier is given for one change, and the tools every task shares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import field

from synapse_apply.applying.claims import Claims
from synapse_apply.applying.executors import Serial
from synapse_apply.applying.forms import PlainForms
from synapse_apply.kinds.descriptor import Binding, ResourceType
from synapse_apply.kinds.sealing import seals
from synapse_apply.model.address import Address
from synapse_apply.model.codec import fields_to_json
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Capabilities, Observed
from synapse_apply.model.plan import Action, Change, FieldChange
from synapse_apply.model.ports import Api, Clock, Packages, Place, Progress, Secrets, StateStore
from synapse_apply.model.state import AuditEntry, Intent, Record, Uptime
from synapse_apply.model.values import Fields

CREATES = frozenset({Action.CREATE, Action.RECREATE})
# The live objects a run knows by now, those it made included.
Live = Mapping[Address, Observed]


@frozen
class Task:
    """One change to carry out, once everything in `after` has been done.

    `want` are the declared fields as a record keeps them (secrets as Mac, those that could not be
    resolved left out, ignored ones too). `carries` is what the same call makes along with it.
    `unkept` are the fields that the backend is known not to keep of any object of the kind.
    """

    change: Change
    type: ResourceType
    binding: Binding
    after: tuple[Address, ...] = ()
    desired: Desired | None = None
    record: Record | None = None
    observed: Observed | None = None
    want: Fields = field(default_factory=dict)
    salt: str = ""
    natural_key: str = ""
    carries: Task | None = None
    unkept: frozenset[str] = frozenset()

    @property
    def address(self) -> Address:
        return self.change.address

    @property
    def left(self) -> tuple[Path, ...]:
        """What an update leaves as it is live: ignored fields, and drift that is kept."""
        ignored = self.desired.lifecycle.ignore_changes if self.desired else ()
        return (*ignored, *(held.path for held in self.change.held))

    @property
    def acts(self) -> bool:
        """Whether there is a step before its run: a call, or a record to be written."""
        if self.change.action is Action.UPDATE:
            return bool(self.fields) or self.change.rebase
        return self.change.action is not Action.NO_OP or self.change.rebase

    @property
    def seals(self) -> bool:
        """Whether it ends with a call that is never taken back."""
        return len(self.fields) < len(self.change.fields)

    @property
    def fields(self) -> tuple[FieldChange, ...]:
        """The differing fields but the one that its last call sets."""
        seal, changes = self.binding.seal, self.change.fields
        return tuple(one for one in changes if seal is None or not seals(seal, one))


def together(task: Task) -> tuple[Task, ...]:
    """What the task's call makes: its own object, and what it carries."""
    return (task,) if task.carries is None else (task, task.carries)


# So many files of a dirty checkout are kept with each call.
_NAMED = 20


@frozen
class Actor:
    """Who applies: `who` is user@host; CI run's URL and commit where there are any.

    `command` is what was typed, `dirty` are the files of the checkout that are not the commit's.
    """

    who: str
    run: str = ""
    commit: str = ""
    command: str = ""
    dirty: tuple[str, ...] = ()

    def audit(
        self,
        intent: Intent,
        result: str,
        *,
        at: str,
        plan_id: str = "",
        request_id: str | None = None,
    ) -> AuditEntry:
        """What history keeps of a call that this actor made or settled: digests, never values.

        `plan_id` is that of the run that settles it, by default of the one that announced it.
        """
        text = json.dumps(fields_to_json(intent.fields), sort_keys=True)
        return AuditEntry(
            at=at,
            who=self.who,
            run=self.run,
            commit=self.commit,
            command=self.command,
            dirty=self.dirty[:_NAMED],
            plan_id=plan_id or intent.plan_id,
            address=str(intent.address),
            verb=intent.verb,
            remote_id=intent.remote_id,
            request_id=request_id or "",
            result=result,
            digest=intent.digest or "sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        )

    def deed(
        self, address: Address, verb: str, *, at: str, plan_id: str, remote_id: str = ""
    ) -> AuditEntry:
        """What history keeps of a change of the state that no call made, such as a rename."""
        return AuditEntry(
            at=at,
            who=self.who,
            run=self.run,
            commit=self.commit,
            command=self.command,
            dirty=self.dirty[:_NAMED],
            plan_id=plan_id,
            address=str(address),
            verb=verb,
            remote_id=remote_id,
            request_id="",
            result="done",
        )


class NotBegun(Exception):
    """The run shall end, and nothing was sent of this task."""


@frozen
class Tools:
    """The ports a task works through. `settle_after` is in seconds.

    `longest_call` gives the seconds after which a call that uploads so many bytes has surely
    ended. `request_id` gives the server's id of the last request this thread made ("" without one).
    `pause` waits so many seconds. `uptime` counts what no wall clock does. `saw` is told each
    object as a call of this run left it; what depends on it is made from that. `follows` is told
    each job that is waited for, once it is recorded. `keep_aside` keeps
    a call that has ended and could not be recorded, and gives the place, "" where there is none.
    `target` is named in the commands that are printed. `place` is the task's among those that call
    the backend, `stops` why no other call may begin, "" while it may. `begun` are the addresses of
    which something may be done by now: announced, or in their place. `adopts`: what turns out to
    exist while it is made may be taken over, unseen by whoever approved the plan. `claims` tell
    whose object an id is. `sign` signs what a record remembers of its last run, where there is a
    key. `plain_forms` are the fields that this backend takes in their plain form only.
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
    request_id: Callable[[], str]
    capabilities: Capabilities = Capabilities()
    longest_call: Callable[[int], float] = lambda _size: 60.0
    settle_after: float = 30.0
    pause: Callable[[float], None] = lambda _seconds: None
    uptime: Callable[[], Uptime] = Uptime
    saw: Callable[[Address, Observed], None] = lambda _address, _observed: None
    follows: Callable[[Address, str], None] = lambda _address, _job: None
    target: str = ""
    place: Place = field(default_factory=Serial)
    stops: Callable[[], str] = lambda: ""
    begun: set[Address] = field(default_factory=set)
    adopts: bool = False
    claims: Claims = field(default_factory=Claims)
    keep_aside: Callable[[Intent, Record | None, AuditEntry], str] = lambda *_ended: ""
    sign: Callable[[Record], Record] = lambda record: record
    plain_forms: PlainForms = field(default_factory=PlainForms)

    def take_place(self, *addresses: Address) -> None:
        """Wait for a place among those that call the backend; NotBegun where the run ends first."""
        if self.place.enter() and self.stops():
            raise NotBegun
        self.begun.update(addresses)
