"""Whatever is planned, applied, edited, deleted or lost: never a second copy of an object."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from laws import holds
from laws.bench import ANYTHING_GOES, Project, Server, combinations
from laws.effort import effort
from laws.worlds import World, edits, evolved, suit
from profiles import PAGE, PROFILE, VENDOR

from synapse_apply import SynapseApplyError, open_target

pytestmark = pytest.mark.deep


class Sequences(RuleBasedStateMachine):
    """A project that lives: its manifests go on, others edit the backend, records get lost."""

    server: Server
    api = "v1"
    profile = PAGE

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World()
        self.went_through = False

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.switches = data.draw(st.sampled_from(combinations(self.api, self.profile)))
        self.server.reset(self.switches)
        self.finds_all = self.api == "v2" or self.server.switches()["plugin_list"] == "list"
        made = Project.make(Path(self.folder.name), self.server, self.api)
        self.project = replace(made, parallelism=4)

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        """The manifests change."""
        world = data.draw(evolved(self.world))
        if not self.finds_all:
            kept = {k: v for k, v in world.documents.items() if k.split("@")[0][-1] != "c"}
            kept |= {k: v for k, v in world.documents.items() if k == "storage/sc"}
            world = World(kept, world.packages)
        self.world = suit(world, self.api, self.switches)
        self.world.write(self.project.root)
        self.went_through = False

    @rule(edit=edits().filter(lambda edit: edit.key not in ("name", "code")))
    def outside(self, edit: Any) -> None:
        """Somebody else edits or deletes an object."""
        self.server.edit(edit)
        self.went_through = False

    @rule(at=st.integers(0, 10))
    def lose(self, at: int) -> None:
        """A record gets lost."""
        addresses = sorted(self.project.state().records)
        if addresses:
            where = self.project.where
            with open_target(where.target, folder=where.directory, environ=where.environ) as target:
                target.state.forget([str(addresses[at % len(addresses)])])
        self.went_through = False

    @rule()
    def plan(self) -> None:
        """A plan changes nothing at all."""
        live, state = self.server.everything(), self.project.state()
        plan = self.project.plan().plan
        holds.of_plan(plan)
        assert (self.server.everything(), self.project.state()) == (live, state)
        if self.went_through:
            assert not plan.has_changes

    @rule(prune=st.booleans())
    def apply(self, prune: bool) -> None:
        """Only what exists already, out of this tool's sight, may fail."""
        try:
            done = self.project.apply(replace(ANYTHING_GOES, prune=prune))
        except SynapseApplyError as stopped:
            note(str(stopped.diagnostics))
            assert self.server.mutations() == []
            return
        holds.of_apply(self.project, done)
        for outcome in done.report.outcomes:
            assert outcome.result.value != "unknown"
        failed = [entry for entry in self.server.mutations() if entry["status"] >= 300]
        refused = [o for o in done.report.outcomes if o.result.value == "failed"]
        assert len(failed) == len(refused)
        # That a version was locked is known by the record alone, which may be lost.
        locked = any(row["body"].get("locked_versions") for row in self.server.objects("plugin"))
        assert not failed or locked or not self.finds_all, refused
        assert all(entry["status"] in (400, 409) for entry in failed), failed
        self.went_through = done.report.exit_code == 0

    @invariant()
    def no_second_copy(self) -> None:
        """One object a name, a code, a version."""
        if not hasattr(self, "project"):
            return
        for kind, rows in self.server.everything().items():
            names = Counter(
                (row["parent"], row["body"].get("version") if kind == "release" else _name(row))
                for row in rows
            )
            assert all(count == 1 for count in names.values()), (kind, names)

    def teardown(self) -> None:
        self.folder.cleanup()


def _name(row: dict[str, Any]) -> str:
    return str(row["body"]["name"]).strip()


# How many sequences, and how many when deep; on a profile of all tests, that alone.
CASES = [("v1", PROFILE, 25, 1500), ("v2", PROFILE, 8, 700)]
CASES += [("v1", VENDOR, 4, 700)] if PROFILE == PAGE else []


@pytest.mark.parametrize(("api", "profile", "few", "many"), CASES)
def test_no_sequence_makes_a_second_copy(server, api, profile, few, many):
    """Over any combination of switches."""

    class Here(Sequences):
        pass

    Here.server, Here.api, Here.profile = server, api, profile
    run_state_machine_as_test(Here, settings=effort(few, many, steps=12))
