"""An older and a newer version on one store; run with SYNAPSE_APPLY_TEST_DEEP=1 alone."""

from __future__ import annotations

import signal

from controllers.fleet_site import FleetProcess, FleetSite
from controllers.site import SECONDS

DRAIN_SECONDS = 6.0
MARGIN_SECONDS = 10.0


def test_one_version_after_the_other(fleet_site):
    """Both work on one store for a while, and the older ones end one by one amid applies."""
    site = fleet_site
    older = [site.start_replica("first"), site.start_replica("second"), site.start_worker("worker")]
    site.wait_for_end(begin_slow_applies(site), "success", 2 * SECONDS)
    before = read_format(site)
    altered = {"store_format": before + 1, "oldest_writer": before}
    newer = [site.start_replica("newer", altered=altered)]
    newer += [site.start_worker("other", altered=altered)]
    assert read_format(site) == before + 1
    for process in older:
        commit = begin_slow_applies(site)
        site.wait_for_writes(len(site.writes) + 1)
        assert end(process) == 0
        site.port = newer[0].port
        site.wait_for_end(commit, "success", 4 * SECONDS)
    assert site.find_leader() is newer[0]
    assert site.sink.messages == []
    site.check_all_run(*older)
    site.set_faults()
    site.check_fleet_laws()


def test_an_older_version_that_is_shut_out(fleet_site):
    """It ends by itself within seconds, what it has begun ends, and the newer one goes on."""
    site = fleet_site
    older = [site.start_replica("first"), site.start_worker("worker")]
    site.wait_for_end(begin_slow_applies(site), "success", 2 * SECONDS)
    site.storages += 10
    site.slow_down_writes(800)
    commit = site.commit("many")
    site.wait_for_writes(len(site.writes) + 2)
    newer = site.start_replica(
        "newer", altered=dict.fromkeys(("store_format", "oldest_writer"), read_format(site) + 1)
    )
    site.port = newer.port
    for process in older:
        assert process.process is not None
        assert process.process.wait(SECONDS) == 1, site.read_log()
    assert "newer version" in site.read_log()
    site.wait_for_end(commit, "success", 4 * SECONDS)
    assert site.sink.messages == []
    site.set_faults()
    site.check_fleet_laws()


def read_format(site: FleetSite) -> int:
    ((value,),) = site.query("SELECT value FROM meta WHERE key = 'format'")
    return int(value)


def begin_slow_applies(site: FleetSite) -> str:
    site.storages += 2
    site.slow_down_writes(500)
    return site.commit(f"number {site.storages}")


def end(process: FleetProcess) -> int:
    """Tell a process to end, as a supervisor does; its exit code."""
    assert process.process is not None
    process.process.send_signal(signal.SIGTERM)
    return process.process.wait(SECONDS)
