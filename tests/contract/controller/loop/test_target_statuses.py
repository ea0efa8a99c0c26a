"""A status for each target beside that of the commit, for sources that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from contract.controller.loop.stand_ins import CHANGES, FAILURE, IN_SYNC, World, plan_of, row

from synapse_apply.controller.rules.revisions import MAX_TARGET_CONTEXTS
from synapse_apply.controller.settings import ForgeStatus, Mode, SecretName, TargetRule

FORGE = ForgeStatus("github", "acme/synapse", SecretName("env", "T"), "https://api", True)


@pytest.fixture
def per_target(tmp_path: Path) -> Iterator[World]:
    """A source whose forge shows a status for each target."""
    world = World(tmp_path, status=FORGE)
    world.repository.push("c1", dev="d1", prod="p1")
    with closing(world.store):
        yield world


def test_each_target_shows_its_own_end(per_target):
    """The page of the target is one click away; a commit that does not concern it says so."""
    world = per_target
    world.workers.results["acme/prod"] = CHANGES
    world.run_once()
    assert world.forge.describe_targets("c1") == {
        "dev": "success: planned only: no changes",
        "prod": "success: planned only: 1 change",
    }
    assert world.forge.describe()["c1"] == "success: planned only: 1 change"
    url = world.forge.shown_of_targets["c1", "prod"].url
    assert url == "https://page.example/targets/acme/prod"
    world.repository.push("c2", dev="d2")
    world.run_once()
    assert world.forge.describe_targets("c2")["prod"] == "success: not affected by this commit"


def test_what_fails_turns_green_by_itself(per_target):
    world = per_target
    world.workers.results["acme/prod"] = FAILURE
    world.run_once()
    assert world.forge.describe_targets("c1")["prod"] == "failure: failing: Broken"
    world.workers.results["acme/prod"] = IN_SYNC
    world.run_once(after=31)
    assert world.forge.describe_targets("c1")["prod"] == "success: planned only: no changes"


def test_an_end_stays_whatever_becomes_of_the_target_later(per_target):
    world = per_target
    world.run_once()
    shown = world.forge.describe_targets("c1")
    world.workers.results["acme/prod"] = FAILURE
    world.run_once(after=800)
    assert world.forge.describe_targets("c1") == shown


def test_a_source_without_it_and_one_of_many_targets_have_the_summary_alone(per_target, tmp_path):
    """Forges show a few dozen contexts of a commit."""
    folder = tmp_path / "other"
    folder.mkdir()
    plain = World(folder, status=replace(FORGE, has_context_per_target=False))
    plain.repository.push("c1", dev="d1")
    with closing(plain.store):
        plain.run_once()
    names = {f"t{number}": "x" for number in range(MAX_TARGET_CONTEXTS)}
    per_target.repository.push("c1", dev="d1", **names)
    per_target.set_rules(TargetRule("*"))
    per_target.run_once()
    for world in (plain, per_target):
        assert world.forge.shown
        assert world.forge.shown_of_targets == {}


def test_a_held_target_is_pending_until_its_commit_ends(per_target):
    """Without limit of time; what becomes of a later commit, or of another target, is not shown."""
    world = per_target
    world.set_rules(TargetRule("*", Mode.APPROVE))
    world.workers.results["acme/prod"] = plan_of(row("plugin/a"))
    world.run_once()
    # Two pending texts of one status are some seconds apart.
    world.run_once(after=world.settings.defaults.status_spacing)
    assert world.forge.describe_targets("c1") == {
        "dev": "success: live",
        "prod": "pending: awaiting approval: 1 row",
    }
    world.repository.push("c2", dev="d2", prod="p2")
    world.workers.results["acme/dev"] = FAILURE
    world.run_once()
    assert world.forge.describe_targets("c1") == {
        "dev": "success: live",
        "prod": "success: overtaken by c2",
    }
    world.run_once(after=world.settings.defaults.status_spacing)
    assert world.forge.describe()["c2"] == (
        "failure: 0 of 2 done, 1 failing: dev (Broken), 1 awaiting approval: prod"
    )
    world.repository.push("c3", dev="d3", prod="p3")
    world.workers.results |= {"acme/dev": IN_SYNC, "acme/prod": IN_SYNC}
    world.run_once()
    assert world.forge.describe_targets("c2") == {
        "dev": "failure: failing: Broken",
        "prod": "success: overtaken by c3",
    }
