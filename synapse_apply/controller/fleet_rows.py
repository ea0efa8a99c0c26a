"""What the processes of one controller know of one another, as values: one a row of its store.

Times are wall-clock seconds since the epoch, as in `rows.py`.
"""

from __future__ import annotations

from enum import Enum

from synapse_apply.model.frozen import frozen

LEADER_LEASE = "leader"
"""The lease of the replica that follows sources, hands out work, sends and ends revisions."""


@frozen
class LeaseRow:
    """Who alone has certain duties until a time. `holder` is "" where nobody has them.

    `epoch` grows with each new holder and never goes back.
    """

    name: str
    holder: str = ""
    until: float = 0.0
    epoch: int = 0


class ProcessRole(Enum):
    """What a process of the controller is for."""

    REPLICA = "replica"
    """It can lead, has a page, and works on targets."""
    WORKER = "worker"
    """It works on targets, and nothing else."""


@frozen
class ProcessRow:
    """A process of the controller, on any machine. `holder` is its own name in claims and leases.

    It works on at most `slots` targets at a time.
    `settings_digest` is over the configuration that it uses. A process that ended without a word
    is known by `seen_at`, which the others renew at short intervals.
    """

    holder: str
    host: str
    process_id: int
    role: ProcessRole
    version: str
    settings_digest: str
    slots: int
    started_at: float
    seen_at: float
