"""The page of a target shows what its apply does while it does it, and only then."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from contextlib import closing
from html import unescape

import pytest
from controllers.applying_site import OPS_TOKEN, ApplyingSite
from controllers.fleet_site import FleetSite
from controllers.site import SECONDS
from forges.loopback_server import wait_until
from in_process import run

PAGE = "/targets/acme/dev"
NAMES = [f"storage/s-{number}" for number in range(3)]


def read_log(html: str) -> dict[str, str]:
    """What a page says of each row: its result, then its number."""
    section = html.partition('data-live="log"')[2].partition("</section>")[0]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', section, re.DOTALL)
    log = {}
    for address, cells in rows:
        words = unescape(re.sub("<[^>]*>", "", cells)).split("\n")
        log[unescape(address)] = f"{words[3]} {words[1]}"
    return log


def count_kept(site: ApplyingSite) -> int:
    """How many applies the store tells of."""
    with closing(sqlite3.connect(site.data / "controller.db")) as database:
        statement = "SELECT COUNT(*) FROM meta WHERE key LIKE 'apply %'"
        return int(database.execute(statement).fetchone()[0])


def wait_for_log(site: ApplyingSite, *results: str) -> dict[str, str]:
    """Wait until the page tells of these results, whatever else it tells."""

    def is_told() -> bool:
        told = [line.split()[0] for line in read_log(site.get_page(PAGE).text).values()]
        return set(results) <= set(told)

    wait_until(is_told, SECONDS, f"{results}\n{site.read_log()}", pause=0.1)
    return read_log(site.get_page(PAGE).text)


def begin(site: ApplyingSite, milliseconds: int = 3000) -> str:
    """An apply of three new storages at a slow backend; the commit."""
    site.storages = 3
    site.write_configuration()
    site.slow_down_writes(milliseconds)
    commit = site.commit("images")
    site.start()
    return commit


def test_rows_appear_as_they_begin_and_end(applying_site):
    """The run has their begin afterwards; what was shown of its course is gone, and had no secret."""
    site = applying_site
    commit = begin(site)
    log = wait_for_log(site, "running")
    assert set(log) <= set(NAMES)
    assert {line.split(" ", 1)[1] for line in log.values()} <= {
        f"{number} of 3" for number in (1, 2, 3)
    }
    assert all(canary not in site.get_page(PAGE).text for canary in site.canaries)
    url, token = f"http://127.0.0.1:{site.port}", {"SYNAPSE_APPLY_CONTROLLER_TOKEN": OPS_TOKEN}
    said = run(f"controller status acme/dev --url {url}", site.folder, token).stdout
    shown = re.findall(r"^acme/dev, row (\d) of 3: create (\S+): \w+", said, re.MULTILINE)
    assert {address for _, address in shown} <= set(NAMES)
    assert shown
    site.wait_for_end(commit, "success")
    assert read_log(site.get_page(PAGE).text) == {}
    assert count_kept(site) == 0
    runs = site.get("/api/v1/runs?target=acme/dev")["items"]
    [apply] = [run["id"] for run in runs if run["verb"] == "apply"]
    html = site.get_page(f"/runs/{apply}").text.partition('id="calls-title"')[2]
    assert len(re.findall('data-label="Time"><time', html)) == 3
    outcomes = site.get(f"/api/v1/runs/{apply}")["report"]["outcomes"]
    assert all(one["began_at"].endswith("Z") for one in outcomes)
    site.check_laws()


@pytest.mark.parametrize("killed", ["worker", "controller"])
def test_a_killed_apply_is_not_shown_as_one_that_runs(applying_site, killed):
    """The next check of the target forgets it."""
    site = applying_site
    begin(site)
    wait_for_log(site, "running")
    if killed == "worker":
        [worker] = site.list_worker_ids()
        site.set_faults()
        os.kill(worker, signal.SIGKILL)
    else:
        site.kill()
        site.set_faults()
        site.start()

    def is_forgotten() -> bool:
        runs = site.get("/api/v1/runs?target=acme/dev")["items"]
        return "worker_lost" in {run["outcome"] for run in runs} and count_kept(site) == 0

    wait_until(is_forgotten, SECONDS, f"it is forgotten\n{site.read_log()}", pause=0.1)
    wait_until(
        lambda: read_log(site.get_page(PAGE).text) == {}, SECONDS, "nothing is shown", pause=0.1
    )


def test_every_replica_shows_the_apply_of_another(tmp_path, postgres):
    with FleetSite(tmp_path, interval="20s", server=postgres, target_count=1) as site:
        replicas = [site.start_replica("first"), site.start_replica("second")]
        site.find_leader()
        commit = site.begin_slow_applies(3000)

        def shows(port: int) -> bool:
            site.port = port
            return bool(read_log(site.get_page("/targets/acme/t0").text))

        ports = {replica.port for replica in replicas}
        seen: set[int] = set()

        def is_seen_by_all() -> bool:
            seen.update(filter(shows, ports))
            return seen == ports

        wait_until(is_seen_by_all, SECONDS, f"{seen} of {ports}\n{site.read_log()}", pause=0.1)
        site.set_faults()
        site.wait_for_end(commit, "success")
        assert site.query("SELECT key FROM meta WHERE key LIKE 'apply %%'") == []
        assert not any(map(shows, ports))
