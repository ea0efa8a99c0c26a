"""A person applies a target in mode observe from its page: the rows that it shows, once."""

from __future__ import annotations

import re
from html import unescape

from controllers.applying_site import APPROVE, OBSERVE, ApplyingSite
from controllers.site import SECONDS
from forges.loopback_server import wait_until

PAGE = "/targets/acme/dev"


def begin(site: ApplyingSite, rule: str = OBSERVE, storages: int = 2) -> dict[str, str]:
    """Start it, and wait for the page's rows: the digest of each address."""
    site.rule, site.storages = rule, storages
    site.write_configuration()
    site.commit("other")
    site.start()
    return wait_for_rows(site, storages + 1)


def list_rows(site: ApplyingSite) -> dict[str, str]:
    """The rows that the page offers to apply now."""
    html = site.get_page(PAGE).text
    if f'action="{PAGE}/apply"' not in html:
        return {}
    rows = r'name="row" value="(row1:[0-9a-f]{64})".*?<b>[^<]*</b> ([^<]*)</label>'
    return {unescape(address): digest for digest, address in re.findall(rows, html, re.DOTALL)}


def wait_for_rows(site: ApplyingSite, count: int) -> dict[str, str]:
    wait_until(
        lambda: len(list_rows(site)) == count,
        SECONDS,
        f"{count} rows, not {list_rows(site)}\n{site.read_log()}",
        pause=0.2,
    )
    return list_rows(site)


def list_audit(site: ApplyingSite, *actions: str) -> list[str]:
    return [
        f"{row['who']} {row['action']}"
        for row in site.get("/api/v1/audit?after=0&limit=1000")["items"]
        if row["action"] in actions
    ]


def test_what_is_selected_is_applied_once_and_nothing_else(applying_site):
    """The rest stays as it is, now and later; nobody is told that something waits."""
    site = applying_site
    rows = begin(site)
    answer = site.post_form(f"{PAGE}/apply", row=rows["storage/s-1"])
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?done=apply")
    site.wait_until_written("S 1")
    assert wait_for_rows(site, 2).keys() == {"plugin/detection", "storage/s-0"}
    site.wait_quietly(2.5)
    assert site.list_written() == ["S 1"]
    target = site.get_target()
    assert (target["mode"], target["hold_count"], site.list_holds()) == ("observe", 0, [])
    assert not site.list_messages("held")
    assert list_audit(site, "apply now", "begin apply") == [
        *("proxy:ann apply now", "controller:laws begin apply")
    ]
    [run] = [
        run for run in site.get("/api/v1/runs?target=acme/dev")["items"] if run["verb"] == "apply"
    ]
    assert run["approved_by"] == ["proxy:ann"]
    site.check_laws()


def test_a_request_that_was_not_shown_or_may_not_be_is_refused(applying_site):
    """Other rows, a pause, two people, another mode."""
    site = applying_site
    rows = begin(site, f"{OBSERVE}, approvals: 2", 1)
    digests = [rows["storage/s-0"]]

    def ask(rows: list[str]) -> tuple[int, str]:
        answer = site.send("apply", target="acme/dev", rows=rows)
        return answer.status_code, answer.text

    assert ask(["row1:" + "0" * 64])[0] == 409
    status, text = ask(digests)
    assert (status, "One approval is not enough" in text) == (409, True)
    site.use_rule(OBSERVE)
    site.act("pause", scope="acme/dev", reason="incident", seconds=3600)
    status, text = ask(digests)
    assert (status, "incident" in text) == (409, True)
    site.act("resume", scope="acme/dev")
    site.use_rule(APPROVE)
    site.wait_for_holds(2)
    assert ask(digests)[0] == 409
    assert site.post_form(f"{PAGE}/apply", row=digests[0]).status_code == 409
    site.wait_quietly(1.5)
    assert site.writes == []


def test_an_approval_of_now_is_none_of_later(applying_site):
    """A row that changed before the check is not applied, also when the mode is approve later."""
    site = applying_site
    site.interval = "1h"
    rows = begin(site, storages=0)
    site.change_by_hand("by hand")
    site.act("apply", target="acme/dev", rows=list(rows.values()))
    wait_until(
        lambda: list_audit(site, "end approval"), SECONDS, f"the approval ends\n{site.read_log()}"
    )
    site.change_by_hand("images")
    site.use_rule(APPROVE)
    site.act("reconcile", target="acme/dev")
    [hold] = site.wait_for_holds(1)
    assert (hold["digest"], hold["approved_by"]) == (rows["plugin/detection"], [])
    site.wait_quietly(1.5)
    assert site.writes == []


def ask_amid_a_check(site):
    """Ask for an apply of all rows while a slow check runs, and for no other check."""
    site.interval = "1h"
    rows = begin(site, storages=0)
    site.set_faults({"match": {"method": "GET"}, "do": {"latency": 700}})
    site.act("reconcile", target="acme/dev")
    site.act("apply", target="acme/dev", rows=list(rows.values()))


def test_an_approval_ends_where_the_check_was_for_something_else(applying_site):
    """It never waits for the mode approve."""
    site = applying_site
    ask_amid_a_check(site)
    site.act("reconcile", target="acme/dev")
    wait_until(
        lambda: list_audit(site, "end approval"), SECONDS, f"the approval ends\n{site.read_log()}"
    )
    site.set_faults()
    site.use_rule(APPROVE)
    [hold] = site.wait_for_holds(1)
    assert hold["approved_by"] == []
    site.wait_quietly(1.5)
    assert site.writes == []


def test_an_approval_of_now_does_not_count_where_the_mode_is_another_by_the_check(applying_site):
    """Something else made it due, so that no check is for the apply that was asked for."""
    site = applying_site
    ask_amid_a_check(site)
    site.act("reconcile", target="acme/dev")
    site.use_rule(f"{APPROVE}, approvals: 2")
    site.set_faults()
    site.wait_for_holds(1)
    site.act("reconcile", target="acme/dev")
    wait_until(
        lambda: list_audit(site, "end approval"), SECONDS, f"the approval ends\n{site.read_log()}"
    )
    assert [hold["approved_by"] for hold in site.list_holds()] == [[]]


def test_an_approval_of_now_is_none_of_another_commit_and_mode_after_a_restart(applying_site):
    """The controller stops before the check."""
    site = applying_site
    ask_amid_a_check(site)
    site.stop()
    site.set_faults()
    site.rule, site.storages = APPROVE, 1
    site.write_configuration()
    site.commit("other")
    site.start()
    assert [hold["approved_by"] for hold in site.wait_for_holds(2)] == [[], []]
    site.wait_quietly(1.5)
    assert site.writes == []


def test_an_approval_of_now_is_none_of_a_mode_that_was_another_for_a_moment(applying_site):
    """Approve, then observe, then approve: one check began before, and none is for the apply."""
    site = applying_site
    site.interval = "1h"
    rule = f"{APPROVE}, approvals: [{{count: 2}}]"
    site.rule, site.storages = rule, 0
    site.write_configuration()
    site.commit("other")
    site.start()
    [hold] = site.wait_for_holds(1)
    site.set_faults({"match": {"method": "GET"}, "do": {"latency": 700}})
    site.act("reconcile", target="acme/dev")
    site.use_rule(OBSERVE)
    site.act("apply", target="acme/dev", rows=[hold["digest"]])
    site.use_rule(rule)
    site.set_faults()
    site.act("reconcile", target="acme/dev")
    site.approve([hold], "second")
    wait_until(
        lambda: list_audit(site, "end approval"), SECONDS, f"the approval ends\n{site.read_log()}"
    )
    assert [one["approved_by"] for one in site.list_holds()] == [["token:second"]]
    site.wait_quietly(1.5)
    assert site.writes == []
    site.approve([hold])
    site.wait_until_written("other")


def test_who_asks_again_while_an_apply_runs_is_refused_and_it_goes_on(applying_site):
    """All that was selected first is applied."""
    site = applying_site
    rows = begin(site)
    storages = [rows["storage/s-0"], rows["storage/s-1"]]
    site.slow_down_writes(1500)
    site.act("apply", target="acme/dev", rows=storages)
    site.wait_for_writes(1)
    answer = site.send("apply", target="acme/dev", rows=storages)
    assert (answer.status_code, "is applying the target" in answer.text) == (409, True)
    site.wait_until_written("S 0", "S 1")
    site.check_laws()


def test_who_may_ask_is_told_by_the_labels_of_a_row(applying_site):
    """As of a row that waits: the first entry of the list that matches holds."""
    site = applying_site
    build, label = site.build_manifest, "{name: detection, labels: {team: vision}}"
    site.build_manifest = lambda text: build(text).replace("{name: detection}", label)
    entries = '[{labels: {team: vision}, who: ["token:second"]}, {who: ["token:ops"]}]'
    rows = begin(site, f"{OBSERVE}, approvals: {entries}", storages=0)
    refused = site.send("apply", "ops", target="acme/dev", rows=list(rows.values()))
    assert (refused.status_code, "needs approval from 1 of token:second" in refused.text) == (
        409,
        True,
    )
    site.act("apply", "second", target="acme/dev", rows=list(rows.values()))
    site.wait_until_live("other")
