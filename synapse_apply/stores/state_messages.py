"""What each error and warning of a state store says, by its rule, the same for every store.

Which format of a state is read: the known one; that of a newer version is refused. The number is in
table `meta`; a file's header has that of its tables. What holds a state has a format of its own: a
link of a chain (`chain/link_format.py`), a commit (`git/state_files.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, fill
from synapse_apply.model.diagnostic import Diagnostic, Severity
from synapse_apply.model.errors import Exit, InputError, LockHeld, LockLost, StateError
from synapse_apply.model.state import STATE_FORMAT, Record
from synapse_apply.stores.database import BatchNotSent, DamagedLog, LogReading, Signer


class StoreBusyError(StateError):
    """The database stayed locked by another process for as long as a write waits.

    That may be a suspended run, to which the system still grants the file's lock.
    """

    exit_code = Exit.LOCKED


RUN_AGAIN_HINT = "Run the command again: it settles first what was under way."
NOTHING_LOST_NOTE = "What was recorded before is kept."
NOT_VERIFIED = "The state is not verified"
FORGED = "The state has an entry that is not signed with its key"
MAKER = "Another process that makes or restores a state"

_RESTORE = Command("state restore FILE")
_RESTORE_HINT = Text("Restore a backup: ", _RESTORE, ".")
_FOREIGN = "This is not a state of synapse-apply"
_FOREIGN_FILE_HINT = Text(
    "Check the path; the file was not touched. If the state was overwritten, move the file away "
    "and restore a backup: ",
    _RESTORE,
    ".",
)
_DAMAGED = "The state is damaged"
_LOCKED, _LOST = "The state is locked", "The lock on the state was lost"
_WAIT_HINT = "Wait until it has ended and try again."
_SET_BACK_HINT = Text(
    _RESTORE,
    ". If what is there is right: ",
    Command("state backup FILE"),
    ", then ",
    _RESTORE,
    " with that file.",
)
_HIDDEN = "It may leave out what is a secret, so values of free-form fields are not shown."
_OTHER_SIGNED = "{location}: {name} was written by somebody who does not have the key of this state"


class _Message(NamedTuple):
    summary: str
    detail: str
    hint: str = ""


# By rule: summary, detail and hint, with `{names}` of what the caller gives; `{owner}` is the
# subject of a sentence, `{activity}` begins one (Reading, Opening, Writing), `{reason}` ends one.
_MESSAGES: Mapping[str, _Message] = {
    "missing": _Message(
        "There is no state",
        "No state was found at {location}.",
        Text(
            "Restore a backup (",
            _RESTORE,
            "), record what exists already (",
            Command("import -f INVENTORY"),
            ", or `import ADDRESS ID`), or start with an empty state (",
            Command("state init"),
            ").",
        ),
    ),
    "exists": _Message(
        "There is a state already",
        "{location} holds a state; it is left as it is.",
        "Use it as it is, or name another place for this target.",
    ),
    "foreign file": _Message(
        _FOREIGN,
        "{location} {reason}.",
        _FOREIGN_FILE_HINT,
    ),
    "no sqlite": _Message(_FOREIGN, "{location} is not an SQLite database.", _FOREIGN_FILE_HINT),
    "newer": _Message(
        "The state was written by a newer version of synapse-apply",
        "{location} has format {format}; this version reads up to {known}.",
        Text(
            "Use the newer version. To go back to this one, restore with the newer version a "
            "backup from before the upgrade: ",
            _RESTORE,
            ".",
        ),
    ),
    "damaged": _Message(_DAMAGED, "{location}: {reason}.", _RESTORE_HINT),
    "unstorable": _Message("A value cannot be stored in state", "{location}: {reason}."),
    "not locked": _Message(
        "The state is not locked",
        "A write to {location} was tried without its lock.",
    ),
    "locked here": _Message(
        "The state is locked by this process already",
        "{location} was to be locked again for {operation}; a lock is not re-entrant.",
    ),
    "held": _Message(_LOCKED, "{owner} holds {location}.", _WAIT_HINT),
    "held with id": _Message(
        _LOCKED,
        "{owner} holds {location}.",
        f"{_WAIT_HINT} If it is gone for good: {{unlock}}.",
    ),
    "taken over": _Message(
        _LOST,
        "{owner} has taken {location} over. This write was not done.",
        RUN_AGAIN_HINT,
    ),
    "lock removed": _Message(
        _LOST,
        "The lock on {location} was removed. This write was not done.",
        RUN_AGAIN_HINT,
    ),
    "lease over": _Message(
        "The lock on the state ran out",
        "This process did not renew its lock on {location} for {silent} seconds; after {lease} "
        "another may take its place. Nothing was written since.",
        f"It was suspended, or could not reach the state in time. {RUN_AGAIN_HINT}",
    ),
    "no lock": _Message(
        "The state is not locked",
        "{location} has no lock; there is nothing to remove.",
    ),
    "other lock": _Message(
        "Another lock is on the state",
        "{id} is not the lock on {location}: {owner} holds it.",
        "If that one is gone for good: {unlock}.",
    ),
    "busy": _Message("The state is busy", "{activity} {location}: {reason}.", "{hint}"),
    "file busy": _Message(
        "The state is busy",
        "{activity} {location}: another process is in the middle of a write, or was stopped there.",
        "Let it finish or end it, then try again.",
    ),
    "disk fault": _Message(
        "The state cannot be read or written on this disk",
        "{activity} {location} failed: {reason}. What was recorded before is intact.",
        "Check quota, limits (ulimit -f) and the health of the disk, then try again.",
    ),
    "unreadable": _Message(
        "The state cannot be read",
        "{activity} {location} failed: {reason}.",
        "Check the file, its folder and who owns them; both must be writable by you.",
    ),
    "unwritable": _Message(
        "The state cannot be written",
        "{activity} {location} failed: {reason}.",
        "Check the file, its folder and who owns them; both must be writable by you.",
    ),
    "disk full": _Message(
        "The disk is full",
        "{activity} {location} failed: {reason}. What was recorded before is intact.",
        "Free some space there and try again.",
    ),
    "unusable": _Message("The state cannot be used", "{activity} {location} failed: {reason}."),
    # Two manifests would manage one object.
    "one object": _Message(
        "One object under two addresses",
        "{address} has the id {id} ({kind}, API {api}), which {other} has already.",
        "If the object was renamed: {move}. If it is not {other}: {forget}.",
    ),
    "unknown address": _Message(
        "The state does not know this address",
        "{address} is not recorded in {location}.",
        Text(Command("state show"), " shows what is."),
    ),
    "address taken": _Message(
        "The address is taken",
        "{address} is recorded in {location} already.",
        "Choose another one, or forget it first: {forget}.",
    ),
    "open call": _Message(
        "A call is not settled yet",
        "Whether an earlier call ({verb} of {address}) was done is not known yet.",
        "{settle} looks the object up and settles it.",
    ),
    "announced": _Message("The call was announced before", "{verb} of {of}: {id}."),
    "not announced": _Message(
        "A call that is not open cannot be settled",
        "{verb} of {address} ({id}) is not among the open calls.",
    ),
    "plan used": _Message(
        "The plan was applied before",
        "Plan {id} was applied to this state; a plan is used once.",
        Text("Make a new one: ", Command("plan --out FILE"), "."),
    ),
    "approval used": _Message(
        "The approval was used already",
        "An approval is for one time, and an earlier run has used up {ids}. Nothing was sent.",
        "Look at what is planned now, and approve it again.",
    ),
    "no backup": _Message(
        "This is not a backup of a state",
        "{location} {reason}.",
        Text("Name a file that ", Command("state backup"), " wrote. The state is left as it is."),
    ),
    "backup exists": _Message(
        "The backup file exists already",
        "{location} is left as it is.",
        "Choose another name, or remove the file first.",
    ),
    # Of logs: chains of links in a bucket, and refs of a Git repository.
    "damaged chain": _Message(
        _DAMAGED,
        "{location}: {name} {reason}. What was written after it cannot be read.",
        Text(
            "If a lifecycle rule or a person removed objects, bring them back from old "
            "versions. Else keep what can be read (",
            Command("state backup FILE"),
            "), and restore that, or a newer backup: ",
            _RESTORE,
            ".",
        ),
    ),
    "chain set back": _Message(
        "The state was set back",
        "{location} had entry {number} when it was last read here; now {present}. What was done "
        "since then is not in it, and would be done a second time.",
        Text(
            "If a lifecycle rule, a person or a copy replaced the objects, bring the newer "
            "ones back from old versions. Else restore the newest backup: ",
            _SET_BACK_HINT,
        ),
    ),
    "ref set back": _Message(
        "The state was set back",
        "{location} had batch {number}, commit {commit}, when it was last read here; now "
        "{present}. Somebody has pushed over the ref or removed it, or restored an older copy of "
        "the repository. What was done since then is not in it.",
        Text(
            "Put the ref back where it was, if a clone or the host still has that commit. Else "
            "go on from the newest backup: ",
            _SET_BACK_HINT,
        ),
    ),
    "foreign ref": _Message(
        _FOREIGN,
        "{location}: {reason}.",
        Text(
            "Check the ref in state.url; it was not touched. If somebody pushed over the state, "
            "remove what they pushed (`git push NAME :REF`), then ",
            _RESTORE,
            " with a backup.",
        ),
    ),
    "link unsettled": _Message(
        "A write of the state did not arrive",
        "{location} did not take {name}.{reason}",
        "Check that the store can be reached and may be written to, then run the command again: "
        "it settles first what was under way.",
    ),
    "push unsettled": _Message(
        "It is not known whether the state was written",
        "A push to {location} failed, and the repository could not be asked what became of it. "
        "{git}",
        RUN_AGAIN_HINT,
    ),
    "forged": _Message(
        FORGED,
        f"{_OTHER_SIGNED}. Nothing is written on top of it.",
        Text(
            "Find out who may write there. ",
            Command("state history"),
            " shows what was done; then restore a backup from before: ",
            _RESTORE,
            ". If the key was replaced just now, put the former one beside the new one: ",
            Command("state rekey"),
            ".",
        ),
    ),
    "no key": _Message(
        "The key of the state is not here",
        "What {location} holds is signed with a key that is not at hand, so that nothing can be "
        "checked and nothing is written.",
        Text(
            "Get the key from whoever has it, and put it into {places}. If it is lost: ",
            Command("state rekey"),
            " makes another one.",
        ),
    ),
    "read forged": _Message(
        FORGED,
        f"{_OTHER_SIGNED}. {_HIDDEN}",
        Text("Do not rely on this state: nothing can be written before a ", _RESTORE, "."),
    ),
    "read unverified": _Message(
        NOT_VERIFIED,
        "What {location} holds, up to {name}, is signed with a key that is not at hand. "
        f"{_HIDDEN}",
        "Whoever may write there could have changed it. Get the key to check that nobody did.",
    ),
    "damaged snapshot": _Message(
        "A snapshot of the state cannot be read",
        "{location}: {names}. The one before and all links behind it were read instead.",
        "Nothing is lost. Look for what damages objects there before it meets the next one.",
    ),
}
_KINDS: Mapping[str, type[StateError]] = {
    "held": LockHeld,
    "held with id": LockHeld,
    "taken over": LockLost,
    "lock removed": LockLost,
    "lease over": LockLost,
    "busy": StoreBusyError,
    "file busy": StoreBusyError,
    "forged": BatchNotSent,
    "no key": BatchNotSent,
}


def fault(rule: str, location: str = "", **values: object) -> StateError:
    """The error of a rule; its finding is of the resource `address`, where that is given."""
    return _KINDS.get(rule, StateError)(_finding(Severity.ERROR, rule, location, values))


def damage(rule: str, location: str, reading: LogReading, **values: object) -> DamagedLog:
    """The error of a rule for a log, of which `reading` is what can be read before the damage."""
    damaged = DamagedLog(_finding(Severity.ERROR, rule, location, values))
    damaged.reading = reading
    return damaged


def url_error(reason: str, hint: str, owner: str = "state") -> InputError:
    """The error for a url that cannot be used; `owner` is whose it is, as in PostgresLocation."""
    return InputError.from_summary(
        f"The {owner}'s url cannot be used", f"{owner}.url: {reason}.", hint
    )


def duplicate_remote_id(record: Record, other_address: str) -> StateError:
    """The error for a remote id that another address has."""
    return fault(
        "one object",
        address=record.address,
        id=record.remote_id,
        kind=record.address.kind,
        api=record.api,
        other=other_address,
        move=Command("state mv", other_address, record.address),
        forget=Command("state rm", other_address),
    )


def open_call(address: Address, verb: str) -> StateError:
    """The error for an address with a call whose outcome is not known."""
    settle = Command("state settle", address, "--wait")
    return fault("open call", address=address, verb=verb, settle=settle)


def require_signed(location: str, signer: Signer, name: str, *, is_genuine: bool | None) -> None:
    """BatchNotSent where the log up to `name` is not signed with the key at hand."""
    if is_genuine is None:
        raise fault("no key", location, places=signer.describe_places_to_put_key())
    if not is_genuine:
        raise fault("forged", location, name=name)


def signature_warnings(
    location: str, name: str, *, is_genuine: bool | None
) -> tuple[Diagnostic, ...]:
    """The warning about a log that up to `name` is not signed with the key at hand."""
    if is_genuine:
        return ()
    rule = "read unverified" if is_genuine is None else "read forged"
    return (warning(rule, location, name=name),)


def warning(rule: str, location: str, **values: object) -> Diagnostic:
    """The warning of a rule."""
    return _finding(Severity.WARNING, rule, location, values)


def _finding(
    severity: Severity, rule: str, location: str, values: Mapping[str, object]
) -> Diagnostic:
    values = {**values, "location": location}
    summary, detail, hint = (_fill(text, values) for text in _MESSAGES[rule])
    address = str(values["address"]) if "address" in values else None
    return Diagnostic(severity, summary, detail, hint, address=address)


def _fill(text: str, values: Mapping[str, object]) -> str:
    """A text with values, whose own commands stay values, too."""
    if not isinstance(text, Text):
        return fill(text, values)
    return Text(*(fill(part, values) if isinstance(part, str) else part for part in text.parts))


def require_format_not_newer(format_number: int, location: str) -> None:
    """StateError for a format that only a newer version knows. `location` is for the message."""
    # There was no format before the first, so a smaller number cannot be: only a newer one is.
    if format_number > STATE_FORMAT:
        raise fault("newer", location, format=format_number, known=STATE_FORMAT)
