"""A state that cannot be written any more, from the middle of an apply on."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest
from fault.commands import applying, ended
from fault.convergence import Row, chosen, command, converge, on_api, some
from fault.disks import FULL, READ_ONLY, Way
from fault.site import MakeSite, Server, Site, pending
from stopping import stands_still

POSTS = {"v1": 6, "v2": 4}
WORDS = {
    "limit": "The state cannot be read or written on this disk",
    "tmpfs": "The disk is full",
    "modes": "The state cannot be written",
    "mount": "The state cannot be written",
}
WAYS: dict[str, Way] = {**FULL, **READ_ONLY}
_LEFT = ("failed", "unknown")
CASES = {
    f"{way}-{write}": (way, write)
    for way in WAYS
    for write in ("open_intent_and_use_up_its_approvals", "close_ended_intent")
}


@on_api("v1")
@pytest.mark.parametrize(
    "case",
    chosen(
        CASES,
        "limit-close_ended_intent",
        "tmpfs-close_ended_intent",
        "modes-open_intent_and_use_up_its_approvals",
    ),
)
def test_a_state_that_takes_no_more(
    case: str, api: str, make_site: MakeSite, server: Server, row: Row
) -> None:
    """What was done is told, ids included; the printed command and one more apply do the rest."""
    way, write = CASES[case]
    for nth in some(POSTS[api], 1, turn=3, most=6 if api == "v1" else 2):
        site = make_site(groups=2)
        stop = {"signal": signal.SIGSTOP, "write": write, "nth": nth, "moment": "before"}
        nobody = {"nobody": True} if way == "modes" else {}
        with WAYS[way](site.root / ".synapse-apply" / "state") as breaks:
            with applying(site, **stop, **nobody) as process:
                stands_still(process)
                breaks(process)
                process.send_signal(signal.SIGCONT)
                code, out, err = ended(process)
            report = json.loads(out)
            assert code == (7 if write == "close_ended_intent" else 3), out + err
            assert told(report) == {name: one for name, (one,) in server.ids().items()}
            assert_nothing_more_was_tried(report)
            assert WORDS[way] in out
            if way in ("tmpfs", "mount"):
                still_so(site, WORDS[way])
        for file in sorted({one["unrecorded_in"] for one in report["outcomes"]} - {None}):
            command(site, f"state record -t site {file}")
        converge(site, None, row)


def told(report: dict[str, Any]) -> dict[str, str]:
    """The objects that a report says were made, by address."""
    return {one["address"]: one["id"] for one in report["outcomes"] if one["id"]}


def assert_nothing_more_was_tried(report: dict[str, Any]) -> None:
    """One call could not be recorded; what could not have been either was not begun."""
    results = Counter(one["result"] for one in report["outcomes"])
    calls = {one["request_id"] for one in report["outcomes"] if one["result"] in _LEFT}
    assert len(calls) == 1, results
    reasons = {one["detail"] for one in report["diagnostics"] if one["summary"] == "Not tried"}
    assert "The state could not be written." in reasons or not results["skipped"]


def still_so(site: Site, words: str) -> None:
    """Another run says why before it sends anything; a plan needs no room."""
    posts = site.server.posts()
    assert words in command(site, "apply --auto-approve --target site", code=1)
    assert site.server.posts() == posts
    said = command(site, "plan --target site")
    # When only the last call is unrecorded, it is found: nothing is left to be done.
    assert "Plan: " in said or (said.startswith("No changes.") and "state record" in said)


@pytest.mark.parametrize("way", chosen(WAYS, "modes"))
def test_before_the_first_call(way: str, make_site: MakeSite, row: Row) -> None:
    """Exit 1 with the reason, and nothing is sent."""
    site = make_site(groups=1)
    nobody = {"nobody": True} if way == "modes" else {}
    with WAYS[way](site.root / ".synapse-apply" / "state") as breaks:
        with applying(site, signal=signal.SIGSTOP, write="lock", nth=1, **nobody) as process:
            stands_still(process)
            breaks(process)
            process.send_signal(signal.SIGCONT)
            code, out, err = ended(process)
        assert code == 1, out + err
        assert WORDS[way] in out
        assert site.server.posts() == 0
    assert pending(site.plan())
    converge(site, None, row)
