"""`settle --wait` and `apply --wait`: after a kill nobody has to come back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from e2e.scenarios.workplace import Server, Workplace

from synapse_apply.model.address import Address
from synapse_apply.model.state import Intent
from synapse_apply.stores.sql import utc_now
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store


@pytest.fixture
def killed(server: Server, make: Callable[..., Workplace]) -> Workplace:
    """A project whose run was killed a moment ago, while it made the storage."""
    place = make(server, settle_after=0.5)
    (place.root / "manifests" / "plugin.yaml").unlink()
    place.run("state", "init", code=0)
    address = Address.parse("storage/raw-data")
    call = Intent("i", "p", address, "create", "v1", "name=Raw data", sent_at=utc_now(), deadline=1)
    with (
        closing(
            make_unopened_sqlite_store(place.root / ".synapse-apply" / "state" / "prod.db")
        ) as store,
        store.lock("apply"),
    ):
        store.open_intent_and_use_up_its_approvals(call)
    return place


def test_settle_waits_until_it_is_certain(killed: Workplace) -> None:
    """One line says for how long and for what; then the call is settled."""
    ran = killed.run("state", "settle", "--wait", code=0)
    (line,) = ran.err.splitlines()
    assert line.startswith("Waiting at most ")
    assert line.endswith(
        "until the effect of an earlier call shows or is no longer possible: create of storage/raw-data"
    )
    assert "storage/raw-data: create was not done" in ran.out
    assert "Settled: 1. Still open: 0." in ran.out


def test_without_wait_it_is_exit_7_and_names_the_option(killed: Workplace) -> None:
    """As before: nothing waits that was not told to."""
    ran = killed.run("state", "settle", code=7)
    assert "run again in " in ran.out
    assert "`synapse-apply state settle storage/raw-data --wait` waits for it" in ran.out


def test_apply_waits_and_then_does_all(killed: Workplace, server: Server) -> None:
    """Exit 0 and one object; JSON stays one document."""
    ran = killed.apply("--wait", "--json", code=0)
    assert "Waiting " in ran.err
    assert ran.document["exit_code"] == 0
    assert server.counts == (0, 0, 1)
    killed.unchanged()
