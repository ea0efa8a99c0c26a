"""The installed controller, from outside: each commit has one end, and each fact one message."""

from __future__ import annotations

import os

import pytest
from controllers.applying_site import APPROVE, ApplyingSite
from controllers.site import Site
from forges.loopback_server import wait_until

# In every run test_everything_at_once.py has the other one.
FORGES = ["github", "gitlab"] if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else ["github"]


@pytest.mark.parametrize("forge", FORGES)
def test_commits_drift_and_recovery(tmp_path, forge):
    """A head in sync, one with a change, a broken one, its mend, and a change by hand."""
    with Site(tmp_path, forge_kind=forge) as site:
        check_commits_drift_and_recovery(site)


def check_commits_drift_and_recovery(site: Site) -> None:
    in_sync = site.run_git("rev-parse", "HEAD")
    site.start()
    assert "no changes" in site.wait_for_end(in_sync, "success").description

    changed = site.commit("other", "Describe it otherwise")
    assert "1 change" in site.wait_for_end(changed, "success").description

    broken = site.commit("\t", "Write a tab")
    assert "dev" in site.wait_for_end(broken, "failure").description
    told = site.wait_for_message("failed")
    assert (told["target"], told["commit"]) == ("acme/dev", broken)
    assert told["finding"]["position"] == f"{broken[:7]}:manifests/acme.yaml:2:1"

    mended = site.commit("images", "Mend it")
    site.wait_for_end(mended, "success")
    site.wait_for_message("recovered")
    assert site.get_end(broken) == "failure"

    site.change_by_hand("by hand")
    assert site.wait_for_message("drift")["counts"]["drifted"] == 1
    site.check_laws()
    assert site.stop() == 0
    assert [message["event"] for message in site.sink.messages] == [
        "failed",
        "recovered",
        "drift",
    ], (site.sink.messages, site.read_log())
    for commit in (in_sync, changed, broken, mended):
        assert len(site.list_ends(commit)) == 1
    site.check_no_secret()


def test_what_was_forced_away_ends_with_error(site):
    """Before it had an end; and the commit that took its place ends as what it is."""
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    site.set_faults({"match": {"method": "GET"}, "do": {"latency": 4000}})
    away = site.commit("soon gone")
    site.wait_for_status(away)
    site.run_git("reset", "-q", "--hard", first)
    instead = site.commit("images", "Instead")
    site.wait_for_status(instead)
    site.set_faults()
    site.wait_for_end(away, "error")
    site.wait_for_end(instead, "success")
    site.check_laws()


def test_a_good_commit_is_not_red_because_of_the_broken_one_after_it(tmp_path):
    """It waits for a person until then; the mend after both waits as it did."""
    with ApplyingSite(tmp_path, rule=APPROVE) as site:
        site.start()
        good = site.commit("better", "Describe it better")
        site.wait_for_pending(good, "1 awaiting approval: dev")
        broken = site.commit("\t", "Write a tab")
        site.wait_for_end(broken, "failure")
        assert site.wait_for_end(good, "success").description == f"overtaken by {broken[:7]}"
        mended = site.commit("better", "Mend it")
        site.wait_for_pending(mended, "1 awaiting approval: dev")
        assert site.get_end(broken) == "failure"
        assert [status.state for status in site.list_ends(good)] == ["success"]
        revisions = site.get("/api/v1/revisions?source=acme")["items"]
        ends = {revision["commit"]: revision["end"] for revision in revisions}
        assert (ends[good], ends[broken], ends[mended]) == ("overtaken", "failure", None)
        site.check_laws()


class Keeping(Site):
    """A target that keeps drift."""

    def build_project(self) -> str:
        return super().build_project() + "    on_drift: hold\n"


class KeepingAndApplying(Keeping, ApplyingSite):
    """The same in mode auto."""


@pytest.mark.parametrize("made", [Keeping, KeepingAndApplying])
def test_drift_that_is_kept_is_drift(tmp_path, made):
    """No apply undoes it, so that somebody has to be told; the commit is live all the same."""
    with made(tmp_path) as site:
        head = site.run_git("rev-parse", "HEAD")
        site.start()
        site.wait_for_end(head, "success")
        site.change_by_hand("by hand")
        told = site.wait_for_message("drift")
        assert (told["counts"]["drifted"], told["counts"]["change"]) == (1, 0)
        (target,) = site.get("/api/v1/targets")["items"]
        assert (target["state"], target["counts"]["drifted"]) == ("drifted", 1)
        assert site.get_end(head) == "success"
        taken = site.commit("by hand")
        site.wait_for_end(taken, "success")
        wait_until(
            lambda: site.get("/api/v1/targets")["items"][0]["state"] == "in sync", 60, "in sync"
        )
        site.check_laws()
