"""How a run is noticed that changes a state while it and the backend are read."""

from __future__ import annotations

from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.plan import CONCURRENT_RUN_SUMMARY
from synapse_apply.model.ports import StateStore

_UNRECORDED_NOTE = (
    "What it makes may not be recorded yet: nothing that lacks a record counts as an import, "
    "and no call of it as lost."
)


def other_run_warnings(store: StateStore, serial_when_read: int) -> tuple[Diagnostic, ...]:
    """A warning where another run has written to the state since that serial, or locks it.

    Nothing where this process holds the lock and is that run itself.
    """
    if store.holds_lock() or store.is_lock_lost():
        return ()
    owner_warnings = tuple(
        warning_finding(
            CONCURRENT_RUN_SUMMARY, f"{owner_note.detail} {_UNRECORDED_NOTE}", owner_note.hint
        )
        for owner_note in store.list_lock_held_findings_unless_owner_ended()
    )
    if owner_warnings or store.read_serial() == serial_when_read:
        return owner_warnings
    detail = "The state was written to each time that the backend was looked at."
    return (
        warning_finding(
            CONCURRENT_RUN_SUMMARY, f"{detail} {_UNRECORDED_NOTE}", "Plan again when it has ended."
        ),
    )
