"""What state remembers. Never a secret: secret fields are Macs.

Field names here are the JSON keys of every stored state. A field that is renamed names its key
(`KEY` of text_forms.py); `tests/frozen/keys.json` holds the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.coding.text_forms import FORM_METADATA_KEY
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages.digest import DIGEST_FORM
from synapse_apply.model.remote.remote_ids import REMOTE_ID_FORM
from synapse_apply.model.values import Fields

STATE_FORMAT = 1


@frozen
class StateIdentity:
    """What a state belongs to.

    `url` is the backend's base URL without the last slash, or `embedded:` for the embedded
    backend, whose `data_set` (a UUID) then identifies it.
    """

    url: str
    tenant: str = ""
    data_set: str = ""


@frozen
class StateProgress:
    """How far a state has come. Both numbers only grow.

    `serial` counts what changed it, `fence` how often its lock was taken.
    """

    serial: int
    fence: int

    def has_reached(self, other: StateProgress) -> bool:
        """Whether it is as far as the other, in both."""
        return self.serial >= other.serial and self.fence >= other.fence

    def max_with(self, other: StateProgress) -> StateProgress:
        """The greater of each number."""
        return StateProgress(max(self.serial, other.serial), max(self.fence, other.fence))

    def with_next_serial(self) -> StateProgress:
        """What is certainly farther; a state that nobody saw begins at the start."""
        return self if self == NO_PROGRESS else StateProgress(self.serial + 1, self.fence)


NO_PROGRESS = StateProgress(0, 0)


@frozen
class Acceptance:
    """Fields whose declared and live values differ, and that `state accept` took for settled.

    It holds for a field until what was applied or seen of it changes. `applied` and `seen` are
    what the record had at these paths before, which `state accept --undo` puts back.
    """

    paths: tuple[Path, ...] = ()
    applied: Fields = field(default_factory=dict)
    seen: Fields = field(default_factory=dict)


# What was sent (`applied`) and what the server answered (`seen`) are kept apart, per field. So a
# server that normalises a value causes no endless difference, and a change made outside can be told
# from a change in Git. `seen` is only ever compared, never shown as the truth.
@frozen
class Record:
    """What we know of one address.

    `applied` is what we sent and `seen` what the server answered to it, each by field; an
    imported record has no `applied`. `digest` is the digest of the package we published (None
    where no package was ours); `files` its content list. `natural_key` is the identity the kind
    derives from its fields, kept to recognise a renamed manifest. `series` and `version` place
    the record among its newer and older siblings. `verification` is a LastRun as JSON. `proven`
    tells that the bytes that the server gives were read here: their `digest`, and `at`. `unkept`
    are the fields that were sent and that no answer has: they are not compared until one has
    them. Times are RFC 3339 UTC.
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

    def is_same_object_in_other_api(self, api: str, natural_key: str) -> bool:
        """Whether what another API version finds by this key is the object that is recorded."""
        return self.api != api and self.natural_key == natural_key != ""


CREATE_VERB = "create"
# Ends the label of a commit whose checkout has other files than it.
DIRTY_SUFFIX = "-dirty"


class IntentState(Enum):
    """An intent is open from its commit until the call it announces has been settled."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    ABSENT = "absent"


# The age of a call is uptime where the boot is the same, and the wall clocks elsewhere: nobody can
# set uptime.
@frozen
class Uptime:
    """How long a machine has been up, in seconds: no wall clock, so nobody can set it.

    `boot` names the machine's run that it counts from; "" where the system tells none, and then
    nothing follows from the seconds.
    """

    boot: str = ""
    seconds: float = 0.0


@frozen
class Intent:
    """A mutating call that is about to be made; durable before it is sent.

    `fields` and `digest` are what the call makes ours. `sent_at` is RFC 3339 UTC, `sent_up` the
    same moment as the machine counts it; `deadline` the request's total deadline in seconds.
    `remote_id` is empty for a create.

    Of a run, `fields` are the context that was sent, `digest` is that of its parameters, `version`
    the one that was asked for ("" where the server was to choose), and `remote_id` the id of what
    is run; once it is settled, the job's.
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


@frozen
class AuditEntry:
    """One mutating call as history shows it: digests, never values.

    `commit` is a label. `command` is what was typed (`apply`, `state accept`), "" in entries of
    earlier versions. `dirty` are the first files of the checkout that were not the commit's.
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


@frozen
class State:
    """A whole state as one read: what the planner sees."""

    lineage: str
    serial: int
    binding: StateIdentity
    records: Mapping[Address, Record] = field(default_factory=dict)
    open_intents: tuple[Intent, ...] = ()
