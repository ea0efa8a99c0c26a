"""What a process does while its database does not answer, and when it answers again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.controller.fleet.processes import SECONDS, Fleet, open_fleet
from contract.controller.loop.stand_ins import plan_of, row
from contract.controller.store_urls import build_store_url
from forges.loopback_server import wait_until
from postgres.proxy import Proxy
from postgres.server import PostgresServer

from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import ProcessRole, RunVerb, TargetCondition, TargetName
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.values import Sensitive

PROD = TargetName("acme", "prod")


@pytest.fixture
def proxy(postgres: PostgresServer) -> Proxy:
    """The test closes it."""
    return Proxy(postgres.port)


@pytest.fixture
def fleet(tmp_path: Path, postgres: PostgresServer, proxy: Proxy) -> Iterator[Fleet]:
    """A target that is applied, and a way to the database that can be cut."""
    url = str(build_store_url(postgres).reveal())
    url = url.replace(f":{postgres.port}/", f":{proxy.port}/")
    with open_fleet(tmp_path, postgres, Sensitive(url), prod="p1") as fleet:
        fleet.world.set_rules(TargetRule("*", Mode.AUTO))
        yield fleet


def test_what_ended_meanwhile_is_recorded_when_the_store_is_back(fleet, proxy, postgres):
    """An apply goes on by the permit that it has, is given none, and its end is not lost."""
    process = fleet.start()
    is_away, has_ended = threading.Event(), threading.Event()
    plan = plan_of(row("plugin/a"))
    permits: list[Permit] = []

    def apply(request: Order, read_permit: object) -> RunResult:
        assert callable(read_permit)
        permits.append(read_permit())
        is_away.wait(SECONDS)
        permits.append(read_permit())
        process.workers.results["acme/prod"] = plan_of()
        has_ended.set()
        del process.workers.applied["acme/prod"]
        return process.workers.apply(request, lambda: permits[0])

    process.workers.results["acme/prod"] = plan
    process.workers.applied["acme/prod"] = apply
    wait_until(lambda: permits, SECONDS, "it applies")
    assert permits[0].reason == ""
    proxy.close()
    is_away.set()
    assert has_ended.wait(SECONDS)
    wait_until(lambda: "store unavailable" in fleet.world.log.getvalue(), SECONDS, "it is said")
    assert permits[1] == permits[0]
    back = Proxy(postgres.port, at=proxy.port)
    try:
        log = fleet.world.log
        wait_until(lambda: "store answers again" in log.getvalue(), SECONDS, "it is back")

        def is_recorded() -> bool:
            return [run.verb for run in process.store.newest_runs(PROD, 9)][-1:] == [RunVerb.APPLY]

        wait_until(is_recorded, SECONDS, "the apply is recorded")
        assert fleet.world.log.getvalue().count("store unavailable") == 1
        fleet.ask_for("prod")

        def is_in_sync() -> bool:
            row = process.store.find_target(PROD)
            return row is not None and row.state is TargetCondition.IN_SYNC

        wait_until(is_in_sync, SECONDS, "work goes on")
        assert len({request.run_id for request in process.workers.applies}) == 1
    finally:
        process.stop()
        back.close()


def test_a_worker_says_once_that_the_store_is_away(fleet, proxy):
    """A round in which it has nothing to ask does not say that the store is back."""
    worker = fleet.start(ProcessRole.WORKER, is_by_hand=True)
    worker.loop._take_part()
    proxy.close()
    for _ in range(3):
        worker.loop._try_round()
    log = fleet.world.log.getvalue()
    assert log.count("store unavailable") == 1
    assert "store answers again" not in log
