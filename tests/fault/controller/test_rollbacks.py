"""A rollback stays over looks, a restart and an unrelated commit, and ends at the mend: at the backend itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import requests
from controllers.applying_site import APPROVE, OPS_TOKEN, ApplyingSite
from controllers.site import BACKEND_TOKEN, SECONDS
from forges.loopback_server import wait_until
from in_process import run_in_process
from installed import environment

from synapse_apply import EmbeddedServer


def ask(site: ApplyingSite, *typed: str) -> subprocess.CompletedProcess[str]:
    """A command of `controller` that asks the running one."""
    variables = {
        "SYNAPSE_APPLY_CONTROLLER_URL": site.url,
        "SYNAPSE_APPLY_CONTROLLER_TOKEN": OPS_TOKEN,
    }
    return run_in_process(["controller", *typed], site.folder, environment(variables))


@pytest.fixture
def bad(applying_site: ApplyingSite) -> tuple[ApplyingSite, str, str]:
    """A running controller, the commit before a bad one, and that, which is live."""
    site = applying_site
    good = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(good, "success")
    site.storages = 1
    second = site.commit("bad")
    site.wait_for_end(second, "success")
    assert site.live_description == "bad"
    return site, good, second


def wait_for_looks(site: ApplyingSite, count: int) -> None:
    """Wait until the target was looked at so many times more."""
    seen = {site.get_target()["looked_at"]}

    def is_enough() -> bool:
        seen.add(site.get_target()["looked_at"])
        return len(seen) > count

    wait_until(is_enough, SECONDS, f"{count} looks, not {len(seen)}\n{site.read_log()}")


def test_it_stays_until_the_mend(bad):
    """Ten looks, a restart by `kill -9`, an unrelated commit, and drift that is put back there."""
    site, good, second = bad
    planned = ask(site, "rollback", "acme/dev", good[:7], "--reason", "incident 4711")
    assert planned.returncode == 1
    stays = "stays, and is no longer managed: storage/s-0: forget: the object stays"
    applied = "is applied: plugin/detection: update description"
    assert planned.stdout.index(stays) < planned.stdout.index(applied)
    assert "--auto-approve" in planned.stderr
    assert site.live_description == "bad"
    done = ask(
        site, "rollback", "acme/dev", good[:7], "--reason", "incident 4711", "--auto-approve"
    )
    assert done.returncode == 0, done.stderr
    assert f"acme/dev is rolled back to {good[:12]}." in done.stdout
    site.wait_until_live("images")
    target = site.wait_for_state("rolled back")
    back = target["rollback"]
    assert (back["commit"], back["left_commit"], back["who"], back["reason"]) == (
        good,
        second,
        "token:ops",
        "incident 4711",
    )
    wait_for_looks(site, 10)
    site.kill()
    site.start()
    (site.checkout / "README.md").write_text("Nothing of the target.\n")
    unrelated = site.commit("bad", "Write a page")
    site.wait_for_status(unrelated)
    wait_for_looks(site, 3)
    status = ask(site, "status", "--url", site.url).stdout
    assert re.search(r"rolled back +acme/dev +" + good[:7], status)
    assert f"rolled back to {good[:7]} by token:ops: incident 4711" in status
    metrics = requests.get(f"{site.url}/metrics", timeout=60).text
    assert 'synapse_apply_targets{condition="rolled back",source="acme"} 1.0' in metrics
    [revision] = [
        one
        for one in site.get("/api/v1/revisions?source=acme")["items"]
        if one["commit"] == unrelated
    ]
    assert revision["description"] == "0 of 1 done, 1 rolled back: dev"
    page = site.get_page("/targets/acme/dev").text
    assert f"Rolled back to {good[:7]} by ops (token)" in page
    site.change_by_hand("by hand")
    site.wait_until_live("images")
    assert site.list_descriptions() == ["bad", "images", "images"]
    mend = site.commit("mended")
    site.wait_for_end(mend, "success")
    assert site.live_description == "mended"
    assert site.wait_for_state("in sync")["rollback"] is None
    acts = [(row["who"], row["action"]) for row in site.get("/api/v1/audit")["items"]]
    assert ("token:ops", "roll back") in acts
    assert ("controller:laws", "end rollback") in acts
    told = [message["finding"]["summary"] for message in site.list_messages("paused")]
    assert told == [f"to {good[:7]} by token:ops: incident 4711"]
    site.check_laws()


def test_a_person_rolls_back_on_the_page(bad):
    """The revision's page asks why, the next shows the plan, and its button does it; one more ends it."""
    site, good, second = bad
    page = site.get_page(f"/revisions/acme/{good}").text
    assert "Roll back dev" in page
    assert "Roll back dev" not in site.get_page(f"/revisions/acme/{second}").text
    path = "/targets/acme/dev/rollback"
    shown = site.post_form(path, revision=good, reason="incident")
    assert shown.status_code == 200
    assert "The controller applies" in shown.text
    [digest] = re.findall(r'name="plan" value="([0-9a-f]{64})"', shown.text)
    assert site.live_description == "bad"
    other = site.post_form(path, revision=good, reason="incident", plan="0" * 64)
    assert other.status_code == 409
    done = site.post_form(path, revision=good, reason="incident", plan=digest)
    assert done.status_code == 303
    site.wait_until_live("images")
    site.wait_for_state("rolled back")
    resumed = site.post_form("/targets/acme/dev/resume", scope="acme/dev")
    assert resumed.status_code == 303
    site.wait_until_live("bad")
    site.wait_for_state("in sync")
    site.check_laws()


def test_in_mode_approve_a_person_approves_what_goes_back(bad):
    """And what was never a head, or nobody has a right to, is not rolled back to."""
    site, good, _ = bad
    site.use_rule(APPROVE)
    site.act("reconcile", target="acme/dev")
    plan = site.act("rollback", target="acme/dev", revision=good, reason="why")
    assert [row["effect"] for row in plan["rows"]] == ["held", "held"]
    site.act("rollback", target="acme/dev", revision=good, reason="why", plan=plan["digest"])
    site.approve(site.wait_for_holds(2))
    site.wait_until_live("images")
    site.wait_for_state("rolled back")
    refused = ask(site, "rollback", "acme/dev", "1234567", "--reason", "why", "--auto-approve")
    assert (refused.returncode, "Revision not found" in refused.stderr) == (5, True)
    for odd in ({"revision": "HEAD~1"}, {"revision": good, "plan": "x"}, {"revision": ""}):
        answer = site.send("rollback", target="acme/dev", reason="why", **odd)
        assert answer.status_code == 400
    site.check_laws()


class UnkeyedSite(ApplyingSite):
    """A target without a state key, and a plugin with a secret that the backend shows."""

    comment = ""

    def _build_backend(self, folder: Path) -> EmbeddedServer:
        return EmbeddedServer(folder, token=BACKEND_TOKEN)

    def build_project(self) -> str:
        return super().build_project().replace(", key: {env: ACME_STATE_KEY}", "")

    def build_manifest(self, description: str) -> str:
        text = (
            super()
            .build_manifest(description)
            .replace(
                "{name: detection}\n",
                "{name: detection}\nlifecycle: {sensitive: [/configuration/secret_token]}\n",
            )
        )
        secret = "secret_token: {valueFrom: {env: ACME_STORAGE_KEY}}"
        declared = f"description: {description}, configuration: {{{secret}}}}}"
        return text.replace(f"description: {description}}}", declared) + self.comment


def test_a_comment_does_not_end_it_without_a_state_key(tmp_path):
    """There a row with a secret has the commit in its digest; what it does is compared all the same."""
    with UnkeyedSite(tmp_path) as site:
        good = site.run_git("rev-parse", "HEAD")
        site.start()
        site.wait_for_end(good, "success")
        site.wait_for_end(site.commit("bad"), "success")
        typed = ("rollback", "acme/dev", good[:7], "--reason", "incident", "--auto-approve")
        done = ask(site, *typed)
        assert done.returncode == 0, done.stderr
        site.wait_until_live("images")
        site.comment = "# a comment\n"
        commented = site.commit("bad")
        wait_until(
            lambda: (site.get_target()["rollback"] or {}).get("left_commit") == commented,
            SECONDS,
            f"the comment is compared\n{site.read_log()}",
        )
        wait_for_looks(site, 2)
        assert (site.get_target()["state"], site.live_description) == ("rolled back", "images")
        mend = site.commit("mended")
        site.wait_for_end(mend, "success")
        assert site.live_description == "mended"


def test_without_a_key_nobody_ends_it(applying_site, tmp_path):
    """The head that it left stays in the branch: an unsigned commit upon it cannot take it along."""
    site, key = applying_site, tmp_path / "ann"
    make_key = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    subprocess.run(make_key, check=True)
    public = key.with_suffix(".pub").read_text()
    (site.folder / "allowed_signers").write_text(f"ann@acme.example {public}")
    site.run_git("config", "gpg.format", "ssh")
    site.run_git("config", "user.signingKey", str(key))
    site.run_git("config", "commit.gpgSign", "true")
    site.texts = {"rewinds: follow": "signed: {allowed_signers: allowed_signers}"}
    site.write_configuration()
    good = site.commit("good")
    site.start()
    site.wait_until_live("good")
    bad = site.commit("bad")
    site.wait_until_live("bad")
    left = site.commit("worse")
    site.wait_until_live("worse")
    typed = ("rollback", "acme/dev", good[:7], "--reason", "incident", "--auto-approve")
    assert ask(site, *typed).returncode == 0
    site.wait_until_live("good")
    site.run_git("config", "commit.gpgSign", "false")
    unsigned = site.commit("unsigned")
    site.wait_for_end(unsigned, "failure")
    # Nor do old revisions that are deleted, as they are when it starts.
    assert site.stop() == 0
    site.texts["second_look"] = "keep: 1s, second_look"
    site.write_configuration()
    site.start()
    site.run_git("push", "-q", "--force", "origin", f"{bad}:main")
    said = f"head held source=acme commit={bad}"
    wait_until(lambda: said in site.read_log(), SECONDS, f"it is held\n{site.read_log()}")
    wait_for_looks(site, 2)
    assert (site.get_target()["state"], site.live_description) == ("rolled back", "good")
    # The head that it left is no other one.
    site.run_git("push", "-q", "--force", "origin", f"{left}:main")
    said = f"head accepted source=acme commit={left} number=5"
    wait_until(lambda: said in site.read_log(), SECONDS, f"it is accepted\n{site.read_log()}")
    wait_for_looks(site, 2)
    assert (site.get_target()["state"], site.live_description) == ("rolled back", "good")
