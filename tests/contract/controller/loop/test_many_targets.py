"""A commit of one source with many targets: others write meanwhile, and a crash leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest
from contract.controller.loop.stand_ins import World, plan_of, row
from counting import calls_of
from forges.loopback_server import wait_until

from synapse_apply.controller.loop.following import fetch_source
from synapse_apply.controller.loop.hourly import queue_reminders
from synapse_apply.controller.loop.parts import EventLog, LoopParts
from synapse_apply.controller.planned_rows import Binding, Claim
from synapse_apply.controller.rows import SourceRow, TargetRow
from synapse_apply.controller.settings import DAY, Mode, TargetRule

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


def test_a_check_reads_no_row_of_other_tenants_that_have_objects_of_its_names(world, monkeypatch):
    """Many tenants are made of one template: the next one costs what the first did."""
    counts = []
    for size in (3, 240):
        names = [f"s{size}-{number}" for number in range(size)]
        for name in names:
            look = plan_of(row("storage/raw"))
            claims = (Claim("storage/raw", f"storage name={size}", is_recorded=False),)
            binding = Binding(f"https://api.example {name}", f"state of {name}")
            world.workers.results[f"acme/{name}"] = replace(look, binding=binding, claims=claims)
        world.set_rules(TargetRule("*", mode=Mode.AUTO))
        world.repository.push(f"c{size}", **dict.fromkeys(names, "1"))
        asked = CountedCalls(world.store.find_target)
        with monkeypatch.context() as patched:
            patched.setattr(world.store, "find_target", asked)
            loop = world.begin()
            for _ in range(2):  # new ones are spread over their interval
                world.settle(loop, after=700)
        thing = f"storage name={size}"
        assert len(world.store.list_owners("https://api.example", [thing])) == size
        (own,) = world.store.list_owners(f"https://api.example {names[0].upper()}", [thing])
        assert own.name.target == names[0]
        counts.append(asked.count / size)
    assert counts[1] < 2 * counts[0]


class CountedCalls:
    """A function, and how often it was called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.count = function, 0

    def __call__(self, *arguments: Any) -> Any:
        self.count += 1
        return self._function(*arguments)


def test_a_pause_of_each_of_many_targets_reads_that_target_alone(world):
    """As of a label: a pause, and the hour's reminder of it, cost the same beside any number."""
    parts, costs = begin(world), []
    actions = world.build_loop().get_people_actions()
    for count in (40, 80):
        names = [f"t{number:05}" for number in range(count)]
        world.repository.push(f"c-{count}", **dict.fromkeys(names, "1"))
        fetch(parts)
        end = world.clock.wall + DAY

        def pause_each(names: list[str] = names, end: float = end) -> None:
            for name in names:
                actions.pause_scope_or_refuse(ANN, f"acme/{name}", "incident", end)

        costs.append([calls_of(pause_each), calls_of(lambda: queue_reminders(parts))])
    assert len(world.store.list_pauses()) == 80
    assert [twice / once < 2.3 for once, twice in zip(*costs, strict=True)] == [True, True]
