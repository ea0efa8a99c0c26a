"""A holder that is stopped past its lease, replaced by another apply, and continued."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import pytest
from fault.commands import LEASE, WAITS, applying, ended, reaches, replacing
from fault.convergence import Row, chosen, converge, on_api, on_store, some
from fault.site import COUNTS, LATER, MakeSite, Server, Site, tally
from stopping import stands_still, suspend

POSTS = {"v1": 12, "v2": 8}
MOST = {"v1": 0, "v2": 2}  # of the creates around which it is stopped; 0 is all


def another(site: Site, **altered: Any) -> int:
    """An apply that waits for the state and does what is left; its exit code."""
    with applying(site, *WAITS, **replacing(site), **altered) as process:
        code, out, err = ended(process)
    assert code in (0, 7), out + err
    return code


def goes_on(first: subprocess.Popen[str], site: Site) -> dict[str, Any]:
    """What the first one reports when it is continued; it asks for nothing and writes nothing."""
    arrived, written = site.server.counts()[-1]["seen"], site.written()
    first.send_signal(signal.SIGCONT)
    code, out, err = ended(first)
    report: dict[str, Any] = json.loads(out)
    unknown = any(one["result"] == "unknown" for one in report["outcomes"])
    assert code == report["exit_code"] == (7 if unknown else 3), out + err
    assert report["lock_lost"]
    assert site.server.counts()[-1]["seen"] == arrived
    assert site.written() == written
    return report


def words_of(report: dict[str, Any]) -> str:
    return json.dumps(report["diagnostics"])


@on_store("postgres")
@on_api("v1")
def test_stopped_before_a_call_is_sent(
    api: str, make_shared_site: MakeSite, server: Server, row: Row
) -> None:
    """Its call was announced; another found nothing, believed it, and made the object."""
    for nth in some(POSTS[api], 1, turn=1, most=MOST[api]):
        site = make_shared_site()
        server.faults(COUNTS)
        stop = {
            "signal": signal.SIGSTOP,
            "write": "open_intent_and_use_up_its_approvals",
            "nth": nth,
            "moment": "after",
        }
        with applying(site, lease=LEASE, **stop) as first:
            stands_still(first)
            code = another(site, later=LATER)
            report = goes_on(first, site)
        assert "not sent: the lock on the state was lost" in words_of(report)
        assert not tally(server, site.expected)["duplicates"]
        assert code == (7 if site.open_intents() else 0)
        converge(site, None, row)


@on_api("v1")
@pytest.mark.parametrize("commit", chosen(["before", "after"], "after"))
def test_stopped_while_a_call_is_under_way(
    commit: str, api: str, make_site: MakeSite, server: Server, row: Row
) -> None:
    """What the server did is found by the other one, or left until the call can have arrived."""
    for nth in some(POSTS[api], 1, turn=10, most=MOST[api]):
        site = make_site()
        under_way = {"hang": 2 * LEASE, "commit": commit}
        server.faults({"match": {"method": "POST", "nth": nth}, "do": under_way}, COUNTS)
        with applying(site, lease=LEASE) as first:
            reaches(server, first)
            suspend(first, site.state_file)
            another(site)
            report = goes_on(first, site)
        assert "The lock on the state has expired" in words_of(report)
        converge(site, None, row)


@on_store("postgres")
@on_api("v1")
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_stopped_while_it_plans(
    as_json: bool, api: str, make_shared_site: MakeSite, row: Row
) -> None:
    """What it can read no more is no finding of its own: the lock is what was lost, exit 6."""
    site = make_shared_site()
    # Over before the other one has waited for a lease.
    hang = {"hang": LEASE / 2}
    site.server.faults({"match": {"method": "GET", "nth": 1}, "do": hang}, COUNTS)
    with applying(site, as_json=as_json, lease=LEASE) as first:
        reaches(site.server, first)
        suspend(first, site.state_file if site.state_file.exists() else None)
        another(site)
        posts = site.server.posts()
        first.send_signal(signal.SIGCONT)
        code, out, err = ended(first)
    assert code == 6, out + err
    assert "The lock on the state " in (words_of(json.loads(out)) if as_json else err)
    assert "not sent" not in out + err
    assert site.server.posts() == posts
    converge(site, None, row)


def test_stopped_in_the_middle_of_a_write(make_site: MakeSite, row: Row) -> None:
    """It keeps the file to itself, and nobody can see who it is: the others are told, exit 6."""
    site = make_site(groups=1)
    with closing(sqlite3.connect(site.state_file, isolation_level=None)) as stopped:
        stopped.execute("BEGIN EXCLUSIVE")
        with applying(site, "--lock-timeout", "0", patience=0.2) as process:
            code, out, err = ended(process)
    assert code == 6, out + err
    assert "is writing, or was stopped during a write" in out
    assert site.server.posts() == 0
    converge(site, None, row)
