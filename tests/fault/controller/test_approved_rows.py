"""An approved row is applied at most once, an unapproved one never."""

from __future__ import annotations

from controllers.applying_site import APPROVE, ApplyingSite
from forges.loopback_server import wait_until


def select(holds: list[dict[str, str]], *addresses: str) -> list[dict[str, str]]:
    selected = [hold for hold in holds if hold["address"] in addresses]
    assert len(selected) == len(addresses), holds
    return selected


def test_what_is_approved_is_done_and_nothing_else(applying_site: ApplyingSite) -> None:
    """Of three rows one at a time; by two people, not by one twice."""
    site = applying_site
    site.rule, site.storages = f"{APPROVE}, approvals: 2", 2
    site.write_configuration()
    commit = site.commit("other")
    site.start()
    holds = site.wait_for_holds(3)
    assert site.wait_for_message("held")["counts"]
    site.approve(select(holds, "storage/s-1"))
    site.approve(select(holds, "storage/s-1"))
    site.wait_quietly(2.5)
    assert site.writes == []
    assert site.list_statuses(commit)[-1].state == "pending"
    site.approve(select(holds, "storage/s-1"), "second")
    site.wait_until_written("S 1")
    wait_until(lambda: len(site.list_holds()) == 2, 20, "two rows are left", pause=0.2)
    assert site.send("approve", target="acme/dev", rows=["row1:" + "0" * 64]).status_code == 409
    assert site.send("approve", "ops", target="acme/dev", rows=[holds[0]["digest"], holds[1]["digest"], "row1:"]).status_code in {400, 409}  # fmt: skip
    for who in ("ops", "second"):
        site.approve(select(site.list_holds(), "storage/s-0", "plugin/detection"), who)
    site.wait_for_end(commit, "success")
    site.wait_until_written("S 0", "S 1", "other")
    assert site.list_holds() == []
    site.check_laws()
