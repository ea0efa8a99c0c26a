"""Which process of a controller has its rounds: one at a time, and each of their writes asks."""

from __future__ import annotations

from typing import Protocol

from synapse_apply.controller.loop.clock import CorrectedClock
from synapse_apply.controller.rows import LEADER_LEASE
from synapse_apply.controller.store_ports import WritableStore
from synapse_apply.model.errors import SynapseApplyError

# A lease is renewed every two seconds (`fleet/heartbeat.py`) and asked for every second: who takes
# the place of a process that was killed has it in less than ten.
LEASE_SECONDS = 8.0
# A round takes seconds at most. One that hangs must not keep the lead because the heartbeat, which
# is a thread of its own, goes on.
_HUNG_ROUND_SECONDS = 60.0


class LeadershipLost(SynapseApplyError):
    """Another process leads by now: what this one was about to write is not written."""


class Leader(Protocol):
    """Whether this process leads."""

    def take_or_keep_lease_epoch_or_none(self) -> int | None:
        """The epoch of the lead of this process; None while another process leads.

        0 where no other process can lead.
        """
        ...

    def release_lease(self) -> None:
        """Let another process lead at once; without effect where this one does not."""
        ...


class SoleLeader:
    """The Leader of a store that one process has alone."""

    def take_or_keep_lease_epoch_or_none(self) -> int | None:
        return 0

    def release_lease(self) -> None:
        """Nothing: the data folder is let go when the process ends."""


class LeasedLeader:
    """The Leader of a store that many processes share: who has a lease there. For one thread.

    `epoch` may be read by any thread: that of the lead of this process, 0 while it does not lead.
    """

    def __init__(self, store: WritableStore, holder: str, clock: CorrectedClock) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._asked_at = 0.0
        self.epoch = 0

    def get_epoch_to_renew_or_zero(self) -> int:
        """The epoch of the lead that is to be kept; 0 without one, or where the rounds hang.

        May be called by any thread.
        """
        is_hung = self._clock.read_counter() - self._asked_at >= _HUNG_ROUND_SECONDS
        return 0 if is_hung else self.epoch

    def take_or_keep_lease_epoch_or_none(self) -> int | None:
        self._asked_at = self._clock.read_counter()
        now = self._clock.read_wall()
        lease = self._store.find_lease_even_if_over(LEADER_LEASE)
        if lease is not None and lease.holder and lease.until > now:
            is_own = (lease.holder, lease.epoch) == (self._holder, self.epoch)
            self.epoch = self.epoch if is_own else 0
            return self.epoch or None
        with self._store.write() as writer:
            # Now, and not before other writers were waited for. A lease that ran out and that
            # nobody took is this one's still, with its epoch.
            now = self._clock.read_wall()
            self.epoch = writer.take_or_renew_lease_and_get_epoch_or_zero(
                LEADER_LEASE, self._holder, now + LEASE_SECONDS, now
            )
        return self.epoch or None

    def release_lease(self) -> None:
        if self.epoch:
            with self._store.write() as writer:
                writer.release_lease_if_own(LEADER_LEASE, self._holder, self.epoch)
        self.epoch = 0
