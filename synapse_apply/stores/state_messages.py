"""What each error of a state store says, the same for every store.

Which format of a state is read: the known one; that of a newer version is refused. The number is in
table `meta`; a file's header has that of its tables. What holds a state has a format of its own: a
link of a chain (`chain/link_format.py`), a commit (`git/state_files.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import Exit, LockHeld, LockLost, StateError
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.state import STATE_FORMAT, Intent, Record
from synapse_apply.stores.lock.lock_owner import LockOwner

RESTORE_HINT = Text("Restore a backup: ", Command("state restore FILE"), ".")


def build_missing_state_error(location: str) -> StateError:
    return StateError.from_summary(
        "There is no state",
        f"No state was found at {location}.",
        Text(
            "Restore a backup (",
            Command("state restore FILE"),
            "), record what exists already (",
            Command("import -f INVENTORY"),
            ", or `import ADDRESS ID`), or start with an empty state (",
            Command("state init"),
            ").",
        ),
    )


def build_existing_state_error(location: str) -> StateError:
    return StateError.from_summary(
        "There is a state already",
        f"{location} holds a state; it is left as it is.",
        "Use it as it is, or name another place for this target.",
    )


def build_foreign_file_error(location: str, reason: str) -> StateError:
    return StateError.from_summary(
        "This is not a state of synapse-apply",
        f"{location} {reason}.",
        Text(
            "Check the path; the file was not touched. If the state was overwritten, move the "
            "file away and restore a backup: ",
            Command("state restore FILE"),
            ".",
        ),
    )


def build_newer_format_error(location: str, format_number: int) -> StateError:
    return StateError.from_summary(
        "The state was written by a newer version of synapse-apply",
        f"{location} has format {format_number}; this version reads up to {STATE_FORMAT}.",
        Text(
            "Use the newer version. To go back to this one, restore with the newer version a "
            "backup from before the upgrade: ",
            Command("state restore FILE"),
            ".",
        ),
    )


def build_damaged_state_error(location: str, reason: str) -> StateError:
    return StateError.from_summary("The state is damaged", f"{location}: {reason}.", RESTORE_HINT)


def unstorable_value_error(location: str, reason: str) -> StateError:
    return StateError.from_summary("A value cannot be stored in state", f"{location}: {reason}.")


def build_not_locked_error(location: str) -> StateError:
    return StateError.from_summary(
        "The state is not locked", f"A write to {location} was tried without its lock."
    )


def build_locked_here_error(location: str, operation: str) -> StateError:
    return StateError.from_summary(
        "The state is locked by this process already",
        f"{location} was to be locked again for {operation}; a lock is not re-entrant.",
    )


def build_lock_held_error(location: str, owner_text: str, unlock_command: str = "") -> LockHeld:
    """The error for a lock of another process.

    `owner_text` is the subject of a sentence; `unlock_command` removes this lock, "" if it has
    no id.
    """
    wait_hint = "Wait until it has ended and try again."
    unlock_hint = f" If it is gone for good: {unlock_command}." if unlock_command else ""
    return LockHeld.from_summary(
        "The state is locked", f"{owner_text} holds {location}.", wait_hint + unlock_hint
    )


RUN_AGAIN_HINT = "Run the command again: it settles first what was under way."


def build_lock_taken_error(location: str, other_owner: str) -> LockLost:
    """The error for a lock that was lost to `other_owner` (a subject; "": it was removed)."""
    explanation = (
        f"{other_owner} has taken {location} over."
        if other_owner
        else f"The lock on {location} was removed."
    )
    return LockLost.from_summary(
        "The lock on the state was lost", f"{explanation} This write was not done.", RUN_AGAIN_HINT
    )


def build_wrong_lock_id_error(
    location: str, lock_id: str, lock_owner: LockOwner | None, unlock_command: str = ""
) -> StateError:
    if lock_owner is None:
        return StateError.from_summary(
            "The state is not locked", f"{location} has no lock; there is nothing to remove."
        )
    return StateError.from_summary(
        "Another lock is on the state",
        f"{lock_id} is not the lock on {location}: {lock_owner} holds it.",
        f"If that one is gone for good: {unlock_command}.",
    )


class StoreBusyError(StateError):
    """The database stayed locked by another process for as long as a write waits.

    That may be a suspended run, to which the system still grants the file's lock.
    """

    exit_code = Exit.LOCKED


def build_busy_error(location: str, activity: str, blocker: str, hint: str) -> StoreBusyError:
    return StoreBusyError(
        error_finding("The state is busy", f"{activity} {location}: {blocker}.", hint)
    )


def unusable_state_error(location: str, activity: str, reason: str) -> StateError:
    """The error for a file that cannot be read or written.

    `activity` begins the message: Reading, Opening, Writing, ...
    """
    verb = "read" if activity in ("Reading", "Opening") else "written"
    return StateError.from_summary(
        f"The state cannot be {verb}",
        f"{activity} {location} failed: {reason}.",
        "Check the file, its folder and who owns them; both must be writable by you.",
    )


def duplicate_remote_id(record: Record, other_address: str) -> StateError:
    """The error for a remote id that another address has: two manifests would manage one object."""
    return StateError.from_summary(
        "One object under two addresses",
        f"{record.address} has the id {record.remote_id} ({record.address.kind}, API "
        f"{record.api}), which {other_address} has already.",
        Text(
            "If the object was renamed: ",
            Command("state mv", other_address, record.address),
            f". If it is not {other_address}: ",
            Command("state rm", other_address),
            ".",
        ),
        address=str(record.address),
    )


def unknown_address(address: Address, location: str) -> StateError:
    return StateError.from_summary(
        "The state does not know this address",
        f"{address} is not recorded in {location}.",
        Text(Command("state list"), " shows what is."),
        address=str(address),
    )


def build_address_taken_error(address: Address, location: str) -> StateError:
    return StateError.from_summary(
        "The address is taken",
        f"{address} is recorded in {location} already.",
        Text("Choose another one, or forget it first: ", Command("state rm", address), "."),
        address=str(address),
    )


def build_open_call_error(address: Address, verb: str) -> StateError:
    return StateError.from_summary(
        "A call is not settled yet",
        f"Whether an earlier call ({verb} of {address}) was done is not known yet.",
        Text(Command("state settle", address, "--wait"), " looks the object up and settles it."),
        address=str(address),
    )


def duplicate_intent(intent: Intent) -> StateError:
    return StateError.from_summary(
        "The call was announced before", f"{intent.verb} of {intent.address}: {intent.id}."
    )


def build_no_open_intent_error(intent: Intent) -> StateError:
    return StateError.from_summary(
        "A call that is not open cannot be settled",
        f"{intent.verb} of {intent.address} ({intent.id}) is not among the open calls.",
        address=str(intent.address),
    )


def plan_already_applied(plan_id: str) -> StateError:
    return StateError.from_summary(
        "The plan was applied before",
        f"Plan {plan_id} was applied to this state; a plan is used once.",
        Text("Make a new one: ", Command("plan --out FILE"), "."),
    )


def build_approval_used_error(approval_ids: Iterable[str]) -> StateError:
    return StateError.from_summary(
        "The approval was used already",
        f"An approval is for one time, and an earlier run has used up "
        f"{format_short_list(approval_ids)}. Nothing was sent.",
        "Look at what is planned now, and approve it again.",
    )


def build_not_a_backup_error(source: str, reason: str) -> StateError:
    return StateError.from_summary(
        "This is not a backup of a state",
        f"{source} {reason}.",
        Text("Name a file that ", Command("state backup"), " wrote. The state is left as it is."),
    )


def build_backup_exists_error(path: str) -> StateError:
    return StateError.from_summary(
        "The backup file exists already",
        f"{path} is left as it is.",
        "Choose another name, or remove the file first.",
    )


def require_format_not_newer(format_number: int, location: str) -> None:
    """StateError for a format that only a newer version knows. `location` is for the message."""
    # There was no format before the first, so a smaller number cannot be: only a newer one is.
    if format_number > STATE_FORMAT:
        raise build_newer_format_error(location, format_number)
