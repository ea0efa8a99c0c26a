"""Which processes of a controller are alive, which of them leads, and what differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapse_apply.controller.rows import LeaseRow, ProcessRole, ProcessRow
from synapse_apply.model.frozen import frozen

# A process says every six seconds that it is there.
ALIVE_SECONDS = 20.0


@frozen
class LiveProcess:
    """A process that is alive. `difference` is a phrase, "" where it is as the leader's."""

    row: ProcessRow
    is_leading: bool
    difference: str = ""


def list_live_processes(
    rows: Iterable[ProcessRow], lease: LeaseRow | None
) -> tuple[LiveProcess, ...]:
    """Those that were seen lately, by the clock of whichever was seen last; by host and number."""
    rows = list(rows)
    newest = max((row.seen_at for row in rows), default=0.0)
    alive = [row for row in rows if row.seen_at > newest - ALIVE_SECONDS]
    leader = next((row for row in alive if lease and row.holder == lease.holder), None)
    processes = []
    for row in sorted(alive, key=lambda row: (row.host, row.process_id)):
        phrases = []
        if leader and row.version != leader.version:
            phrases.append(f"version {row.version}, but the leader has {leader.version}")
        if leader and row.settings_digest != leader.settings_digest:
            phrases.append("a different controller.yaml from the leader")
        processes.append(LiveProcess(row, row is leader, "; ".join(phrases)))
    return tuple(processes)


def describe_processes(processes: Sequence[LiveProcess]) -> str:
    """How many there are of each role, and who leads, as a phrase; "" for none."""
    if not processes:
        return ""
    leader = next((process.row for process in processes if process.is_leading), None)
    roles = describe_role_counts([process.row.role.value for process in processes])
    return roles + (
        f"; {leader.host} (process {leader.process_id}) leads" if leader else "; no process leads"
    )


def describe_role_counts(roles: Sequence[str]) -> str:
    """How many processes there are of each role, as a phrase."""
    return " and ".join(
        f"{count} {role.value}{'s' * (count != 1)}"
        for role in ProcessRole
        if (count := roles.count(role.value))
    )
