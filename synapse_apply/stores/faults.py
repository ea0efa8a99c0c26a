"""What can be wrong with a state, in words: one place, so that every store says the same."""

from __future__ import annotations

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.model.state import STATE_FORMAT, Intent, Record

RESTORE = "Restore a backup: synapse-apply state restore FILE."


def missing(where: str) -> StateError:
    return StateError(
        error(
            "There is no state",
            f"No state was found at {where}.",
            "Restore a backup (synapse-apply state restore FILE), record what exists already"
            " (synapse-apply import), or start with an empty state (synapse-apply state init).",
        )
    )


def exists(where: str) -> StateError:
    return StateError(
        error(
            "There is a state already",
            f"{where} holds a state; it is left as it is.",
            "Use it as it is, or move the file away first.",
        )
    )


def foreign(where: str, why: str) -> StateError:
    return StateError(
        error(
            "This is not a state of synapse-apply",
            f"{where} {why}.",
            "Check the path; the file was not touched. If the state was overwritten, move the"
            " file away and restore a backup: synapse-apply state restore FILE.",
        )
    )


def newer(where: str, found: int) -> StateError:
    return StateError(
        error(
            "The state was written by a newer version of synapse-apply",
            f"{where} has format {found}; this version reads up to {STATE_FORMAT}.",
            "Use the newer version, or one from its series.",
        )
    )


def damaged(where: str, why: str) -> StateError:
    return StateError(error("The state is damaged", f"{where}: {why}.", RESTORE))


def unstorable(where: str, why: str) -> StateError:
    return StateError(error("A value cannot be stored in state", f"{where}: {why}."))


def not_locked(where: str) -> StateError:
    return StateError(
        error("The state is not locked", f"A write to {where} was tried without its lock.")
    )


def locked_here(where: str, operation: str) -> StateError:
    return StateError(
        error(
            "The state is locked by this process already",
            f"{where} was to be locked again for {operation}; a lock is not re-entrant.",
        )
    )


def held(where: str, holder: str) -> LockHeld:
    return LockHeld(
        error(
            "The state is locked",
            f"{holder} holds {where}.",
            "Wait until it has ended and try again. The lock ends with the process that holds it.",
        )
    )


def unusable(where: str, doing: str, why: str) -> StateError:
    """`doing` is Reading, Opening, Writing, ...: the beginning of a sentence."""
    verb = "read" if doing in ("Reading", "Opening") else "written"
    return StateError(
        error(
            f"The state cannot be {verb}",
            f"{doing} {where} failed: {why}.",
            "Check the file, its folder and who owns them; both must be writable by you.",
        )
    )


def two_addresses(record: Record, other: str) -> StateError:
    """One remote id under two addresses would let two manifests fight over one object."""
    return StateError(
        error(
            "One object under two addresses",
            f"{record.address} has the id {record.remote_id} ({record.address.kind}, API "
            f"{record.api}), which {other} has already.",
            f"If the object was renamed: synapse-apply state mv {other} {record.address}. If it"
            f" is not {other}: synapse-apply state rm {other}.",
            address=str(record.address),
        )
    )


def unknown_address(address: Address, where: str) -> StateError:
    return StateError(
        error(
            "The state does not know this address",
            f"{address} is not recorded in {where}.",
            "synapse-apply state list shows what is.",
            address=str(address),
        )
    )


def taken(address: Address, where: str) -> StateError:
    return StateError(
        error(
            "The address is taken",
            f"{address} is recorded in {where} already.",
            f"Choose another one, or forget it first: synapse-apply state rm {address}.",
            address=str(address),
        )
    )


def unsettled(address: Address, verb: str) -> StateError:
    return StateError(
        error(
            "A call is not settled yet",
            f"Whether an earlier call ({verb} of {address}) was done is not known yet.",
            "Run synapse-apply apply: it looks the object up and settles the call.",
            address=str(address),
        )
    )


def begun_twice(intent: Intent) -> StateError:
    return StateError(
        error("The call was announced before", f"{intent.verb} of {intent.address}: {intent.id}.")
    )


def not_begun(intent: Intent) -> StateError:
    return StateError(
        error(
            "A call that is not open cannot be settled",
            f"{intent.verb} of {intent.address} ({intent.id}) is not among the open calls.",
            address=str(intent.address),
        )
    )


def applied_before(plan_id: str) -> StateError:
    return StateError(
        error(
            "The plan was applied before",
            f"Plan {plan_id} was applied to this state; a plan is used once.",
            "Make a new one: synapse-apply plan --out FILE.",
        )
    )


def not_a_backup(source: str, why: str) -> StateError:
    return StateError(
        error(
            "This is not a backup of a state",
            f"{source} {why}.",
            "Name a file that synapse-apply state backup wrote. The state is left as it is.",
        )
    )


def backup_exists(to: str) -> StateError:
    return StateError(
        error(
            "The backup file exists already",
            f"{to} is left as it is.",
            "Choose another name, or remove the file first.",
        )
    )
