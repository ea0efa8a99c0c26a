"""What of the laws of fleets takes long: run with SYNAPSE_APPLY_TEST_DEEP=1 alone."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

import pytest
import requests
from controllers.applying_site import APPROVE, MOST_PERMIT_SECONDS
from controllers.fleet_site import MARGIN_SECONDS, FleetProcess, FleetSite
from controllers.site import SECONDS
from forges.loopback_server import wait_until

AWAY_SECONDS = float(os.environ.get("SYNAPSE_APPLY_TEST_AWAY", "60"))
STOPPED_SECONDS = 10.0
ROUNDS = int(os.environ.get("SYNAPSE_APPLY_TEST_ROUNDS", "6"))
A_DAY = 86400.0


def start_fleet(site: FleetSite) -> tuple[FleetProcess, FleetProcess, FleetProcess]:
    """Two replicas and a worker; all targets are looked at."""
    processes = (
        site.start_replica("first"),
        site.start_replica("second"),
        site.start_worker("worker"),
    )
    wait_until(
        lambda: len([at for at in site.list_looked_at().values() if at]) == site.target_count,
        SECONDS,
        f"all are looked at\n{site.read_log()}",
    )
    return processes


def find_longest_gaps(site: FleetSite, seconds: float) -> dict[str, float]:
    """For how long each target was looked at by nobody, at most, within so many seconds."""
    end = time.monotonic() + seconds
    changed_at: dict[str, float] = {}
    last = site.list_looked_at()
    gaps = dict.fromkeys(last, 0.0)
    begun = time.monotonic()
    while (now := time.monotonic()) < end:
        for name, looked_at in site.list_looked_at().items():
            gaps[name] = max(gaps[name], now - changed_at.get(name, begun))
            if looked_at != last[name]:
                last[name], changed_at[name] = looked_at, now
        time.sleep(0.3)
    return gaps


@pytest.mark.parametrize("victim", ["worker", "leader"])
@pytest.mark.parametrize("deed", ["kill", "stop"])
def test_one_of_three_amid_an_apply(fleet_site, victim, deed):
    """What it had is taken over, the others are looked at meanwhile, and nothing is made twice."""
    site = fleet_site
    start_fleet(site)
    process = site.find_leader() if victim == "leader" else site.fleet["worker"]
    commit = site.begin_slow_applies_of(process)
    begun_at = time.monotonic()
    if deed == "kill":
        site.kill_process(process)
        claims = site.list_claims(process)
        site.set_faults()
        taken_over = site.wait_until_taken_over(claims)
        gaps = find_longest_gaps(site, STOPPED_SECONDS)
    else:
        site.killed_workers |= set(process.list_process_ids())
        with site.stand_still(process):
            claims = site.list_claims(process)
            site.set_faults()
            taken_over = site.wait_until_taken_over(claims)
            gaps = find_longest_gaps(site, max(STOPPED_SECONDS - taken_over, 1.0))
    site.wait_for_end(commit, "success", 4 * SECONDS)
    seconds = time.monotonic() - begun_at
    print(
        f"{deed} {victim} with {claims}: taken over {taken_over:.1f} s, ended {seconds:.1f} s, {gaps}"
    )
    others = [gap for name, gap in gaps.items() if name not in claims]
    assert max(others, default=0.0) < 3 + MARGIN_SECONDS, gaps
    assert [status.state for status in site.list_ends(commit)] == ["success"]
    assert site.sink.messages == []
    site.check_all_run(*([process] if deed == "kill" else []))
    site.check_fleet_laws()


def test_processes_that_are_killed_and_stopped_by_chance(fleet_site):
    """Round after round one of them: each commit has its end, and nothing is made twice."""
    site = fleet_site
    start_fleet(site)
    chance = random.Random(int(os.environ.get("SYNAPSE_APPLY_TEST_SEED", "1")))
    for number in range(ROUNDS):
        commit = site.begin_slow_applies(chance.choice((50, 200, 600)))
        process = chance.choice([*site.fleet.values()])
        with suppress(AssertionError):
            site.wait_for_write_of(process)
        deed = chance.choice(("kill", "kill alone", "stop", "end"))
        print(f"round {number}: {deed} {process.name}")
        site.killed_workers |= set(process.list_process_ids())
        if deed == "stop":
            with site.stand_still(process):
                time.sleep(chance.choice((1.0, 5.0, STOPPED_SECONDS)))
        elif deed == "kill":
            site.kill_process(process)
            site.start_process(process)
        else:
            # Its children see that it is gone.
            assert process.process is not None
            process.process.send_signal(signal.SIGKILL if deed == "kill alone" else signal.SIGTERM)
            process.process.wait(SECONDS)
            site.start_process(process)
        site.set_faults()
        site.wait_for_end(commit, "success", 4 * SECONDS)
    site.check_fleet_laws()


def test_two_replicas_tell_each_fact_once(fleet_site):
    """A failure and its end, a row that is held, a pause and its reminder a day later."""
    site = fleet_site
    start_fleet(site)
    site.storages = 1
    site.set_faults({"match": {"method": "POST"}, "do": {"status": 400}})
    commit = site.commit("other")
    site.wait_for_message("failed", site.target_count)
    site.wait_for_end(commit, "failure")
    site.set_faults()
    site.wait_for_message("recovered", site.target_count)
    site.wait_for_end(commit, "success")
    site.act("pause", scope="acme/t0", reason="to be looked into")
    site.wait_for_message("paused")
    site.query("UPDATE pauses SET since = since - %s", [A_DAY + 60])
    unsent = "SELECT id FROM messages WHERE sent_at = 0"
    for _ in range(3):
        # The hourly work is done at once by who takes over. A message that was sent and not noted
        # is sent again, with its id.
        wait_until(lambda: site.query(unsent) == [], SECONDS, "all messages noted as sent")
        leader = site.find_leader()
        site.kill_process(leader)
        site.wait_for_another_leader(leader)
        site.start_process(leader)
        time.sleep(3)
    counts = {
        event: len(site.list_messages(event))
        for event in ("failed", "recovered", "paused", "held", "drift")
    }
    expected = {"failed": site.target_count, "recovered": site.target_count, "paused": 2}
    assert counts == {**expected, "held": 0, "drift": 0}, site.sink.messages
    ends = [(status.state, status.description) for status in site.list_ends(commit)]
    assert ends[-1][0] == "success", ends
    assert len(ends) == len(set(ends)), ends
    site.check_fleet_laws()


@pytest.mark.parametrize("way", ["gone", "silent"])
def test_a_database_that_is_away(fleet_site, way):
    """No call begins without a permit, no process ends, and afterwards all goes on."""
    site = fleet_site
    processes = start_fleet(site)
    site.storages += 40
    site.slow_down_writes(1500)
    commit = site.commit("many")
    site.wait_for_writes(6)
    assert site.server is not None
    away_at = time.monotonic()
    if way == "gone":
        site.server.kill()
    else:
        site.database_proxy.flows.clear()
    site.wait_quietly(AWAY_SECONDS)
    readiness = [requests.get(f"{site.url}/readyz", timeout=60).status_code]
    readiness.append(requests.get(f"{site.url}/healthz", timeout=60).status_code)
    late = [call for call in site.writes if call.began_at > away_at + MOST_PERMIT_SECONDS + 1]
    count = len(site.writes)
    if way == "gone":
        site.server.start()
    else:
        site.database_proxy.flows.set()
    back_at = time.monotonic()
    if AWAY_SECONDS > MOST_PERMIT_SECONDS + 2:
        assert late == []
        assert readiness[0] == 503
    site.check_all_run()
    site.set_faults()
    wait_until(lambda: len(site.writes) > count, SECONDS, f"it goes on\n{site.read_log()}")
    print(f"{way}: writes go on {site.writes[count].began_at - back_at:.1f} s after it is back")
    site.wait_for_end(commit, "success", 6 * SECONDS)
    assert [status.state for status in site.list_ends(commit)] == ["success"]
    assert site.sink.messages == []
    site.check_all_run()
    assert len(processes) == len(site.fleet)
    site.check_fleet_laws()


def test_jobs_that_somebody_meddles_with(fleet_site):
    """Jobs are emptied, doubled, and made for targets that there are not: nothing wrong happens."""
    site = fleet_site
    start_fleet(site)
    for number in range(4):
        commit = site.begin_slow_applies(200)
        site.wait_for_writes(1 + len(site.writes))
        meddle_with_jobs(site, number)
        site.set_faults()
        site.wait_for_end(commit, "success", 3 * SECONDS)
    site.wait_quietly(3)
    site.check_all_run()
    assert site.sink.messages == []
    site.check_fleet_laws()


def meddle_with_jobs(site: FleetSite, number: int) -> None:
    columns = "queue_name, task_name, priority, lock, queueing_lock, args, status"
    if number == 0:
        site.query("DELETE FROM procrastinate_jobs")
        return
    [(task, queue), *_] = site.query(
        "SELECT task_name, queue_name FROM procrastinate_jobs LIMIT 1"
    ) or [("look", "default")]
    jobs = {
        1: [f'{{"source": "acme", "target": "{name}"}}' for name in site.target_names] * 3,
        2: ['{"source": "acme", "target": "nobody"}', '{"source": "nowhere", "target": "t0"}'],
        3: ['{"x": 1}', "{}", "[]"],
    }[number]
    for arguments in jobs:
        site.query(
            f"INSERT INTO procrastinate_jobs ({columns})"
            " VALUES (%s, %s, 0, NULL, NULL, %s::jsonb, 'todo')",
            [queue, task, arguments],
        )


def test_two_clocks_that_differ_by_five_minutes(fleet_site, tmp_path):
    """All go by the database's clock: nothing is looked at too often, windows and ends hold."""
    site = fleet_site
    ahead, behind = tmp_path / "ahead", tmp_path / "behind"
    ahead.write_text("300")
    behind.write_text("-300")
    site.interval = "5s"
    site.write_configuration()
    site.start_replica("first", altered={"clock": str(ahead)})
    site.start_replica("second")
    site.start_worker("worker", altered={"clock": str(behind)})
    commit = site.begin_slow_applies(50)
    site.wait_for_end(commit, "success", 2 * SECONDS)
    site.set_faults()
    gaps = find_longest_gaps(site, 15)
    assert max(gaps.values()) < 7 + MARGIN_SECONDS, gaps
    for _ in range(2):
        leader = site.find_leader()
        site.kill_process(leader)
        commit = site.begin_slow_applies(50)
        site.wait_for_end(commit, "success", 2 * SECONDS)
        site.start_process(leader)
    now = time.time()
    assert all(abs(now - at) < 60 for at in site.list_looked_at().values())
    site.check_fleet_laws()


def test_rows_that_are_approved_on_the_other_replica(fleet_site):
    """Who serves the page need not be who works: each row is applied once."""
    site = fleet_site
    site.rule = APPROVE
    site.write_configuration()
    start_fleet(site)
    site.storages = 2
    commit = site.commit("other")
    wait_until(
        lambda: all(len(list_holds(site, name)) == 2 for name in site.target_names),
        SECONDS,
        f"held\n{site.read_log()}",
    )
    for name in site.target_names:
        digests = [hold["digest"] for hold in list_holds(site, name)]
        leader = site.find_leader()
        replicas = [one for one in site.fleet.values() if one.verb == "run" and one is not leader]
        site.port = replicas[0].port
        site.act("approve", target=f"acme/{name}", rows=digests)
    site.wait_for_end(commit, "success", 2 * SECONDS)
    site.check_fleet_laws()


def list_holds(site: FleetSite, name: str) -> list[dict[str, str]]:
    with suppress(requests.HTTPError):
        return list(site.get(f"/api/v1/holds?target=acme/{name}")["items"])
    return []
