"""The state's database is killed or cut off in the middle of an apply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from fault.commands import LEASE, applying, ended, reaches
from fault.convergence import Row, chosen, command, converge, on_api, some
from fault.site import MakeSite, Server
from postgres.proxy import Proxy
from postgres.server import PostgresServer

POSTS = {"v1": 12, "v2": 8}
MOST = {"v1": 0, "v2": 2}  # of the creates at which the database breaks; 0 is all
A_MOMENT = {"hang": 0.3, "commit": "after"}


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:
    """A way to the database that can break."""
    made = Proxy(postgres.port)
    yield made
    made.close()


def a_schema(postgres: PostgresServer) -> str:
    return postgres.url(schema=f"state_{uuid4().hex}")


@on_api("v1")
def test_a_database_that_is_killed_and_comes_back(
    api: str, make_site: MakeSite, server: Server, postgres: PostgresServer, row: Row
) -> None:
    """What it acknowledged is there; the same run goes on and ends well."""
    for nth in some(POSTS[api], 1, turn=2, most=MOST[api]):
        site = make_site(state_url=a_schema(postgres))
        server.faults({"match": {"method": "POST", "nth": nth}, "do": A_MOMENT})
        with applying(site, parallelism=1 + nth % 4) as process:
            reaches(server, process)
            postgres.kill()
            postgres.start()
            code, out, err = ended(process)
        assert code == 0, out + err
        converge(site, None, row)


@on_api("v1")
def test_a_database_that_stays_away(
    api: str, make_site: MakeSite, server: Server, postgres: PostgresServer, row: Row
) -> None:
    """The run says so and ends; with what it kept aside nothing is left unknown."""
    for nth in some(POSTS[api], 1, turn=6, most=MOST[api]):
        site = make_site(state_url=a_schema(postgres))
        server.faults({"match": {"method": "POST", "nth": nth}, "do": A_MOMENT})
        with applying(site, lease=LEASE, patience=1.0) as process:
            reaches(server, process)
            postgres.kill()
            try:
                code, out, err = ended(process)
            finally:
                postgres.start()
        assert code == 7, out + err
        assert "The state's database cannot be reached" in out
        (kept,) = {one["unrecorded_in"] for one in json.loads(out)["outcomes"]} - {None}
        command(site, f"state record -t site {kept}")
        converge(site, None, row)
    assert row.unknowns == 0


@on_api("v1", "v2")
@pytest.mark.parametrize("moment", chosen(["before", "after"], "after"))
def test_a_connection_that_is_cut(
    moment: str,
    api: str,
    make_site: MakeSite,
    server: Server,
    postgres: PostgresServer,
    proxy: Proxy,
    row: Row,
) -> None:
    """In the midst of a write, which the database did or did not hear of: nobody notices."""
    through = a_schema(postgres).replace(f":{postgres.port}/", f":{proxy.port}/")
    for nth in some(POSTS[api], 1, turn=4, most=MOST[api]):
        site = make_site(state_url=f"{through}_{nth}")
        server.faults({"match": {"method": "POST", "nth": nth}, "do": A_MOMENT})
        with applying(site) as process:
            reaches(server, process)
            proxy.break_at = moment
            code, out, err = ended(process)
        assert proxy.break_at is None
        assert code == 0, out + err
        converge(site, None, row)
