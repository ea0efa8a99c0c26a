"""What can be wrong with a state, in words: one place, so that every store says the same."""

from __future__ import annotations

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import Exit, LockHeld, LockLost, StateError
from synapse_apply.model.state import STATE_FORMAT, Intent, Record
from synapse_apply.stores.holder import Holder

RESTORE = "Restore a backup: `synapse-apply state restore FILE`."


def missing(where: str) -> StateError:
    return StateError(
        error(
            "There is no state",
            f"No state was found at {where}.",
            "Restore a backup (`synapse-apply state restore FILE`), record what exists already"
            " (`synapse-apply import -f INVENTORY`, or `import ADDRESS ID`), or start with an empty"
            " state (`synapse-apply state init`).",
        )
    )


def exists(where: str) -> StateError:
    return StateError(
        error(
            "There is a state already",
            f"{where} holds a state; it is left as it is.",
            "Use it as it is, or name another place for this target.",
        )
    )


def foreign(where: str, why: str) -> StateError:
    return StateError(
        error(
            "This is not a state of synapse-apply",
            f"{where} {why}.",
            "Check the path; the file was not touched. If the state was overwritten, move the"
            " file away and restore a backup: `synapse-apply state restore FILE`.",
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


def held(where: str, holder: str, unlock: str = "") -> LockHeld:
    """`holder` is the subject of a sentence; `unlock` the command that removes this very lock."""
    wait = "Wait until it has ended and try again."
    gone = f" If it is gone for good: {unlock}." if unlock else ""
    return LockHeld(error("The state is locked", f"{holder} holds {where}.", wait + gone))


AGAIN = "Run the command again: it settles first what was under way."


def lost_by_silence(where: str, silent: float, lease: float) -> LockLost:
    return LockLost(
        error(
            "The lock on the state ran out",
            f"This process gave no sign of life to {where} for {silent:.0f} seconds; after"
            f" {lease:g} another may take its place. Nothing was written since.",
            "It was suspended, or could not reach the state in time. " + AGAIN,
        )
    )


def lost_to(where: str, other: str) -> LockLost:
    """`other` is the subject of a sentence, "" where the lock was removed."""
    taken = f"{other} has taken {where} over." if other else f"The lock on {where} was removed."
    return LockLost(
        error("The lock on the state was lost", f"{taken} This write was not done.", AGAIN)
    )


def not_that_lock(where: str, lock_id: str, holder: Holder | None, unlock: str = "") -> StateError:
    if holder is None:
        return StateError(
            error("The state is not locked", f"{where} has no lock; there is nothing to remove.")
        )
    return StateError(
        error(
            "Another lock is on the state",
            f"{lock_id} is not the lock on {where}: {holder} holds it.",
            f"If that one is gone for good: {unlock}.",
        )
    )


def not_the_same(where: str, other: str) -> StateError:
    return StateError(
        error(
            "The copy of the state is not the same",
            f"What {other} holds now is not what {where} holds.",
            f"{where} was left as it is; use it. Do not use {other}.",
        )
    )


class Busy(StateError):
    """Another process was in the middle of a write for as long as anybody waits for that.

    It may be a run of ours that was stopped there: the system gives the file to it alone.
    """

    exit_code = Exit.LOCKED


def busy(where: str, doing: str, who: str, hint: str) -> Busy:
    return Busy(error("The state is busy", f"{doing} {where}: {who}.", hint))


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
            f"If the object was renamed: `synapse-apply state mv {other} {record.address}`. If it"
            f" is not {other}: `synapse-apply state rm {other}`.",
            address=str(record.address),
        )
    )


def unknown_address(address: Address, where: str) -> StateError:
    return StateError(
        error(
            "The state does not know this address",
            f"{address} is not recorded in {where}.",
            "`synapse-apply state list` shows what is.",
            address=str(address),
        )
    )


def taken(address: Address, where: str) -> StateError:
    return StateError(
        error(
            "The address is taken",
            f"{address} is recorded in {where} already.",
            f"Choose another one, or forget it first: `synapse-apply state rm {address}`.",
            address=str(address),
        )
    )


def unsettled(address: Address, verb: str) -> StateError:
    return StateError(
        error(
            "A call is not settled yet",
            f"Whether an earlier call ({verb} of {address}) was done is not known yet.",
            "Run `synapse-apply apply`: it looks the object up and settles the call.",
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
            "Make a new one: `synapse-apply plan --out FILE`.",
        )
    )


def not_a_backup(source: str, why: str) -> StateError:
    return StateError(
        error(
            "This is not a backup of a state",
            f"{source} {why}.",
            "Name a file that `synapse-apply state backup` wrote. The state is left as it is.",
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
