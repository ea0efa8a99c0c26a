"""An approved row is applied at most once, an unapproved one never."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import threading
import zipfile
from contextlib import closing

import pytest
from at_terminal import run_at_terminal
from controllers.applying_site import APPROVE, TOKENS, ApplyingSite
from controllers.backend_proxy import Call
from controllers.site import SECONDS
from fault.controller.test_killed_while_applying import kill_at_call
from forges.loopback_server import wait_until
from git_repositories import commit
from in_process import run_in_process
from installed import environment, run


def select(holds: list[dict[str, str]], *addresses: str) -> list[dict[str, str]]:
    selected = [hold for hold in holds if hold["address"] in addresses]
    assert len(selected) == len(addresses), holds
    return selected


def test_what_is_approved_is_done_and_nothing_else(applying_site):
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


def test_the_page_of_an_apply_tells_from_the_fetch_to_the_status(applying_site):
    """With who approved, the check that follows, and how long each row took."""
    site = applying_site
    site.rule, site.storages = APPROVE, 1
    site.write_configuration()
    commit = site.commit("other")
    site.start()
    site.approve(site.wait_for_holds(2))
    site.wait_for_end(commit, "success")
    runs = site.get("/api/v1/runs?target=acme/dev")["items"]
    [apply] = [run["id"] for run in runs if run["verb"] == "apply"]

    def list_events() -> list[str]:
        html = site.get_page(f"/runs/{apply}").text
        timeline = html.partition('id="timeline-title"')[2].partition("</table>")[0]
        events = re.findall(r'<th scope="row">(.*?)</th>', timeline)
        return [re.sub(r"<[^>]*>", "", event) for event in events]

    expected = ["Fetch", "Check", "Approval by ops (token)", "Apply this run", "Check"]
    wait_until(
        lambda: list_events() == [*expected, "Commit status"],
        SECONDS,
        f"{list_events()}",
        pause=0.2,
    )
    html = site.get_page(f"/runs/{apply}").text
    assert "create storage/s-0" in html
    assert len(re.findall(r'data-label="Took"><svg', html)) == 2


def test_who_is_outside_the_entry_of_a_row_gets_nothing(applying_site):
    """By API, by the form of the page with a digest written by hand, and by command."""
    site = applying_site
    entries = '[{kind: storage, who: ["token:second"]}, {kind: plugin, who: ["token:ops"]}]'
    site.rule, site.storages = f"{APPROVE}, approvals: {entries}", 1
    site.write_configuration()
    site.commit("other")
    site.start()
    [hold] = select(site.wait_for_holds(2), "storage/s-0")
    rows = [hold["digest"]]
    both = [one["digest"] for one in site.list_holds()]
    assert not hold["is_yours"]
    for digests in (rows, both):
        refused = site.send("approve", "ops", target="acme/dev", rows=digests, reason="mine")
        assert (refused.status_code, "You cannot approve this row" in refused.text) == (409, True)
    form = site.post_form("/targets/acme/dev/approve", row=rows[0], reason="mine")
    assert (form.status_code, "You cannot approve this row" in form.text) == (409, True)
    approve = ["controller", "approve", "acme/dev", "--reason", "mine"]
    for words in (["--row", rows[0]], ["--row", both[0], "--row", both[1]]):
        environ = environment(
            {
                "SYNAPSE_APPLY_CONTROLLER_URL": site.url,
                "SYNAPSE_APPLY_CONTROLLER_TOKEN": TOKENS["ops"],
            }
        )
        done = run_in_process([*approve, *words], site.folder, environ)
        assert (done.returncode, "You cannot approve this row" in done.stderr) == (5, True)
    site.wait_quietly(2.5)
    assert site.writes == []
    assert all(not one["approvals"] for one in site.list_holds())
    assert "mine" not in str(site.get("/api/v1/audit?after=0&limit=1000"))
    site.act("approve", "second", target="acme/dev", rows=rows, reason="checked")
    site.wait_until_written("S 0")
    [given] = [
        row
        for row in site.get("/api/v1/audit?after=0&limit=1000")["items"]
        if row["action"] == "approve"
    ]
    assert (given["who"], given["detail"].endswith("; checked")) == ("token:second", True)
    site.check_laws()


CLOSED = 'windows: [{cron: "0 0 1 1 *", duration: 1m, timezone: UTC}]'


@pytest.mark.parametrize(
    ("keeps_back", "approvals", "by"),
    [("window", 2, "command"), ("pause", 1, "page")],
)
def test_an_approval_is_taken_back_while_the_row_waits_for_something_else(
    applying_site, keeps_back, approvals, by
):
    """It stands with the rows that wait until it is done, and is not done once it is rejected."""
    site, rule = applying_site, f"{APPROVE}, approvals: {approvals}"
    site.rule, site.storages = f"{rule}, {CLOSED}" if keeps_back == "window" else rule, 1
    site.write_configuration()
    site.commit("images")
    site.start()
    if keeps_back == "pause":
        site.wait_for_holds(1)
        site.act("pause", scope="acme/dev", reason="incident", seconds=3600)
    holds = site.wait_for_holds(1)
    for who in ["ops", "second"][:approvals]:
        site.approve(holds, who)
    site.wait_for_state("paused", "waiting")
    [waiting] = site.list_holds()
    assert (waiting["digest"], waiting["reason"]) == (holds[0]["digest"], "approved")
    assert waiting["approved_by"] == ["token:ops", "token:second"][:approvals]
    reason = "not before the release"
    if by == "command":
        typed = ["controller", "reject", "acme/dev", "--row", waiting["digest"], "--reason", reason]
        variables = {
            "SYNAPSE_APPLY_CONTROLLER_URL": site.url,
            "SYNAPSE_APPLY_CONTROLLER_TOKEN": TOKENS["second"],
        }
        done = run_in_process(typed, site.folder, environment(variables))
        assert done.stdout == "Rejected 1 row of acme/dev as token:second.\n", done.stderr
    else:
        html = site.get_page("/targets/acme/dev").text
        assert re.findall(r'name="row" value="([^"]+)"', html) == [waiting["digest"]]
        assert "it is approved, but not applied yet" in html
        answer = site.post_form("/targets/acme/dev/reject", row=waiting["digest"], reason=reason)
        assert answer.status_code == 303, answer.text
    rejected = site.wait_for_state("held")
    assert rejected["hold_count"] == 1
    [hold] = site.list_holds()
    assert (hold["rejected_reason"], hold["approvals"]) == (reason, [])
    if keeps_back == "pause":
        site.act("resume", scope="acme/dev")
    else:
        site.use_rule(rule)
    site.act("reconcile", target="acme/dev")
    site.wait_quietly(2.5)
    assert site.writes == []
    for who in ["ops", "second"][:approvals]:
        site.approve(site.list_holds(), who)
    site.wait_until_written("S 0")
    wait_until(lambda: site.list_holds() == [], SECONDS, "nothing waits", pause=0.2)
    site.check_laws()


def test_the_installed_command_rejects_what_it_shows(applying_site):
    """A person at a terminal, then a script; nothing of it is applied until it is approved."""
    site = applying_site
    site.rule, site.storages = APPROVE, 2
    site.write_configuration()
    site.commit("images")
    site.start()
    first, second = select(site.wait_for_holds(2), "storage/s-0", "storage/s-1")
    variables = {
        "SYNAPSE_APPLY_CONTROLLER_URL": site.url,
        "SYNAPSE_APPLY_CONTROLLER_TOKEN": TOKENS["second"],
        "TERM": "dumb",
    }
    typed = ["controller", "reject", "acme/dev", "--reason", "not before the release"]
    code, said = run_at_terminal(
        site.folder, b"yes\n", environment(variables), *typed, process_type=subprocess.Popen
    )
    assert (code, first["address"] in said, second["address"] in said) == (0, True, True), said
    script = f"controller reject acme/dev --reason never --row {first['digest']}"
    said = run(script, site.folder, variables).stdout
    assert said == "Rejected 1 row of acme/dev as token:second.\n"
    run(script.replace(first["digest"], f"row1:{64 * '0'}"), site.folder, variables, 4)
    run(script, site.folder, {**variables, "SYNAPSE_APPLY_CONTROLLER_TOKEN": "a" * 20}, 1)
    site.act("reconcile", target="acme/dev")
    site.wait_quietly(2.5)
    assert site.writes == []
    told = {hold["address"]: hold["rejected_reason"] for hold in site.list_holds()}
    assert told == {"storage/s-0": "never", "storage/s-1": "not before the release"}
    rows = [
        row["detail"].rpartition("; ")[2]
        for row in site.get("/api/v1/audit?after=0&limit=1000")["items"]
        if (row["who"], row["action"]) == ("token:second", "reject")
    ]
    assert sorted(rows) == ["never", "not before the release"]
    run(f"controller approve acme/dev --row {second['digest']}", site.folder, variables)
    site.wait_until_written("S 1")
    site.check_laws()


OTHER_PLUGIN = """
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: NAME}
spec: {name: Other, code: other, version: "1.0.0", category: neural_net}
"""
RELEASE = """
apiVersion: synapse-apply/v1
kind: Release
spec: {plugin: detection, version: "2.0.0", changelog: c, file: package.zip}
"""


def push(site: ApplyingSite, project: str, **manifests: str) -> None:
    """Commit and push manifests, by name, and what is appended to the project file."""
    (site.checkout / "synapse-apply.yaml").write_text(site.build_project() + project)
    for name, text in manifests.items():
        (site.checkout / "manifests" / f"{name}.yaml").write_text(text)
    commit(site.checkout, "Change", with_ignored=False)
    site.run_git("push", "-q", "origin", "HEAD:main")


def wait_for_look_at_head(site: ApplyingSite) -> None:
    head = site.run_git("rev-parse", "HEAD").strip()
    wait_until(lambda: site.list_holds()[0]["commit"] == head, SECONDS, "it was looked at")


def test_an_approval_is_not_for_another_object_of_the_same_name(applying_site):
    """A release of one plugin was approved; after a rename that address is another plugin's."""
    site = applying_site
    push(site, "", other=OTHER_PLUGIN.replace("NAME", "other"))
    site.apply()
    site.rule = f"{APPROVE}, approvals: 2"
    site.write_configuration()
    with zipfile.ZipFile(site.checkout / "package.zip", "w") as package:
        package.writestr("plugin/main.py", "print(1)\n")
    push(site, "", release=RELEASE)
    site.start()
    (hold,) = site.wait_for_holds()
    assert (hold["action"], hold["address"]) == ("create", "release/detection@2.0.0")
    site.approve([hold])
    site.forget_requests()
    old = site.build_manifest("images").replace(": detection}", ": old}")
    other = OTHER_PLUGIN.replace("NAME", "detection")
    for moved, files in (
        (
            "detection, to: plugin/old",
            {"acme": old, "release": RELEASE.replace("detection", "old")},
        ),
        ("other, to: plugin/detection", {"other": other, "release": RELEASE}),
    ):
        push(site, f"moved: [{{from: plugin/{moved}}}]\n", **files)
        wait_for_look_at_head(site)
    (hold,) = site.list_holds()
    site.approve([hold], "second")
    site.wait_quietly(2.5)
    (hold,) = site.list_holds()
    assert (hold["address"], hold["approved_by"]) == ("release/detection@2.0.0", ["token:second"])
    assert site.writes == []
    site.approve([hold])
    site.wait_for_writes(1)
    wait_until(
        lambda: all(hold["reason"] == "approved" for hold in site.list_holds()),
        SECONDS,
        "it waits for no person",
    )


def test_what_is_being_applied_waits_for_nobody(applying_site):
    """List, page, target and command say so; an approval of it is refused for that reason."""
    site = applying_site
    start_approving(site)
    begun, released = threading.Event(), threading.Event()

    def hold_back(_call: Call) -> None:
        begun.set()
        released.wait(60)

    site.proxy.before_write = hold_back
    site.commit("new")
    [hold] = site.wait_for_holds(1)
    site.approve([hold])
    try:
        assert begun.wait(60)
        [applying] = site.list_holds()
        assert (applying["digest"], applying["reason"]) == (hold["digest"], "applying")
        assert not applying["can_be_approved"]
        assert site.get_target()["applying_count"] == 1
        assert "the controller is applying it" in site.get_page("/targets/acme/dev").text
        overview = site.get_page("/").text
        assert "1 row is being applied" in overview
        assert "waits for a person" not in overview
        refused = site.send("approve", "second", target="acme/dev", rows=[hold["digest"]])
        assert refused.status_code == 409
        assert "The controller is applying it with its current approvals" in refused.text
        environ = environment(
            {
                "SYNAPSE_APPLY_CONTROLLER_URL": site.url,
                "SYNAPSE_APPLY_CONTROLLER_TOKEN": TOKENS["second"],
            }
        )
        status = run_in_process(["controller", "status"], site.folder, environ)
        assert "1 row is being applied" in status.stdout
        approve = ["controller", "approve", "acme/dev", "--row", hold["digest"]]
        refusal = run_in_process(approve, site.folder, environ)
        assert "The controller is applying it with its current approvals" in refusal.stderr
        assert refusal.returncode
    finally:
        released.set()
    site.wait_until_live("new")
    wait_until(lambda: not site.list_holds(), SECONDS, "nothing waits")
    site.check_laws()


def test_an_approval_comes_back_from_a_call_that_was_not_done(applying_site):
    """The row is done by it, once the call is known to have done nothing; the audit has both."""
    site = applying_site
    start_approving(site)

    def drop(_call: Call) -> None:
        raise ConnectionResetError

    site.proxy.before_write = drop
    site.commit("new")
    [hold] = site.wait_for_holds(1)
    site.approve([hold])
    wait_until(lambda: "1 unknown" in str(list_audit(site)), SECONDS, "its end is not known")
    site.proxy.before_write = None
    let_time_pass_since_calls(site, 100)

    def list_returned() -> list[dict[str, str]]:
        return [row for row in list_audit(site) if row["action"] == "return approval"]

    def is_done() -> bool:
        # The apply that does it may end, and tell of the approval, only after it is live.
        if site.live_description != "new":
            site.act("reconcile", target="acme/dev")
            return False
        return bool(list_returned())

    wait_until(is_done, 2 * SECONDS, "the approved row is done, and told", pause=1)
    [returned] = list_returned()
    assert returned["detail"].startswith("its call was not done: update plugin/detection (row1:")
    assert returned["detail"].endswith("approved by token:ops")
    assert [row["action"] for row in list_audit(site)].count("approve") == 1
    site.check_no_secret()


@pytest.mark.parametrize("who", ["both", "worker"])
def test_the_audit_does_not_say_of_a_call_under_way_that_its_row_is_gone(applying_site, who):
    """The approval was used by an apply that was killed, of which its look knows nothing more."""
    site = applying_site
    start_approving(site)
    site.commit("new")
    [hold] = site.wait_for_holds(1)
    site.approve([hold])
    kill_at_call(site, who, 1, "before")
    if who != "worker":
        site.kill()
        site.start()

    def list_ended() -> list[str]:
        audit = list_audit(site)
        return [row["detail"] for row in audit if row["action"] == "end approval"]

    wait_until(list_ended, SECONDS, "the approval has ended", pause=0.2)
    [ended] = list_ended()
    assert ended.startswith("an apply that was cut short may have used it: update plugin/detection")
    assert ended.endswith("approved by token:ops")


def let_time_pass_since_calls(site: ApplyingSite, seconds: float) -> None:
    """Have open calls be sent so much earlier: for more than a minute they may still act."""
    with closing(sqlite3.connect(site.folder / "states" / "dev.db")) as state, state:
        for number, text in state.execute("SELECT id, intent FROM intents").fetchall():
            intent = json.loads(text)
            intent["sent_up"]["seconds"] -= seconds
            state.execute(
                "UPDATE intents SET intent = ? WHERE id = ?", [json.dumps(intent), number]
            )


def start_approving(site: ApplyingSite) -> None:
    """A controller in mode approve, in sync."""
    site.rule = APPROVE
    site.write_configuration()
    site.apply()
    site.start()
    wait_until(lambda: site.get("/api/v1/targets")["items"], SECONDS, "the target is known")
    site.wait_for_state("in sync")


def list_audit(site: ApplyingSite) -> list[dict[str, str]]:
    return list(site.get("/api/v1/audit?limit=100")["items"])
