"""What a state stores: records, open intents, audit entries. Secrets only as MACs.

Field names here are the JSON keys of every stored state. A field that is renamed names its key
(`KEY` of text_forms.py); `tests/frozen/keys.json` holds the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_values import FORM_METADATA_KEY, OMITTED_BY_DEFAULT
from synapse_apply.model.packages import DIGEST_FORM
from synapse_apply.model.remote import REMOTE_ID_FORM
from synapse_apply.model.values import Fields, Mac, map_json

# Format 2 added to format 1 what is left out by default (`given_up`, `before`, ...): a version of
# format 1 drops it from each row that it writes.
STATE_FORMAT = 2


@frozen
class BackendIdentity:
    """Which backend, tenant and data set a state is of.

    `url` is the backend's base URL without the last slash, or `embedded:` for the embedded
    backend, whose `data_set` (a UUID) then identifies it.
    """

    url: str
    tenant: str = ""
    data_set: str = ""


@frozen
class ProjectAndKeyIds:
    """What all who use a shared state must have in common; "" where a state does not say.

    `project_id` is the id in their project file, `key_id` that of their state key, `target` the
    name of the target that it is the state of.
    """

    project_id: str = ""
    key_id: str = ""
    target: str = ""


NO_SHARED_IDS = ProjectAndKeyIds()


@frozen
class StateProgress:
    """How far a state has progressed; both numbers only grow.

    `serial` counts its changes, `fence` how often its lock was taken.
    """

    serial: int
    fence: int

    def has_reached(self, other: StateProgress) -> bool:
        """Whether both numbers are at least those of the other."""
        return self.serial >= other.serial and self.fence >= other.fence

    def join_maximum(self, other: StateProgress) -> StateProgress:
        """The maximum of each number."""
        return StateProgress(max(self.serial, other.serial), max(self.fence, other.fence))

    def with_next_serial_if_known(self) -> StateProgress:
        """The progress with the next serial; NO_PROGRESS stays as it is."""
        # A lineage that was never seen sets no lower limit.
        return self if self == NO_PROGRESS else StateProgress(self.serial + 1, self.fence)


NO_PROGRESS = StateProgress(0, 0)


@frozen
class StateHeader:
    """Whose state it is, and how far it has progressed."""

    identity: BackendIdentity
    lineage: str
    progress: StateProgress


@frozen
class Acceptance:
    """Fields whose difference between declared and live value `state accept` has accepted.

    It holds for a field until its applied or seen value changes. `applied` and `seen` are the
    record's earlier values at these paths, which `state accept --undo` restores. `until` is the
    last day (UTC) on which it holds, "" for one without end.
    """

    paths: tuple[FieldPath, ...] = ()
    applied: Fields = field(default_factory=dict)
    seen: Fields = field(default_factory=dict)
    until: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    reason: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})

    def has_ended(self, today: str) -> bool:
        return bool(self.until) and self.until < today


# What was sent (`applied`) and what the server answered (`seen`) are kept apart, per field. So a
# server that normalises a value causes no endless difference, and a change made outside can be told
# from a change in Git. `seen` is only ever compared, never shown as the truth.
@frozen
class Record:
    """What the state stores of one address.

    `applied` is what we sent and `seen` what the server answered to it, each by field; an
    imported record has no `applied`. `digest` is the digest of the package we published (None
    where no package was ours); `files` its content list. `natural_key` is the identity the kind
    derives from its fields, by which a renamed manifest is recognised. `series` and `version` place
    the record among its newer and older siblings. `verification` is a LastRun as JSON. `proven`
    says that the bytes on the server were read back: their `digest`, and the time `at`. `unkept`
    are fields that were sent and that the server's answers lack: they are not compared until one
    has them. `given_up` are calls of this object whose answer nobody saw, the newest last: one
    may still act. `replaced_at`: when another package took the place of the first one under this
    id, "" where none did. `doubted`: the digest of a package that was sent without an answer, where
    nothing shows whether the object that was found has it. `origins` says by whom each field that
    was seen is as it is (`FOUND` and its like before an id), at the empty path for all others: ""
    where nobody knows. Times are RFC 3339 UTC.
    """

    address: Address
    remote_id: str = field(metadata={FORM_METADATA_KEY: REMOTE_ID_FORM})
    api: str
    natural_key: str = ""
    applied: Fields = field(default_factory=dict)
    seen: Fields = field(default_factory=dict)
    salt: str = ""
    digest: str | None = field(default=None, metadata={FORM_METADATA_KEY: DIGEST_FORM})
    files: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False
    verification: Mapping[str, Any] | None = None
    depends_on: tuple[Address, ...] = ()
    series: str = ""
    version: str = ""
    created_at: str = ""
    updated_at: str = ""
    proven: Mapping[str, str] = field(default_factory=dict)
    accepted: Acceptance | None = None
    unkept: tuple[str, ...] = ()
    given_up: tuple[Intent, ...] = field(default=(), metadata={OMITTED_BY_DEFAULT: True})
    replaced_at: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    doubted: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    origins: Mapping[FieldPath, str] = field(
        default_factory=dict, metadata={OMITTED_BY_DEFAULT: True}
    )

    def with_given_up(self, intent: Intent, settle_after: float) -> Record:
        """A copy that remembers a call without an answer.

        Those that may still act are kept, up to MAX_ACTING, repeated ones least; with the others
        the last MAX_GIVEN_UP. One that was sent twice stays of unknown outcome where it is found
        done: the first try may still act.
        """
        is_done = intent.state is IntentState.DONE
        untold = (call.id for call in self.given_up if call.state is IntentState.UNKNOWN)
        if is_done and intent.id in untold:
            return self
        others = [call for call in self.given_up if call.id != intent.id]

        def rank(call: Intent) -> tuple[bool, bool, bool]:
            left = call.seconds_left(settle_after, intent.sent_at, intent.sent_up)
            later = (*others[others.index(call) + 1 :], intent)
            is_repeated = any(call.effect == one.effect for one in later)
            return left > 0, call.state is IntentState.UNKNOWN, not is_repeated

        while len(others) >= MAX_GIVEN_UP:
            least = min(others, key=rank)  # the oldest of them
            if rank(least)[0] and len(others) < MAX_ACTING:
                break
            others.remove(least)
        # Nobody gets its approvals back from here.
        return replace(
            self,
            applied=self.applied if is_done else self.doubt_secrets(intent),
            given_up=(*others, replace(intent, approvals=(), files={})),
        )

    def origin(self, path: FieldPath) -> str:
        """By whom a field is as it was seen, "" where nobody knows."""
        return self.origins.get(path, self.origins.get((), ""))

    @property
    def is_package_untold(self) -> bool:
        """Whether nothing shows that the published package is the one that was sent."""
        return bool(self.doubted) and self.doubted == self.digest != self.proven.get("digest")

    @property
    def calls_by_name(self) -> tuple[Intent, ...]:
        """The given-up calls that act on whatever has the object's name, whichever id that has."""
        return tuple(call for call in self.given_up if call.verb in {CREATE_VERB, REPLACE_VERB})

    def is_object_of(self, call: Intent) -> bool:
        """Whether a call, but a create, is one of the recorded object."""
        return (self.api, self.remote_id) == (call.api, call.remote_id)

    def doubt_secrets(self, call: Intent) -> Fields:
        """What was applied; of a secret that a call without an answer changes nobody knows.

        So it is of one that an update sent again, where it sent nothing else that was new.
        """
        sends_secrets_alone = call.before.keys() <= call.fields.keys() and all(
            isinstance(value, Mac)
            or value == call.before.get(path)
            or (value, call.before.get(path)) == (self.applied.get(path), self.seen.get(path))
            for path, value in call.fields.items()
        )
        return {
            path: replace(value, digest=Mac.UNSEEN)
            if isinstance(value, Mac)
            and not call.makes_another
            and (path in call.fields or path in call.before)
            and (
                call.fields.get(path) != value
                or (sends_secrets_alone and call.before.get(path) != value)
            )
            else value
            for path, value in self.applied.items()
        }

    def is_same_object_elsewhere(self, api: str, natural_key: str) -> bool:
        """Whether an object found by this key in another API version is the recorded one."""
        # Each API version has ids of its own, so only the natural key can be compared.
        return self.api != api and self.natural_key == natural_key != ""


CREATE_VERB = "create"
# An upload that puts another package in the place of the published one, under the same id.
REPLACE_VERB = "replace"
MAX_GIVEN_UP = 5
MAX_ACTING = 50
# The suffix of a commit's label where files of the checkout differ from the commit.
DIRTY_SUFFIX = "-dirty"


# An origin of a field is the id of the call that set it. Behind FOUND it is that of a call which
# sent what was found later, behind ACCEPTED the plan id of a `state accept`.
FOUND, ACCEPTED = "found:", "accepted:"
# Begins the ids of approvals that are the rows of saved plans: each is done once by its plan.
PLAN_ROW_PREFIX = "plan-row."


class IntentState(Enum):
    """An intent is OPEN from the moment it is stored until the outcome of its call is known.

    UNKNOWN is one that was closed because nothing can tell its outcome any more.
    """

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    ABSENT = "absent"
    UNKNOWN = "unknown"

    @property
    def outcome(self) -> str:
        """What `state settle`, the history and reports call it."""
        return {"absent": "not done", "unknown": "cannot be told"}.get(self.value, self.value)


WITHOUT_EFFECT = frozenset({IntentState.FAILED, IntentState.ABSENT})


# The age of a call is uptime where the boot is the same, and the wall clocks elsewhere: nobody can
# set uptime.
@frozen
class Uptime:
    """How long a machine has been up, in seconds; unlike a wall clock it cannot be set.

    `boot` identifies the boot since which it counts; without one ("") the seconds mean nothing.
    """

    boot: str = ""
    seconds: float = 0.0


@frozen
class Intent:
    """A mutating call that is about to be sent; stored before it is.

    `fields` and `digest` become the record's if the call succeeds. `sent_at` is RFC 3339 UTC,
    `sent_up` the same moment as uptime; `deadline` is the request's total deadline in seconds.
    `remote_id` is empty for a create, unless its object was found, and forgotten since.

    For a run, `fields` are the context that was sent, `digest` is that of its parameters, `version`
    the requested one ("" where the server chooses), and `remote_id` the id of what
    is run; once its outcome is known, the job's.

    `approvals` are the ids of those that the call uses up, which are usable again if the intent is
    closed as FAILED or ABSENT. `before` are the live values, as a record has them, of the fields
    that an update sends or removes, read just before it; empty in intents of earlier versions.
    `found` has what it changes as it was when that was looked at, where it cannot be told.
    `beside` has keyed digests of the live values that nobody declared and an update sends back.
    `sender` has `who`, `command`, `run`, `commit` and `trace` of the run that sends it.
    """

    id: str
    plan_id: str
    address: Address
    verb: str
    api: str
    natural_key: str
    remote_id: str = ""
    fields: Fields = field(default_factory=dict)
    salt: str = ""
    digest: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    depends_on: tuple[Address, ...] = ()
    series: str = ""
    version: str = ""
    protected: bool = False
    sent_at: str = ""
    sent_up: Uptime = Uptime()
    deadline: float = 0.0
    state: IntentState = IntentState.OPEN
    approvals: tuple[str, ...] = field(default=(), metadata={OMITTED_BY_DEFAULT: True})
    before: Fields = field(default_factory=dict, metadata={OMITTED_BY_DEFAULT: True})
    found: Fields = field(default_factory=dict, metadata={OMITTED_BY_DEFAULT: True})
    beside: Fields = field(default_factory=dict, metadata={OMITTED_BY_DEFAULT: True})
    sender: Mapping[str, str] = field(default_factory=dict, metadata={OMITTED_BY_DEFAULT: True})

    @property
    def makes_another(self) -> bool:
        """Whether all that it could still do is to make an object, beside any that is there."""
        return self.verb == CREATE_VERB and self.digest is None

    @property
    def effect(self) -> tuple[object, ...]:
        """What it does if it acts, equal for a call that is sent again."""
        sent = (self.verb, self.api, self.remote_id, self.digest)
        # In Python True == 1.
        sides = map_json(
            [self.fields, self.before, self.beside],
            lambda value: (bool, value) if isinstance(value, bool) else value,
        )
        return *sent, *sides

    @property
    def is_doubted(self) -> bool:
        """Whether nobody knows that it acted; what a create was found by, others may have made."""
        is_found = self.state is IntentState.DONE and self.verb == CREATE_VERB
        return is_found or self.state is IntentState.UNKNOWN

    def seconds_left(self, settle_after: float, now: str, uptime: Uptime) -> float:
        """For how many seconds the call may still act; 0 or less once it cannot any more.

        On the machine that sent it its age is counted as uptime, as a wall clock that was set
        forward would end the wait early. Elsewhere the wall clocks count (`now` is RFC 3339 UTC);
        one that was set back prolongs the wait.
        """
        if uptime.boot and uptime.boot == self.sent_up.boot:
            age = uptime.seconds - self.sent_up.seconds
        else:
            sent = datetime.fromisoformat(self.sent_at)
            age = (datetime.fromisoformat(now) - sent).total_seconds()
        # A call of the future (clocks of two machines) counts as sent just now.
        return self.deadline + settle_after - max(age, 0.0)


@frozen
class AuditEntry:
    """One mutating call or state change for `state history`: digests, never values.

    `commit` is a label. `command` is the command's name (`apply`, `state accept`), "" in entries of
    earlier versions. `dirty` are the first files of the checkout that differ from the commit.
    `trace` is the run's TRACEPARENT (W3C Trace Context). All that is of the run that sent the call;
    `settled_by` says who found out how it ended, by which command and plan, if another one did.
    `call` is the id of the call's intent. `put_back` has the fields that were changed outside and
    that it changed again, each with its origin before that.
    """

    at: str
    who: str
    run: str
    plan_id: str
    address: str
    verb: str
    remote_id: str
    request_id: str
    result: str
    digest: str = ""
    commit: str = ""
    command: str = ""
    dirty: tuple[str, ...] = ()
    trace: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    settled_by: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    call: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    put_back: Mapping[FieldPath, str] = field(
        default_factory=dict, metadata={OMITTED_BY_DEFAULT: True}
    )


@frozen
class State:
    """A consistent snapshot of a state, without its audit entries.

    `forgotten_calls` had ended when the record of their object went. A record of that object has
    them as given up again.
    """

    lineage: str
    serial: int
    binding: BackendIdentity
    records: Mapping[Address, Record] = field(default_factory=dict)
    open_intents: tuple[Intent, ...] = ()
    forgotten_calls: tuple[Intent, ...] = field(default=(), metadata={OMITTED_BY_DEFAULT: True})

    @property
    def calls(self) -> tuple[Intent, ...]:
        """The calls whose secrets no record need have."""
        return (*self.open_intents, *self.forgotten_calls)
