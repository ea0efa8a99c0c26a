"""`settle --wait` and `apply --wait`: after a kill nobody has to come back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from e2e.scenarios.open_calls import announce_create
from e2e.scenarios.workplace import Server, Workplace, held


@pytest.fixture
def killed(server: Server, make: Callable[..., Workplace]) -> Workplace:
    """A project whose run was killed a moment ago, while it made the storage."""
    place = make(server, settle_after=0.5)
    (place.root / "manifests" / "plugin.yaml").unlink()
    place.run("state", "init", code=0)
    with held(place) as store:
        announce_create(store, deadline=1)
    return place


def test_settle_waits_until_it_is_certain(killed: Workplace) -> None:
    """One line says for how long and for what; then the call is settled."""
    ran = killed.run("state", "settle", "--wait", code=0)
    (line,) = ran.err.splitlines()
    assert line.startswith("Waiting at most ")
    assert line.endswith(
        "until the effect of an earlier call is visible or no longer possible: create of storage/raw-data"
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
