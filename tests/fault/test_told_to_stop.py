"""A run that is told to stop while a call does not end, where nobody says it once more."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from fault.commands import FOREVER, applying, ended, reaches
from fault.convergence import Row, chosen, converge, on_api, some
from fault.site import MakeSite, Server, Site
from stopping import asked_again, suspend

POSTS = {"v1": 12, "v2": 8}
MOST = {"v1": 0, "v2": 4}  # of the creates that may hang; 0 is all
DRAINS_LONG = 600.0  # whoever waits for that is told from a slow machine
DRAIN = 1.0  # of those who are altered; in CI it is six times as much
# Seconds after its first signal a CI runner kills (GitHub: 7.5 and 2.5), with time for a report.
IN_CI = "Stopping: calls in progress finish within 6 s."


def stopped(
    site: Site, rule: dict[str, Any], *, parallelism: int = 1, **altered: Any
) -> tuple[int, dict[str, Any], str]:
    """Exit code and report of an apply that gets SIGTERM at a request, and what it said."""
    site.server.faults(rule)
    with applying(site, parallelism=parallelism, **altered) as process:
        reaches(site.server, process)
        process.send_signal(signal.SIGTERM)
        code, out, err = ended(process)
    report: dict[str, Any] = json.loads(out)
    assert report["exit_code"] == code
    assert report["stopped"] == signal.SIGTERM
    return code, report, err


def names(report: dict[str, Any], result: str) -> set[str]:
    return {one["address"] for one in report["outcomes"] if one["result"] == result}


def test_it_reports_before_a_runner_loses_patience(make_site: MakeSite, row: Row) -> None:
    """Off a terminal, without anything altered: what is still under way is told as unknown."""
    site = make_site()
    hang = {"hang": FOREVER, "commit": "after"}
    rule = {"match": {"method": "POST", "from": 2}, "do": hang}
    code, report, said = stopped(site, rule, parallelism=3)
    assert code == 7
    assert IN_CI in said
    assert names(report, "unknown")
    assert names(report, "done") | names(report, "unknown") == set(site.server.ids())
    assert {str(address) for address in site.open_intents()} == names(report, "unknown")
    converge(site, None, row)


@on_api("v1", "v2")
@pytest.mark.parametrize("commit", chosen(["before", "after"], "before"))
def test_any_call_may_be_the_one_that_hangs(
    commit: str, api: str, make_site: MakeSite, server: Server, row: Row
) -> None:
    """It is unknown and named, the rest is skipped."""
    turn = 5 if commit == "before" else 9
    for nth in some(POSTS[api], 1, turn=turn, most=MOST[api]):
        site = make_site()
        hang = {"hang": FOREVER, "commit": commit}
        rule = {"match": {"method": "POST", "nth": nth}, "do": hang}
        code, report, _ = stopped(site, rule, drain=DRAIN)
        assert code == 7
        unknown = names(report, "unknown")
        assert unknown == {str(address) for address in site.open_intents()}
        assert len(unknown) <= (1 if api == "v1" else 2)
        assert names(report, "done") == set(server.ids()) - unknown
        assert "no answer: the run was stopped" in json.dumps(report["diagnostics"])
        converge(site, None, row)


def test_a_wait_for_a_busy_server_ends_too(make_site: MakeSite, row: Row) -> None:
    """A call that was turned away and is not sent again has not been made: nothing is unknown."""
    site = make_site()
    rule = {"match": {"method": "POST", "from": 2}, "do": {"status": 429, "retry_after": 50}}
    code, report, _ = stopped(site, rule, drain=DRAIN)
    assert code == 143
    assert len(names(report, "failed")) == 1
    assert names(report, "unknown") == set()
    converge(site, None, row)
    assert row.unknowns == 0


@pytest.mark.parametrize("parallelism", [1, 3])
def test_the_second_signal_names_what_is_under_way(
    parallelism: int, make_site: MakeSite, row: Row
) -> None:
    """It waits for nothing, the report is whole: exit 7, and the next run knows what to look for."""
    site = make_site()
    hang = {"hang": FOREVER, "commit": "after"}
    site.server.faults({"match": {"method": "POST", "from": 2}, "do": hang})
    told_in = site.root / "report.json"
    with applying(
        site, f"--report=json={told_in}", parallelism=parallelism, drain=DRAINS_LONG
    ) as process:
        reaches(site.server, process)
        assert process.stderr is not None
        process.send_signal(signal.SIGTERM)
        assert any(
            "Stopping: calls in progress finish within 600 s." in line for line in process.stderr
        )
        asked_again(process, signal.SIGTERM)
        code, out, err = ended(process)
    report = json.loads(out)
    assert code == report["exit_code"] == 7
    assert report["stopped"] == signal.SIGTERM
    assert json.loads(told_in.read_text()) == report
    assert names(report, "unknown") >= {str(address) for address in site.open_intents()}
    assert names(report, "done") <= set(site.server.ids())
    assert len(report["outcomes"]) == len(site.expected)
    (told,) = [line for line in err.splitlines() if "Running calls: " in line]
    assert all(str(address) in told for address in site.open_intents())
    converge(site, None, row)


@pytest.mark.usefixtures("with_ctrl_c")
def test_one_signal_that_comes_twice_is_one(make_site: MakeSite, row: Row) -> None:
    """A shell and what it wraps both get Ctrl-C, and a wrapper passes it on: it still drains."""
    site = make_site()
    hang = {"hang": 2.0, "commit": "after"}
    site.server.faults({"match": {"method": "POST", "nth": 3}, "do": hang})
    with applying(site) as process:
        reaches(site.server, process)
        # Both are there when it goes on, however slow the machine is; two of a kind would be one.
        suspend(process, site.state_file)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        code, out, err = ended(process)
    report = json.loads(out)
    assert code == report["exit_code"] == 130
    assert err.count("Stopping: ") == 1
    assert names(report, "unknown") == set()
    assert len(names(report, "done")) == 3
    converge(site, None, row)


@pytest.mark.usefixtures("with_ctrl_c")
@pytest.mark.parametrize("name", chosen(["SIGINT", "SIGTERM"], "SIGINT"))
def test_a_plan_in_the_making_ends_at_once(name: str, make_site: MakeSite) -> None:
    """Nothing has begun, so nothing is waited for; a program gets its document all the same."""
    site = make_site()
    assert site.apply().code == 0
    site.server.faults({"match": {"method": "GET", "from": 3}, "do": {"hang": FOREVER}})
    with applying(site, parallelism=3, drain=DRAINS_LONG) as process:
        reaches(site.server, process)
        process.send_signal(signal.Signals[name])
        code, out, err = ended(process)
    report = json.loads(out)
    assert code == report["exit_code"] == 128 + signal.Signals[name]
    assert (report["plan"], report["outcomes"]) == (None, [])
    assert err.split() == [
        "Interrupted." if name == "SIGINT" else "Terminated.",
        *("Nothing", "was", "sent."),
    ]
    (finding,) = report["diagnostics"]
    assert finding["hint"] == "Nothing was sent."
