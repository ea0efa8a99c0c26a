"""Every interleaving of a few clients of a chain, by the rules that the package itself uses.

There is no clock: a lease may be thought over at any time, a request may reach the store at any
later time and again and again, its answer may be lost, and whoever was replaced may still write
snapshots and prune.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from operator import le
from typing import NamedTuple

from synapse_apply.stores.chain import link_format
from synapse_apply.stores.chain.link_format import LinkOutcome

IDLE, TAKING, HOLDING, WRITING, RELEASING, CHECKING = range(6)
TAKE, TAKE_OVER, WRITE, RELEASE, UNLOCK = range(5)
# The phase of who has made such a link.
NEXT_PHASE = {TAKING: CHECKING, WRITING: HOLDING, RELEASING: IDLE}


class Rules(NamedTuple):
    """The rules of a chain, of which a test may leave one out."""

    decide_link_outcome: Callable = link_format.decide_link_outcome
    is_link_in_the_chain: Callable = link_format.is_link_in_the_chain
    list_kept_links: Callable = link_format.list_kept_links
    select_links_to_prune: Callable = link_format.select_links_to_prune


class World(NamedTuple):
    """The store, what was ever made first under each number, and the clients.

    A link is a number that tells client, number and type: the frozen bytes of one batch. `sent` are
    those that may arrive once more. A client is its phase, the number of its link, and the link.
    """

    links: tuple[int, ...]
    snapshots: tuple[int, int]
    first_made: tuple[int, ...]
    sent: frozenset[int]
    clients: tuple[tuple[int, int, int], ...]


class Violation(Exception):
    """Somebody believes what is not so."""


def build_link(client: int, number: int, kind: int) -> int:
    """The frozen bytes of a link."""
    return (client + 1) * 1000 + number * 10 + kind


def replace_at(values: tuple, index: int, value: object) -> tuple:
    """The tuple with another value at an index."""
    return (*values[:index], value, *values[index + 1 :])


def rename_clients_alike(world: World) -> World:
    """The same world for all that differ only in which client is which."""
    clients = world.clients

    def list_made(index: int) -> tuple:
        own = index + 1
        return tuple(at for at, first in enumerate(world.first_made) if first // 1000 == own)

    descriptions = [(phase, number, link % 1000) for phase, number, link in clients]
    # Mostly they differ in that, and what each has made need not be looked for.
    if len(set(descriptions)) < len(clients):
        descriptions = [(*known, list_made(index)) for index, known in enumerate(descriptions)]
    if all(map(le, descriptions, descriptions[1:])):
        return world
    order = sorted(range(len(clients)), key=descriptions.__getitem__)
    names = {0: 0, **{(old + 1): (new + 1) * 1000 for new, old in enumerate(order)}}

    def rename(links: tuple) -> tuple:
        return tuple(names[link // 1000] + link % 1000 for link in links)

    return World(
        rename(world.links),
        world.snapshots,
        rename(world.first_made),
        frozenset(rename(tuple(world.sent))),
        tuple(
            (phase, number, *rename((link,)))
            for phase, number, link in map(clients.__getitem__, order)
        ),
    )


class Enumeration:
    """All worlds that can be reached with so many clients and links."""

    def __init__(
        self,
        rules: Rules,
        clients: int,
        links: int,
        *,
        unlocks: bool = True,
        unlock_kept: bool = True,
    ) -> None:
        """With `unlocks` a person may remove a lock; `unlock_kept`: that counts as a take-over."""
        self.rules = rules
        self.last = links
        self.unlocks = unlocks
        self.kept_kinds = (TAKE_OVER, UNLOCK) if unlock_kept else (TAKE_OVER,)
        empty = (0,) * (links + 2)
        self.start = World(empty, (0, 0), empty, frozenset(), ((IDLE, 0, 0),) * clients)

    def count_worlds(self) -> int:
        """Visit all of them; Violation with the steps that lead to the first bad one."""
        seen: dict[World, tuple[World, str] | None] = {self.start: None}
        queue = deque([self.start])
        while queue:
            world = queue.popleft()
            try:
                for step, next_world in self.iter_steps(world):
                    reached = rename_clients_alike(next_world)
                    if reached not in seen:
                        seen[reached] = world, step
                        queue.append(reached)
            except Violation as violation:
                steps = [str(violation)]
                while (before := seen[world]) is not None:
                    world, step = before
                    steps.append(step)
                raise Violation(", ".join(reversed(steps))) from None
        return len(seen)

    def iter_steps(self, world: World) -> Iterator[tuple[str, World]]:
        """What may happen next."""
        for index, (phase, number, _) in enumerate(world.clients):
            if phase == IDLE:
                yield from self.read_and_want_lock(world, index)
            elif phase == CHECKING:
                yield from self.look_for_snapshots(world, index)
            elif phase == HOLDING:
                yield from self.hold(world, index, number)
            else:
                yield from self.send(world, index)
        for link in world.sent:
            number = link // 10 % 100
            if not world.links[number]:
                yield f"{link} arrives again", self.make(world, link)

    def read_and_want_lock(self, world: World, index: int) -> Iterator[tuple[str, World]]:
        """From the newest snapshot on, until a number is absent."""
        number = world.snapshots[1]
        while number < self.last and world.links[number + 1]:
            number += 1
            if world.links[number] != world.first_made[number]:
                raise Violation(f"client {index} reads what is not the chain at {number}")
        if number < self.last:
            is_free = not number or world.first_made[number] % 10 in (RELEASE, UNLOCK)
            # A lock that is held is taken over, or a person removes it.
            wanted = (TAKE_OVER, UNLOCK) if self.unlocks else (TAKE_OVER,)
            for kind in (TAKE,) if is_free else wanted:
                yield (
                    f"{index} reads",
                    self.put_client(world, index, TAKING, number + 1, kind),
                )

    def send(self, world: World, index: int) -> Iterator[tuple[str, World]]:
        """The request arrives, or it is found out what stands there."""
        phase, number, link = world.clients[index]
        stored = world.links[number] or None
        outcome = self.rules.decide_link_outcome(link, stored)
        if outcome is LinkOutcome.ABSENT:
            made = self.make(world, link)
            yield f"{index} makes {number}, answer lost", made
            yield f"{index} makes {number}", self.believe(made, index, NEXT_PHASE[phase])
        elif outcome is LinkOutcome.OURS:
            yield f"{index} finds its {number}", self.believe(world, index, NEXT_PHASE[phase])
        else:
            yield f"{index} is refused", self.put_client(world, index, IDLE)

    def look_for_snapshots(self, world: World, index: int) -> Iterator[tuple[str, World]]:
        """Who took the lock looks whether its link is part of the chain."""
        _, number, link = world.clients[index]
        newest = world.snapshots[1]
        if self.rules.is_link_in_the_chain(number, newest, by_lock_owner=False):
            next_phase = IDLE if link % 10 == UNLOCK else HOLDING
            yield f"{index} believes in {number}", self.believe(world, index, next_phase)
        else:
            yield f"{index} is too late", self.put_client(world, index, IDLE)

    def hold(self, world: World, index: int, number: int) -> Iterator[tuple[str, World]]:
        """Write, give back, write a snapshot or prune, at any time."""
        if number < self.last:
            for phase, kind in ((WRITING, WRITE), (RELEASING, RELEASE)):
                yield (
                    f"{index} sends {number + 1}",
                    self.put_client(world, index, phase, number + 1, kind),
                )
        if number not in world.snapshots:
            newest = tuple(sorted((*world.snapshots, number))[-2:])
            yield f"{index} snapshots {number}", world._replace(snapshots=newest)
        pruned = self.rules.select_links_to_prune(
            [at for at in range(1, self.last + 1) if world.links[at]],
            [at for at in world.snapshots if at],
            self.find_never_pruned(world, number),
            number,
        )
        if pruned:
            links = tuple(0 if at in pruned else link for at, link in enumerate(world.links))
            yield f"{index} prunes", world._replace(links=links)

    def find_never_pruned(self, world: World, number: int) -> set[int]:
        """What a client knows that has read until a number."""
        never_pruned: set[int] = set()
        for at in range(1, number + 1):
            ends_foreign_lock = world.first_made[at] % 10 in self.kept_kinds
            never_pruned.update(self.rules.list_kept_links(at, ends_foreign_lock=ends_foreign_lock))
        return never_pruned

    def believe(self, world: World, index: int, next_phase: int) -> World:
        """The client believes that its link is part of the chain; Violation if it is not."""
        _, number, link = world.clients[index]
        if next_phase != CHECKING and world.first_made[number] != link:
            raise Violation(f"client {index} believes in its {number}")
        clients = replace_at(world.clients, index, (next_phase, number, link))
        if next_phase == IDLE:
            clients = replace_at(world.clients, index, (IDLE, 0, 0))
        return world._replace(clients=clients)

    def put_client(
        self, world: World, index: int, phase: int, number: int = 0, kind: int | None = None
    ) -> World:
        """The world with a client in another phase."""
        link = 0 if kind is None else build_link(index, number, kind)
        return world._replace(clients=replace_at(world.clients, index, (phase, number, link)))

    def make(self, world: World, link: int) -> World:
        """The world in which an absent link is made."""
        number = link // 10 % 100
        first_made = world.first_made
        if not first_made[number]:
            first_made = replace_at(first_made, number, link)
        return world._replace(
            links=replace_at(world.links, number, link),
            first_made=first_made,
            sent=world.sent | {link},
        )
