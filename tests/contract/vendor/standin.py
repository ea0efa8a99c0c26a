"""The vendor's backend as the facts tell it, on loopback: an independent picture.

It shares nothing with the embedded backend, so that a mistake of one is seen by the other. What
the facts leave open is a parameter (guesses.py); what stands here carries the mark of its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from contract.vendor.guesses import Guesses
from contract.vendor.jobs import Agents, Jobs
from contract.vendor.platform_v2 import PlatformV2
from contract.vendor.plugins import Plugins
from contract.vendor.releases import Releases
from contract.vendor.storages import Storages
from contract.vendor.web import Incident, Reply, Request, Route, Site, serve_site
from contract.vendor.world import World, authenticate


@dataclass
class StandIn:
    """A running backend: its URL, what it holds, what it was asked."""

    url: str
    world: World
    site: Site

    @property
    def requests(self) -> list[Request]:
        return self.site.requests

    def requests_to(self, method: str, path: str) -> list[Request]:
        """The requests of a method to a path, in their order."""
        return [one for one in self.requests if (one.method, one.path) == (method, path)]

    @property
    def writes(self) -> list[str]:
        """Every request that may change something, as METHOD PATH."""
        return [f"{one.method} {one.path}" for one in self.requests if one.method != "GET"]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Plugins, releases and storages there are."""
        world = self.world
        return len(world.plugins), len(world.releases), len(world.storages)

    def lose_answer(self, method: str, path: str) -> None:
        """The next such request is acted on, and its answer is lost."""
        self.site.incidents.append(Incident(method, path, loses_answer=True))

    def spoil_answer(self, method: str, path: str, status: int) -> None:
        """The next such request is acted on, and an edge answers with a page of its own [Sm]."""
        page = Reply(status, content=b"<html>error</html>", content_type="text/html")
        self.site.incidents.append(Incident(method, path, after=page))

    def forestall(self, method: str, path: str, deed: Callable[[], object]) -> None:
        """Somebody else does something right before the next such request is handled."""
        self.site.incidents.append(Incident(method, path, before=deed))

    def answer_once(self, method: str, path: str, status: int, value: Any) -> None:
        """The next such request is not handled, and answered so."""
        self.site.incidents.append(Incident(method, path, instead=Reply(status, value)))


@contextmanager
def run_stand_in(guesses: Guesses | None = None) -> Iterator[StandIn]:
    """The backend while it runs. A crash of the stand-in itself fails the test at the end."""
    guesses = guesses or Guesses()
    world = World(guesses)
    routes = [
        # Health needs no token [C]; `users/me/` was the token check of 2025 [O].
        Route(r"/health/?", {"GET": lambda _: Reply(200, {"status": "ok"})}, is_open=True),
        Route(r"/users/me/", {"GET": lambda _: Reply(200, {"id": 1, "email": "me@acme.invalid"})}),
        *Plugins(world).routes(),
        *Releases(world).routes(),
        *Jobs(world).routes(),
        *Agents(world).routes(),
        *Storages(world).routes(),
        *PlatformV2(world).routes(),
    ]
    site = Site(routes, authenticate, guesses.base_path)
    with serve_site(site) as url:
        yield StandIn(url, world, site)
    assert not site.crashes, site.crashes[0]
