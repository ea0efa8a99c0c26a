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


RUN_AGAIN_HINT = "Run the command again: it first settles the calls that were in progress."
NOTHING_LOST_NOTE = "Everything recorded before is kept."
NOT_VERIFIED = "The state is not verified"
FORGED = "The state has an entry that is not signed with its key"
MAKER = "Another process that creates or restores a state"

_RESTORE = Command("state restore FILE")
_RESTORE_HINT = Text("Restore a backup: ", _RESTORE, ".")
_FOREIGN = "This is not a state of synapse-apply"
_FOREIGN_FILE_HINT = Text(
    "Check the path. The file was not changed. If the state was overwritten, move the file away "
    "and restore a backup: ",
    _RESTORE,
    ".",
)
_DAMAGED = "The state is damaged"
_LOCKED, _LOST = "The state is locked", "The lock on the state was lost"
_WAIT_HINT = "Wait until the other run has ended, then try again."
_SET_BACK_HINT = Text(
    _RESTORE,
    ". If the content there is right: ",
    Command("state backup FILE"),
    ", then ",
    _RESTORE,
    " with that file.",
)
_HIDDEN = (
    "Its list of secret fields may be incomplete, so values of free-form fields are not shown."
)
_OTHER_SIGNED = "{location}: {name} was not written with the key of this state"


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
            "), record the existing objects (",
            Command("import -f INVENTORY"),
            ", or `import ADDRESS ID`), or start with an empty state (",
            Command("state init"),
            ").",
        ),
    ),
    "exists": _Message(
        "A state already exists",
        "{location} holds a state, which was not changed.",
        "Use this state, or choose a different location for this target.",
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
            "Use the newer version. To go back to this version, use the newer version to "
            "restore a backup from before the upgrade: ",
            _RESTORE,
            ".",
        ),
    ),
    "damaged": _Message(_DAMAGED, "{location}: {reason}.", _RESTORE_HINT),
    "unstorable": _Message("A value cannot be stored in state", "{location}: {reason}."),
    "not locked": _Message(
        "The state is not locked",
        "A write to {location} was attempted without its lock.",
    ),
    "locked here": _Message(
        "This process already holds the lock on the state",
        "{location} should be locked again for {operation}, but the lock is not re-entrant.",
    ),
    "held": _Message(_LOCKED, "{owner} holds {location}.", _WAIT_HINT),
    "held with id": _Message(
        _LOCKED,
        "{owner} holds {location}.",
        f"{_WAIT_HINT} If that run no longer exists: {{unlock}}.",
    ),
    "taken over": _Message(
        _LOST,
        "{owner} has taken over {location}. This write was not done.",
        RUN_AGAIN_HINT,
    ),
    "lock removed": _Message(
        _LOST,
        "The lock on {location} was removed. This write was not done.",
        RUN_AGAIN_HINT,
    ),
    "lease over": _Message(
        "The lock on the state has expired",
        "This process did not renew its lock on {location} for {silent} seconds, and after "
        "{lease} another process may take over. Nothing was written since then.",
        f"The process was suspended, or could not reach the state in time. {RUN_AGAIN_HINT}",
    ),
    "no lock": _Message(
        "The state is not locked",
        "{location} has no lock to remove.",
    ),
    "other lock": _Message(
        "The state has a different lock",
        "{id} is not the lock on {location}: {owner} holds it.",
        "If that run no longer exists: {unlock}.",
    ),
    "busy": _Message("The state is busy", "{activity} {location}: {reason}.", "{hint}"),
    "file busy": _Message(
        "The state is busy",
        "{activity} {location}: another process is writing, or was stopped during a write.",
        "Wait for the process or end it, then try again.",
    ),
    "disk fault": _Message(
        "The state cannot be read or written on this disk",
        "{activity} {location} failed: {reason}. What was recorded before is intact.",
        "Check quota, limits (ulimit -f) and the health of the disk, then try again.",
    ),
    "unreadable": _Message(
        "The state cannot be read",
        "{activity} {location} failed: {reason}.",
        "Check the file, its folder and their owner. You need write access to both.",
    ),
    "unwritable": _Message(
        "The state cannot be written",
        "{activity} {location} failed: {reason}.",
        "Check the file, its folder and their owner. You need write access to both.",
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
        "{address} has the id {id} ({kind}, API {api}), which already belongs to {other}.",
        "If the object was renamed: {move}. If the object is not {other}: {forget}.",
    ),
    "unknown address": _Message(
        "The state has no record of this address",
        "{address} is not recorded in {location}.",
        Text(Command("state show"), " lists the recorded addresses."),
    ),
    "address taken": _Message(
        "The address is taken",
        "{address} is already recorded in {location}.",
        "Choose a different address, or forget this one first: {forget}.",
    ),
    "open call": _Message(
        "A call is not settled yet",
        "It is still unknown whether an earlier call ({verb} of {address}) was done.",
        "{settle} looks up the object and settles the call.",
    ),
    "announced": _Message("The call is already announced", "{verb} of {of}: {id}."),
    "not announced": _Message(
        "Only an open call can be settled",
        "{verb} of {address} ({id}) is not among the open calls.",
    ),
    "plan used": _Message(
        "The plan was already applied",
        "Plan {id} was already applied to this state, and a plan can be applied only once.",
        Text("Create a new plan: ", Command("plan --out FILE"), "."),
    ),
    "approval used": _Message(
        "The approval was already used",
        "An approval is valid once, and an earlier run has used {ids}. Nothing was sent.",
        "Review the new plan, and approve it again.",
    ),
    "no backup": _Message(
        "This is not a backup of a state",
        "{location} {reason}.",
        Text("Name a file that ", Command("state backup"), " wrote. The state was not changed."),
    ),
    "backup exists": _Message(
        "The backup file already exists",
        "{location} was not changed.",
        "Choose a different name, or remove the file first.",
    ),
    # Of logs: chains of links in a bucket, and refs of a Git repository.
    "damaged chain": _Message(
        _DAMAGED,
        "{location}: {name} {reason}. What was written after it cannot be read.",
        Text(
            "If a lifecycle rule or a person removed objects, restore them from old versions. "
            "Otherwise keep the readable part (",
            Command("state backup FILE"),
            "), and restore that part or a newer backup: ",
            _RESTORE,
            ".",
        ),
    ),
    "chain set back": _Message(
        "The state was rolled back",
        "{location} had entry {number} at the last read on this machine; now {present}. Later "
        "changes are missing from the state, and an apply would repeat them.",
        Text(
            "If a lifecycle rule, a person or a copy replaced the objects, restore the newer "
            "objects from old versions. Otherwise restore the newest backup: ",
            _SET_BACK_HINT,
        ),
    ),
    "ref set back": _Message(
        "The state was rolled back",
        "{location} had batch {number}, commit {commit}, at the last read on this machine; now "
        "{present}. Somebody overwrote or removed the ref, or restored an older copy of the "
        "repository. Later changes are missing from the state.",
        Text(
            "Reset the ref to that commit, if a clone or the host still has it. Otherwise "
            "continue from the newest backup: ",
            _SET_BACK_HINT,
        ),
    ),
    "foreign ref": _Message(
        _FOREIGN,
        "{location}: {reason}.",
        Text(
            "Check the ref in state.url. The ref was not changed. If somebody overwrote the "
            "state, remove their push (`git push NAME :REF`), then ",
            _RESTORE,
            " with a backup.",
        ),
    ),
    "link unsettled": _Message(
        "A write to the state failed",
        "The store at {location} did not accept {name}.{reason}",
        "Check that the store is reachable and writable, then run the command again: it first "
        "settles the calls that were in progress.",
    ),
    "push unsettled": _Message(
        "It is unknown whether the state was written",
        "A push to {location} failed, and the tool could not query the repository for the outcome. "
        "{git}",
        RUN_AGAIN_HINT,
    ),
    "forged": _Message(
        FORGED,
        f"{_OTHER_SIGNED}. The tool writes nothing on top of it.",
        Text(
            "Find out who may write there. ",
            Command("state history"),
            " shows the earlier runs. Then restore a backup from before that entry: ",
            _RESTORE,
            ". If the key was just replaced, provide the former key next to the new key: ",
            Command("state rekey"),
            ".",
        ),
    ),
    "no key": _Message(
        "The state key is missing",
        "The content of {location} is signed with a key that is missing here, so the tool can "
        "check nothing and writes nothing.",
        Text(
            "Get the key from a person who has it, and put it into {places}. If the key is lost: ",
            Command("state rekey"),
            " creates a new key.",
        ),
    ),
    "read forged": _Message(
        FORGED,
        f"{_OTHER_SIGNED}. {_HIDDEN}",
        Text("Do not rely on this state: nothing can be written before a ", _RESTORE, "."),
    ),
    "read unverified": _Message(
        NOT_VERIFIED,
        "The content of {location} up to {name} is signed with a key that is missing here. "
        f"{_HIDDEN}",
        "Anyone with write access could have changed it. Get the key to check the content.",
    ),
    "damaged snapshot": _Message(
        "A state snapshot cannot be read",
        "{location}: {names}. The tool read the snapshot before it and all later links instead.",
        "Nothing is lost. Find the cause of the damage before it affects the next snapshot.",
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
