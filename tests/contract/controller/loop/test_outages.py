"""A store that is away for one write, or does not answer its commit: the controller goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from contract.controller.loop.stand_ins import (
    CHANGES,
    DRIFT,
    FAILURE,
    RULES,
    StandInRepository,
    World,
)

from synapse_apply.controller.loop import parts
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import RunOutcome, TargetName
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.controller.store.store_writer import StoreWriter

PROD = TargetName("acme", "prod")
DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"


class AwayStore(SqliteControllerStore):
    """A store that others share, as far as the loop can tell, and that is away for one write."""

    is_shared = True

    def __init__(self, folder: Path, away_at: int, *, is_committed: bool) -> None:
        """`away_at` is the number of the write; `is_committed`: it is, and the answer is lost."""
        super().__init__(folder)
        self.away_at = away_at
        self.is_committed = is_committed
        self.write_count = 0

    @contextmanager
    def write(self) -> Iterator[StoreWriter]:
        self.write_count += 1
        is_away = self.write_count == self.away_at
        if is_away and not self.is_committed:
            raise StoreUnavailable.from_summary("It is away")
        with super().write() as writer:
            yield writer
        if is_away:
            raise StoreUnavailable.from_summary("The answer is lost")


class Life:
    """Some days of a source with one controller, whose store is away for one write."""

    def __init__(self, folder: Path, away_at: int, *, is_committed: bool) -> None:
        folder.mkdir()
        self.world = World(folder)
        self.world.store.close()
        self.store = AwayStore(folder, away_at, is_committed=is_committed)
        self.world.store = self.store
        self.loop = self.world.build_loop()
        self.loop._reload = self.world.configure

    def live(self) -> object:
        with closing(self.store):
            self._live()
            return self._describe()

    def _live(self) -> None:
        world = self.world
        world.repository.push("c1", dev="d1", prod="p1")
        self._go_on()
        world.repository.push("c2", prod="p2")
        world.workers.results["acme/prod"] = FAILURE
        self._go_on()
        world.clock.advance(40)
        world.workers.results["acme/prod"] = CHANGES
        self._go_on()
        world.repository.push("c3")  # no target is concerned
        world.workers.results["acme/dev"] = DRIFT
        self._go_on()
        world.set_rules(TargetRule("prod", mode=Mode.APPROVE), *RULES)
        self.loop.request_reload()
        self._go_on()

    def _go_on(self) -> None:
        for _ in range(8):
            self._settle()
            self.world.clock.advance(40)  # fetches are due, claims that nobody renews are over

    def _settle(self) -> None:
        tasks = self.loop._tasks
        for _ in range(200):
            was_idle, started = tasks.is_idle(), tasks.started_count
            self.loop._try_round()
            if was_idle and tasks.started_count == started and not self.loop._failed_tries:
                return
            assert tasks.wait_until_idle(60)
            assert tasks.failure is None
        pytest.fail("it does not come to rest")

    def _describe(self) -> object:
        world = self.world
        targets = world.store.target_page(TargetFilter(), 0, 9).targets
        return (
            world.forge.describe(),
            [
                (str(row.name), row.state, row.wanted_commit, row.mode, row.holder)
                for row in targets
            ],
            [(r.commit, r.end, r.description) for r in world.store.newest_revisions("acme", 9)],
            world.store.unsent(),
            sorted(set(world.inbox.describe())),
        )


@pytest.mark.parametrize("is_committed", [False, True])
def test_away_at_any_write_it_ends_as_one_that_was_not(tmp_path, is_committed):
    """The same ends, states and messages, and no claim that nobody gives back."""
    unharmed = Life(tmp_path / "unharmed", 0, is_committed=False)
    expected = unharmed.live()
    assert unharmed.store.write_count > 60
    first = 2 if is_committed else 1
    for away_at in range(first, unharmed.store.write_count + 1, 1 if DEEP else 9):
        life = Life(tmp_path / f"{away_at}", away_at, is_committed=is_committed)
        assert life.live() == expected, away_at


class FullOnceStore(SqliteControllerStore):
    """It does not keep the first write of a plan that begins with a letter."""

    was_full, letter = False, "x"

    @contextmanager
    def write(self) -> Iterator[StoreWriter]:
        with super().write() as writer:
            yield writer
            large = "SELECT 1 FROM runs WHERE substr(plan_json, 1, 1) = ?"
            if not self.was_full and writer._connection.execute(large, [self.letter]).fetchone():
                self.was_full = True
                raise StoreUnavailable.from_summary("The disk is full")


def test_a_large_plan_is_counted_once_where_the_store_did_not_keep_it_at_first(
    tmp_path, monkeypatch
):
    """Else it would be taken for a former one, and go before those."""
    monkeypatch.setattr(parts, "MOST_LARGE_CHARACTERS", 250_000)
    world = World(tmp_path)
    world.store.close()
    with closing(FullOnceStore(tmp_path)) as store:
        world.store = store
        large = replace(CHANGES, plan_json="x" * 100_000)
        world.workers.results["acme/prod"] = large
        world.repository.push("c1", dev="d1", prod="p1")
        loop = world.begin()
        world.workers.results["acme/dev"] = replace(large, result_digest="2")
        world.repository.push("c2", dev="d2")
        world.settle(loop, after=61)
        assert store.was_full
        kept = [
            len(store.find_run(run.id).plan_json)
            for name in (PROD, TargetName("acme", "dev"))
            for run in store.newest_runs(name, 1)
        ]
        assert kept == [100_000, 100_000]


def test_a_large_plan_that_a_lost_write_was_to_empty_goes_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MOST_LARGE_CHARACTERS", 250_000)
    world = World(tmp_path)
    world.store.close()
    with closing(FullOnceStore(tmp_path)) as store:
        world.store, store.letter = store, "y"
        world.workers.results["acme/prod"] = replace(CHANGES, plan_json="x" * 150_000)
        world.repository.push("c1", dev="d1", prod="p1")
        loop = world.begin()
        world.workers.results["acme/prod"] = replace(
            CHANGES, plan_json="y" * 150_000, result_digest="2"
        )
        world.repository.push("c2", prod="p2")
        world.settle(loop, after=61)
        assert store.was_full
        runs = [store.find_run(run.id) for run in store.newest_runs(PROD, 9)]
        assert [len(run.plan_json) for run in runs if run.plan_json] == [150_000]


class SilentOnceStore(AwayStore):
    """It is away for the first question which commits are in use once none is missing any more."""

    def __init__(self, folder: Path, repository: StandInRepository) -> None:
        super().__init__(folder, 0, is_committed=False)
        self.repository = repository
        self.was_away = False

    def list_commits_in_use(self, source: str) -> Sequence[str]:
        if not (self.repository.missing or self.was_away):
            self.was_away = True
            raise StoreUnavailable.from_summary("It is away")
        return super().list_commits_in_use(source)


def test_a_store_that_is_away_while_a_commit_is_fetched_fails_no_look(tmp_path):
    """A machine that does not have a commit fetches it, and asks which ones are in use."""
    life = Life(tmp_path / "away", 0, is_committed=False)
    life.store.close()
    world = life.world
    store = SilentOnceStore(tmp_path / "away", world.repository)
    with closing(store):
        life.store = world.store = store
        life.loop = world.build_loop()
        world.repository.missing = {"c1"}
        world.repository.push("c1", dev="d1", prod="p1")
        life._go_on()
        assert store.was_away
        runs = [
            run
            for target in ("dev", "prod")
            for run in store.newest_runs(TargetName("acme", target), 9)
        ]
        assert runs
        assert RunOutcome.WORKER_LOST not in {run.outcome for run in runs}
