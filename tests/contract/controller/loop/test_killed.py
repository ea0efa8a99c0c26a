"""A controller that is killed at any write and started again ends where one that was not would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from contract.controller.loop.stand_ins import CHANGES, DRIFT, FAILURE, World
from deep import DEEP

from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import StatusState
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.store.store_writer import StoreWriter


class KilledError(Exception):
    """The process is gone: nothing of it reaches the store any more."""


class MortalStore(SqliteControllerStore):
    """A store whose process dies before a chosen write; what was called outward has happened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.writes_left = 10**9
        self.write_count = 0

    @contextmanager
    def write(self) -> Iterator[StoreWriter]:
        if self.writes_left <= 0:
            raise KilledError
        self.writes_left -= 1
        self.write_count += 1
        with super().write() as writer:
            yield writer


class Life:
    """Some days of a source, in steps; each is done again by a new process where one was killed."""

    def __init__(self, folder: Path, writes_left: int) -> None:
        folder.mkdir()
        self.world = World(folder)
        self.world.store.close()
        self.store = MortalStore(folder)
        self.store.writes_left = writes_left
        self.world.store = self.store
        self.asked: list[list[str]] = []

    def live(self) -> None:
        with closing(self.store):
            self._live()

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
        world.repository.push("c3", dev="d3")
        world.repository.broken.add("c3")
        self._go_on()
        world.repository.push("c4")
        world.clock.advance(700)
        world.workers.results["acme/dev"] = DRIFT
        self._go_on()

    def _go_on(self) -> None:
        asked: list[str] = []
        self.world.workers.asked = asked
        loop = self.world.build_loop()
        try:
            loop.run_once()
        except KilledError:
            assert loop._tasks.wait_until_idle(60)
            self.store.writes_left = 10**9
            self.world.workers.is_closed = False
            self.world.build_loop().run_once()
        # A message or status that failed to be recorded is tried again.
        self.world.workers.is_closed = False
        self.asked.append(sorted(asked))

    def describe(self) -> object:
        with closing(self.store):
            return self._describe()

    def _describe(self) -> object:
        world = self.world
        targets = world.store.target_page(TargetFilter(), 0, 9).targets
        return (
            world.forge.describe(),
            [(str(row.name), row.state, row.wanted_commit, row.failures) for row in targets],
            [(r.commit, r.end, r.description) for r in world.store.newest_revisions("acme", 9)],
            world.store.unsent(),
            sorted({row.id: f"{row.event} {row.fields['target']}" for row in world.inbox.messages}.values()),
        )  # fmt: skip


def test_killed_at_every_write_it_ends_as_one_that_was_not(tmp_path):
    """The same ends, states and messages; a look, a status or a message is repeated at most once."""
    unharmed = Life(tmp_path / "unharmed", 10**9)
    unharmed.live()
    expected = unharmed.describe()
    assert sorted(unharmed.world.inbox.describe()) == [
        "drift acme/dev", "failed", "failed acme/prod", "recovered", "recovered acme/prod"
    ]  # fmt: skip
    assert unharmed.store.write_count > 40
    for writes in range(0, unharmed.store.write_count, 1 if DEEP else 5):
        killed = Life(tmp_path / f"{writes}", writes)
        killed.live()
        assert killed.describe() == expected, writes
        for before, after in zip(unharmed.asked, killed.asked, strict=True):
            repeated = list(after)
            for name in before:
                repeated.remove(name)
            assert set(repeated) <= set(before), writes
            assert len(repeated) <= 2, writes
        ends = [
            commit for commit, text in killed.world.forge.sent if text.state is StatusState.SUCCESS
        ]
        assert sorted(ends) == sorted(set(ends)), writes
        times_sent = Counter(row.id for row in killed.world.inbox.messages)
        assert len(times_sent) == len(unharmed.world.inbox.messages), writes
        assert max(times_sent.values()) <= 2, writes
