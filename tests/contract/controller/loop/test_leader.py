"""Who leads where many processes share a store, by leases in it."""

from __future__ import annotations

from synapse_apply.controller.loop.clock import CorrectedClock
from synapse_apply.controller.loop.parts import LEASE_SECONDS, LeasedLeader


def test_a_leader_whose_rounds_hang_is_replaced_though_its_heartbeat_goes_on(world):
    """The heartbeat is a thread of its own: it keeps the lead for a minute of silence, not longer."""
    clock = CorrectedClock(world.clock)
    first, second = (LeasedLeader(world.store, name, clock) for name in ("a:1:x", "b:2:y"))
    assert first.take() == 1

    def beat(seconds: int) -> list[int | None]:
        """Each two seconds the first one's heartbeat, and the second one's round."""
        answers = []
        for _ in range(seconds // 2):
            world.clock.advance(2)
            until = clock.read_wall() + LEASE_SECONDS
            world.store.extend_claims("a:1:x", until, first.epoch_to_renew(), ())
            answers.append(second.take())
        return answers

    assert set(beat(40)) == {None}
    assert first.take() == 1
    assert set(beat(58)) == {None}
    assert 2 in beat(12)
    assert first.take() is None
    assert first.epoch_to_renew() == 0
