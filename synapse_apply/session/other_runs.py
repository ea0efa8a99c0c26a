"""Whether another run was at work on a state while it and the backend were read."""

from __future__ import annotations

from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.ports import StateStore

_SUMMARY = "Another run is changing this target"
_COUNTS = (
    "What it makes may not be recorded yet: nothing that lacks a record counts as an import, "
    "and no call of it as lost."
)


def at_work(store: StateStore, serial: int) -> tuple[Diagnostic, ...]:
    """What to say of a run that was at work after the state was read at this serial.

    Nothing where there was none, or where this process holds the lock and is that run.
    """
    if store.still_ours() or store.lost():
        return ()
    held = tuple(
        warning(_SUMMARY, f"{one.detail} {_COUNTS}", one.hint) for one in store.in_the_way()
    )
    if held or store.serial() == serial:
        return held
    changed = "The state was written to each time that the backend was looked at."
    return (warning(_SUMMARY, f"{changed} {_COUNTS}", "Plan again when it has ended."),)
