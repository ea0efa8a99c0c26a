"""What the controller's store keeps of processes: claims, leases, and who is there."""

from dataclasses import replace

import pytest

from synapse_apply.controller.rows import (
    LeaseRow,
    ProcessRole,
    ProcessRow,
    SourceRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.store.store_database import ControllerStoreError

PROD = TargetName("acme", "prod")


def test_a_claim_has_one_holder_and_a_growing_epoch(store):
    """A claim ends by its time or its holder, and an old holder has nothing to say."""
    with store.write() as writer:
        writer.put(TargetRow(PROD))
        assert writer.claim(PROD, "a", until=10, now=0) == 1
        assert writer.claim(PROD, "b", until=10, now=9) == 0
        assert writer.is_claim_own(PROD, "a", 1)
        writer.put(TargetRow(PROD, due_at=1))
        assert writer.is_claim_own(PROD, "a", 1)
        assert writer.claim(PROD, "b", until=30, now=10) == 2
        assert not writer.is_claim_own(PROD, "a", 1)
        writer.release_claim(PROD, "a", 1)
        assert writer.is_claim_own(PROD, "b", 2)
        writer.release_claim(PROD, "b", 2)
        assert writer.claim(PROD, "a", until=40, now=11) == 3
        writer.release_claims()
        assert writer.claim(PROD, "c", until=40, now=11) == 4
        assert writer.claim(TargetName("acme", "none"), "c", until=40, now=11) == 0


def test_a_lease_has_one_holder_until_it_is_over(store):
    """Its epoch grows with each other holder; who had it before is told that it is not valid."""
    assert store.find_lease("leader") is None
    with store.write() as writer:
        assert writer.take_lease("leader", "a", until=8, now=0) == 1
        assert writer.take_lease("leader", "b", until=15, now=7) == 0
        assert writer.take_lease("leader", "a", until=10, now=2) == 1
        assert writer.take_lease("other", "b", until=15, now=7) == 1
        assert writer.is_lease_own("leader", "a", 1)
    assert store.find_lease("leader") == LeaseRow("leader", "a", 10, 1)
    with store.write() as writer:
        assert writer.take_lease("leader", "a", until=30, now=20) == 1
        assert writer.take_lease("leader", "b", until=40, now=30) == 2
        assert not writer.is_lease_own("leader", "a", 1)
        writer.release_lease("leader", "a", 1)
        assert writer.is_lease_own("leader", "b", 2)
        writer.release_lease("leader", "b", 2)
        assert not writer.is_lease_own("leader", "b", 2)
        assert writer.take_lease("leader", "b", until=50, now=30) == 3


def test_a_holder_renews_and_ends_its_own_claims_alone(store):
    """All at once, and its lease with them; no time is made shorter."""
    names = [TargetName("acme", name) for name in "abc"]
    with store.write() as writer:
        for name, holder in zip(names, ["me", "me", "other"], strict=True):
            writer.put(TargetRow(name))
            writer.claim(name, holder, until=8, now=0)
        writer.take_lease("leader", "me", until=8, now=0)
    assert [row.name for row in store.list_claimed_targets(7)] == names
    store.extend_claims("me", 12, 1, names)
    store.extend_claims("me", 10, 1, names)
    store.extend_claims("me", 20, 0, names[1:])
    store.extend_claims("me", 15, 0, names[1:])
    store.extend_claims("me", 30, 0, [])
    assert [row.name for row in store.list_claimed_targets(11)] == names[:2]
    assert [row.name for row in store.list_claimed_targets(19)] == names[1:2]
    assert store.find_lease("leader") == LeaseRow("leader", "me", 12, 1)
    with store.write() as writer:
        writer.release_claims("me")
    assert [row.name for row in store.list_claimed_targets(7)] == names[2:]


def test_processes_and_changes_are_written_down(store):
    """Those that were not seen for long are deleted; a change is counted whoever writes the row."""
    row = ProcessRow(
        "a", "host", 7, ProcessRole.WORKER, "1.0", "digest", 4, started_at=1.0, seen_at=5.0
    )
    for process in (row, replace(row, holder="b", seen_at=9.0), replace(row, holder="c")):
        store.put_process(process, forgotten_before=0.0)
    store.put_process(replace(row, seen_at=6.0), forgotten_before=0.0)
    with store.write() as writer:
        writer.delete_processes("c")
        writer.put(SourceRow("acme"))
        writer.count_change("acme")
        writer.put(SourceRow("acme", due_at=3.0))
        writer.count_change("acme")
    assert [row.seen_at for row in store.list_processes()] == [6.0, 9.0]
    assert store.list_configured_sources() == [SourceRow("acme", due_at=3.0, change_number=2)]
    store.put_process(replace(row, holder="d", seen_at=9.5), forgotten_before=9.0)
    assert [row.holder for row in store.list_processes()] == ["b", "d"]


def test_a_shared_store_is_of_one_controller(store):
    """Of all its replicas; one of another name would remove its sources."""
    store.claim_for("main")
    store.claim_for("main")
    if not store.is_shared:
        store.claim_for("renamed")  # the data folder says whose it is
        return
    with pytest.raises(ControllerStoreError, match="belongs to another controller") as caught:
        store.claim_for("other")
    assert "main" in caught.value.diagnostics[0].detail
