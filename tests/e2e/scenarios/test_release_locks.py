"""`locked: true`: the last call of a release, made when it is there and verified, for good."""

from __future__ import annotations

from typing import Any

import pytest
from e2e.scenarios.test_api_v2 import PLUGIN, RELEASE, VERIFIED, declare
from e2e.scenarios.workplace import Server, Workplace, project

LOCK = "POST /v2/plugin-releases/{id}/release/"
FOR_GOOD = "locked permanently: this cannot be undone"
BOTH = VERIFIED.replace("  verify:", "  locked: true\n  verify:")
LATER = RELEASE.replace("yolo}", "yolo, locked: true}")


@pytest.fixture
def there(ready: Workplace, server: Server) -> Workplace:
    """A project on API v2 with an empty state."""
    ready.write("synapse-apply.yaml", project(server.url, api="v2"))
    (ready.root / "manifests" / "storage.yaml").unlink()
    return ready


def locked(server: Server) -> list[bool]:
    return [row["body"].get("is_released", False) for row in server.objects("release")]


def fails(server: Server, **rule: Any) -> None:
    match = {"path": "/v2/plugin-releases/*/release/", "method": "POST"}
    rules = [{"match": match, "do": rule}] if rule else []
    server.call("PUT", "_emulator/faults/", {"rules": rules})


def test_it_is_locked_after_it_was_verified(there: Workplace, server: Server) -> None:
    """In the same apply, the last call of all; then nothing is left to do."""
    declare(there, PLUGIN, BOTH)
    plan = there.plan(code=0).out
    assert f"# ({FOR_GOOD}" in plan
    assert "+ locked  = true" in plan
    told = there.apply().out
    assert "Apply complete! Resources: 2 added, 0 changed, 0 destroyed." in told
    assert "release/yolo@1.0.0 created and locked permanently (id 1" in told
    assert server.writes == ["POST /v2/plugins/", "POST /plugins/{lookup}/run/", LOCK]
    assert locked(server) == [True]
    there.unchanged()


def test_what_was_not_verified_is_not_locked(there: Workplace, server: Server) -> None:
    """The lock stays due, and follows once a run has passed."""
    declare(there, PLUGIN, BOTH.replace("seconds: 0.1", "seconds: 0.1, outcome: failed"))
    there.apply(code=3)
    assert locked(server) == [False]
    again = there.apply(code=3).out
    assert "release/yolo@1.0.0 was skipped: its verification did not succeed" in again
    declare(there, PLUGIN, BOTH)
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in there.plan(code=0).out
    there.apply()
    assert locked(server) == [True]
    there.unchanged()


def test_a_release_is_locked_later_and_never_unlocked(there: Workplace, server: Server) -> None:
    """An update of its own; to take it back is a refusal, to say no more of it is nothing."""
    declare(there, PLUGIN, RELEASE)
    there.apply()
    declare(there, PLUGIN, LATER)
    said = there.plan(code=0).out
    assert "~ locked = false -> true" in said
    assert FOR_GOOD in said
    assert "  ~ release/yolo@1.0.0 updated and locked permanently (id 1, " in there.apply().out
    there.unchanged()
    declare(there, PLUGIN, LATER.replace("true", "false"))
    assert "API v2 cannot remove the lock of a release" in there.apply(code=5).out
    declare(there, PLUGIN, RELEASE)
    there.apply()
    there.unchanged()
    assert locked(server) == [True]


def test_a_locked_release_that_was_deleted_is_not_made_again(
    there: Workplace, server: Server
) -> None:
    """The server takes no second one, so the plan refuses; a new version goes."""
    declare(there, PLUGIN, LATER)
    there.apply()
    (row,) = server.objects("release")
    server.call("DELETE", f"_emulator/objects/release/{row['id']}/")
    made = len(server.writes)
    said = there.apply(code=5).out
    assert "it was locked and is gone: API v2 accepts no second release with its version" in said
    assert len(server.writes) == made
    declare(there, PLUGIN, LATER.replace("1.0.0", "1.1.0"))
    there.apply()
    assert locked(server) == [True]


@pytest.mark.parametrize("answer", [{"reset": "after"}, {"status": 502, "commit": "after"}])
def test_a_lost_answer_is_looked_up(
    answer: dict[str, Any], there: Workplace, server: Server
) -> None:
    """The lock shows on the release, so the same run can tell that it was done."""
    declare(there, PLUGIN, LATER)
    fails(server, **answer)
    assert "A lost answer: the outcome was looked up" in there.apply().text
    fails(server)
    there.unchanged()


def test_a_lock_of_unknown_outcome_is_settled(there: Workplace, server: Server) -> None:
    """The next run sees that it was not done, and does it."""
    declare(there, PLUGIN, LATER)
    fails(server, reset="before")
    said = there.apply(code=7)
    assert "  + release/yolo@1.0.0 created (id " in said.out
    assert "release/yolo@1.0.0 may have been updated" in said.out
    fails(server)
    there.apply()
    assert locked(server) == [True]
    there.unchanged()


def test_a_refused_lock_is_told_beside_the_create(there: Workplace, server: Server) -> None:
    """What was created stays created; the lock is due again."""
    declare(there, PLUGIN, LATER)
    fails(server, status=403)
    said = there.apply(code=3)
    assert "  + release/yolo@1.0.0 created (id " in said.out
    assert "release/yolo@1.0.0 could not be updated" in said.out
    fails(server)
    there.apply()
    there.unchanged()


def test_a_terminal_asks(there: Workplace, server: Server) -> None:
    """Off it nothing is locked without --auto-approve."""
    declare(there, PLUGIN, LATER)
    there.run("apply", code=1)
    assert server.writes == []


@pytest.fixture
def undeclared(there: Workplace) -> Workplace:
    """A locked release was applied, and then taken out of the manifests."""
    declare(there, PLUGIN, LATER)
    there.apply()
    declare(there, PLUGIN)
    return there


def test_pruning_leaves_a_locked_release_and_names_the_loss(
    undeclared: Workplace, server: Server
) -> None:
    """Exit 5; the row says what would be gone for good, and what to do instead."""
    made = server.writes
    said = undeclared.apply("--prune", code=5).out
    assert server.writes == made
    assert (
        "it is locked. If you delete it, release/yolo@1.0.0 (id 1), and its content pkg1:sha256:"
        in said
    )
    assert "is lost permanently: API v2 accepts no second release with this version" in said
    assert "* revert the change in Git: declare the resource again" in said
    assert "`synapse-apply apply --prune --allow-locked`" in said


def test_a_lock_that_was_set_in_the_product_counts(there: Workplace, server: Server) -> None:
    """What is live decides, not what a manifest said."""
    declare(there, PLUGIN, RELEASE)
    there.apply()
    server.call("POST", "v2/plugin-releases/1/release/")
    declare(there, PLUGIN)
    assert "it is locked" in there.apply("--prune", code=5).out
    assert len(server.objects("release")) == 1


def test_what_is_meant_is_done_and_told(undeclared: Workplace, server: Server) -> None:
    """With --allow-locked the plan names the loss, and the apply deletes."""
    plan = undeclared.plan("--prune", "--allow-locked", code=0).out
    assert "1 to destroy" in plan
    assert "is lost permanently" in plan
    undeclared.apply("--prune", "--allow-locked")
    assert server.objects("release") == []
    undeclared.unchanged()


def test_a_saved_plan_keeps_that_it_was_meant(undeclared: Workplace, server: Server) -> None:
    """And one that was made without it does not delete, whatever is said later."""
    undeclared.plan("--prune", "--out", "without.plan", code=0)
    undeclared.run("apply", "without.plan", code=5)
    assert len(server.objects("release")) == 1
    undeclared.run("apply", "without.plan", "--allow-locked", code=64)
    undeclared.plan("--prune", "--allow-locked", "--out", "with.plan", code=0)
    undeclared.run("apply", "with.plan", code=0)
    assert server.objects("release") == []


def test_older_locked_releases_stay_beyond_what_is_retained(
    there: Workplace, server: Server
) -> None:
    """`retain:` deletes no locked one by itself either."""
    declare(there, PLUGIN, LATER)
    there.apply()
    retaining = PLUGIN.replace("category: smart_tool}", "category: smart_tool, retain: 1}")
    assert retaining != PLUGIN
    declare(there, retaining, RELEASE.replace("1.0.0", "2.0.0"))
    assert "it is locked" in there.apply("--prune", code=5).out
    assert len(server.objects("release")) == 2


def test_it_is_a_slip_without_prune(undeclared: Workplace) -> None:
    """Nothing else deletes."""
    assert (
        "--allow-locked only works with --prune" in undeclared.plan("--allow-locked", code=64).err
    )
