"""A commit of one source with many targets: others write meanwhile, and a crash leaves no trace."""

from __future__ import annotations

from threading import Thread

import pytest
from contract.controller.loop.stand_ins import World
from forges.loopback_server import wait_until

from synapse_apply.controller.loop.following import fetch_source
from synapse_apply.controller.loop.parts import EventLog, LoopParts
from synapse_apply.controller.rows import SourceRow, TargetRow
from synapse_apply.controller.settings import DAY

COUNT = 4000
ANN = "proxy:ann"


class Killed(BaseException):
    """As if the process had ended."""


def begin(world: World) -> LoopParts:
    """What a controller works with, whose source has `dev`, `prod` and `old` at its first head."""
    parts = LoopParts(
        world.configure(), world.store, world.workers, world.clock, EventLog(world.log)
    )
    with world.store.write() as writer:
        writer.put(SourceRow("acme"))
    world.repository.push("c1", dev="1", old="1")
    fetch(parts)
    return parts


def fetch(parts: LoopParts) -> None:
    fetch_source(parts, "acme", spreads_new_targets=True)


def push_many(world: World) -> None:
    """A second commit that has no `old` any more."""
    del world.repository.inputs["c1"]["old"]
    world.repository.push("c2", **{f"t{number:05}": "1" for number in range(COUNT)})


def list_rows(world: World) -> list[TargetRow]:
    return list(world.store.source_targets("acme"))


def get_source(world: World) -> SourceRow:
    row = world.store.find_source("acme")
    assert row is not None
    return row


def test_a_person_pauses_while_a_commit_with_many_targets_is_compared(world):
    """Not after it: the head is not compared yet, and the pause is there."""
    parts, seen = begin(world), []
    push_many(world)
    actions = world.build_loop().get_people_actions()

    def pause() -> None:
        wait_until(lambda: len(list_rows(world)) > 3, 60, "some targets are written")
        actions.pause_scope_or_refuse(ANN, "acme/dev", "x", world.clock.wall + DAY)
        seen.append((get_source(world).keyed_number, len(list_rows(world)) < COUNT))

    thread = Thread(target=pause)
    thread.start()
    fetch(parts)
    thread.join(60)
    assert seen == [(1, True)]
    assert (get_source(world).keyed_number, len(list_rows(world))) == (2, COUNT + 3)
    assert len(world.store.list_pauses()) == 1


def test_a_crash_amid_the_targets_leaves_nothing_that_the_next_comparison_does_not_mend(
    world, monkeypatch
):
    """The head counts as compared with the last of them; each is as if nothing had happened."""
    parts, draws = begin(world), iter(range(COUNT))
    push_many(world)

    def die() -> float:
        if next(draws) > COUNT // 2:
            raise Killed
        return 0.5

    with monkeypatch.context() as patched:
        patched.setattr(world.clock, "draw_fraction", die)
        with pytest.raises(Killed):
            fetch(parts)
    written = len(list_rows(world))
    assert 3 < written < COUNT
    assert get_source(world).keyed_number == 1
    fetch(parts)
    rows = {row.name.target: row for row in list_rows(world)}
    assert get_source(world).keyed_number == 2
    assert rows.pop("old").is_gone
    assert len(rows) == COUNT + 2
    assert {(row.wanted_commit, row.wanted_number, row.is_gone) for row in rows.values()} == {
        ("c2", 2, False)
    }
    # Many new ones are spread over their interval, not looked at in a moment.
    due = [row.due_at - world.clock.wall for name, row in rows.items() if name.startswith("t")]
    assert min(due) > 60
