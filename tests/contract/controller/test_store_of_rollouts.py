"""The rows of rollouts in both stores: what is read of a wave, and what is forgotten."""

from __future__ import annotations

from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutTargetRow,
    SourceRow,
    TargetName,
    TargetRow,
    WaveRow,
)
from synapse_apply.controller.store.controller_store import ControllerStore

EU, PROD, LEFT = (TargetName("acme", name) for name in ("eu", "prod", "left-alone"))


def fill(store: ControllerStore) -> None:
    """Two rollouts: `all` with two waves, `others` of another source."""
    other = TargetName("beta", "eu")
    with store.write() as writer:
        for name, source in (("all", "acme"), ("others", "beta")):
            writer.put(RolloutRow(source, name, 2, f"c2-of-{source}", 1.0, 2))
            writer.put(WaveRow(source, name, 2, 1, opened_at=1.0))
        for target in (EU, PROD, LEFT, other):
            writer.put(TargetRow(target, "c1", 1))
        writer.put(
            *[
                RolloutTargetRow(EU, "all", 1, 2, "c2", "d", moved_epoch=2**40, soaked=0.5),
                RolloutTargetRow(PROD, "all", 2, 2, "c2", "d"),
                RolloutTargetRow(other, "others", 1, 2, "c2", "d"),
            ]
        )


def test_a_wave_is_read_with_its_targets(store):
    """Those of this wave alone, whatever there is of the same name elsewhere."""
    fill(store)
    assert [row.name for row in store.wave_targets("all", 1)] == [EU]
    assert [row.target for row in store.list_rollout_targets("all")] == [EU, PROD]
    assert [row.target for row in store.list_rollout_targets("all", 2)] == [PROD]
    assert store.wave_targets("all", 3) == []
    found = store.find_rollout_target(EU)
    assert (found.moved_epoch, found.soaked) == (2**40, 0.5)


def test_a_rollout_is_forgotten_with_all_that_was_said_of_it(store):
    """Its targets stay, and what others have; its commit is kept in the mirror until then."""
    fill(store)
    assert sorted(store.list_commits_in_use("acme")) == ["c1", "c2-of-acme"]
    with store.write() as writer:
        writer.delete_rollout("all")
    assert [row.name for row in store.list_rollouts()] == ["others"]
    assert store.list_waves("all", 2) == []
    assert store.list_rollout_targets("all") == []
    assert store.list_commits_in_use("acme") == ["c1"]
    assert store.find_target(EU) is not None
    assert [wave.wave for wave in store.list_waves("others", 2)] == [1]


def test_a_new_target_of_a_later_wave_is_never_due(store):
    """No revision is wanted of it yet."""
    with store.write() as writer:
        writer.put(SourceRow("acme"))
        for name, commit in (("eu", "c1"), ("prod", "")):
            writer.put(TargetRow(TargetName("acme", name), commit, head_digest="d"))
    with store.write() as writer:
        assert [row.name for row in writer.list_due(10.0, 9)] == [EU]
