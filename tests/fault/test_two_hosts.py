"""Runners on two hosts that share a state: nobody can see whether the other still lives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fault.commands import FOREVER, LEASE, WAITS, applying, ended, kill, reaches, replacing
from fault.convergence import Row, chosen, converge, on_api, on_store
from fault.namespaces import another_host, can_be_made
from fault.site import MakeSite, Server, Site
from postgres.proxy import Proxy
from postgres.server import PostgresServer

# What is done and not yet answered when the link goes down. A busy machine may take seconds from
# the one to the other; a holder that has its answer by then goes on to another call.
UNDER_WAY = {"match": {"method": "POST", "nth": 3}, "do": {"hang": 5, "commit": "after"}}


@on_store("postgres")
@on_api("v1")
def test_a_silent_holder_is_replaced_after_one_lease(make_shared_site: MakeSite, row: Row) -> None:
    """It was killed, which its own host alone could tell; until then it is named, with the way out."""
    site = make_shared_site()
    site.server.faults(
        {"match": {"method": "POST", "nth": 3}, "do": {"hang": FOREVER, "commit": "after"}}
    )
    with applying(site, host="elsewhere", lease=LEASE) as first:
        reaches(site.server, first)
        assert kill(first)
    begun = time.monotonic()
    with applying(site, "--lock-timeout", "0", **replacing(site)) as second:
        code, out, _ = ended(second)
    (finding,) = json.loads(out)["diagnostics"]
    assert code == 6
    assert "they@elsewhere" in finding["detail"]
    assert "synapse-apply state unlock " in finding["hint"]
    with applying(site, *WAITS, **replacing(site)) as third:
        code, out, err = ended(third)
    assert time.monotonic() - begun >= LEASE
    assert code == 0, out + err
    converge(site, None, row)


@dataclass(frozen=True)
class There:
    """A runner on another host that can be cut off from the database, or from all, for a time."""

    altered: dict[str, Any]
    state_url: str
    cut_off: Callable[[], None]
    comes_back: Callable[[], None]


@contextmanager
def by_identity(state_url: str, database: int, _backend: int) -> Iterator[There]:
    """Its lock names another host. It reaches the backend all the time."""
    with ExitStack() as stack:
        proxy = Proxy(database)
        stack.callback(proxy.close)
        through = state_url.replace(f":{database}/", f":{proxy.port}/")
        yield There({"host": "elsewhere"}, through, proxy.flows.clear, proxy.flows.set)


@contextmanager
def by_namespace(state_url: str, database: int, backend: int) -> Iterator[There]:
    """It has a name and a network of its own, whose one link goes down."""
    with ExitStack() as stack:
        host = stack.enter_context(another_host())
        for port in (database, backend):
            stack.callback(Proxy(port, host.address, at=port).close)
        back = partial(host.cut_off, cut=False)
        yield There({"by": host.by}, state_url, host.cut_off, back)


WAYS = {"identity": by_identity, **({"namespace": by_namespace} if can_be_made() else {})}


@on_api("v1")
@pytest.mark.parametrize("way", chosen(WAYS, "identity"))
def test_a_holder_that_is_cut_off_stops_and_is_replaced(
    way: str, api: str, server: Server, postgres: PostgresServer, tmp_path: Path, row: Row
) -> None:
    """What it sends to the database later is refused; it starts no request after its lease."""
    backend = int(server.url.rpartition(":")[2])
    near = Server(f"http://localhost:{backend}")  # where that is, each host knows for itself
    url = postgres.url(schema=f"state_{uuid4().hex}").replace("127.0.0.1", "localhost")
    with WAYS[way](url, postgres.port, backend) as there:
        site = Site.make(tmp_path / "project", near, state_url=url, api=api)
        elsewhere = replace(site, environ={**site.environ, "FAULT_STATE_URL": there.state_url})
        server.faults(UNDER_WAY)
        # Its own lease ends before that which the other watches, on a machine of any speed.
        own = {"lease": 10 * LEASE, "hour_passes": str(tmp_path / "hour passes")}
        with applying(elsewhere, **own, **there.altered) as first:
            reaches(server, first)
            there.cut_off()
            Path(own["hour_passes"]).touch()
            with applying(site, *WAITS, **replacing(site)) as second:
                code, out, err = ended(second)
            assert code == 0, out + err
            requests, written = server.requests(), site.written()
            there.comes_back()
            code, out, err = ended(first)
        assert code == 7, out + err
        assert json.loads(out)["lock_lost"]
        assert (server.requests(), site.written()) == (requests, written)
        converge(site, None, row)
