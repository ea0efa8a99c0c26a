"""What a commit says never goes live, or counts as live, because something drifted or a secret changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sops
from controllers.applying_site import ApplyingSite
from controllers.site import BACKEND_TOKEN, STORAGE_KEY
from forges.loopback_server import wait_until

from synapse_apply import EmbeddedServer

OTHER_KEY = "cAn4ry-of-the-other-storage-5656"
ROTATED_KEY = "cAn4ry-of-the-rotated-storage-5757"
OF_THE_CHECKOUT = "cAn4ry-that-a-commit-brought-5858"
NAMED = "{env: ACME_STORAGE_KEY}"
MARKED = "name: detection}\nlifecycle: {sensitive: [/configuration/token]}"
NOT_GIT = "mode: auto, auto: {causes: [drift, secret]}"


class SecretSite(ApplyingSite):
    """A site whose manifest says by `named` where the plugin's secret is."""

    named = NAMED

    def _build_backend(self, folder: Path) -> EmbeddedServer:
        # Which keeps the configuration of a plugin.
        return EmbeddedServer(folder, token=BACKEND_TOKEN)

    def build_manifest(self, description: str) -> str:
        secret = f"configuration: {{token: {{valueFrom: {self.named}}}}}"
        text = super().build_manifest(description)
        return text.replace("name: detection}", MARKED).replace(
            "neural_net", f"neural_net, {secret}"
        )

    def _make_repository(self) -> None:
        self.environ["ACME_STORAGE_OTHER"] = OTHER_KEY
        super()._make_repository()

    @property
    def live_token(self) -> str:
        [plugin] = self.list_live("plugin")
        return str(plugin["configuration"]["token"])

    def hold(self, address: str, *causes: str) -> dict[str, Any]:
        """Wait until a row is held for these causes."""
        wait_until(
            lambda: any(
                (hold["address"], hold["causes"]) == (address, list(causes))
                for hold in self.list_holds()
            ),
            60,
            f"{address} is held for {causes}, not {self.list_holds()}\n{self.read_log()}",
            pause=0.2,
        )
        return next(hold for hold in self.list_holds() if hold["address"] == address)


@pytest.fixture
def secret_site(tmp_path: Any) -> Any:
    with SecretSite(tmp_path) as made:
        yield made


@pytest.mark.parametrize("of_checkout", [False, True], ids=["variable", "file"])
def test_a_secret_that_a_commit_names_anew_is_of_git(secret_site, of_checkout):
    """Also one that the commit brings in a file; with drift of another field, too."""
    site = secret_site
    site.rule = NOT_GIT
    site.write_configuration()
    site.named = "{file: key.txt}" if of_checkout else "{env: ACME_STORAGE_OTHER}"
    if of_checkout:
        (site.checkout / "key.txt").write_text(OF_THE_CHECKOUT + "\n")
    commit = site.commit("images")
    site.start()
    site.hold("plugin/detection", "git", "secret")
    assert site.list_statuses(commit)[-1].state == "pending"
    site.change_by_hand("by hand")
    held = site.hold("plugin/detection", "git", "drift", "secret")
    assert site.live_token == STORAGE_KEY
    site.approve([held])
    site.wait_for_end(commit, "success")
    assert site.live_token == (OF_THE_CHECKOUT if of_checkout else OTHER_KEY)


@pytest.mark.parametrize("value", [STORAGE_KEY, None], ids=["equal", "unset"])
def test_a_place_that_a_commit_chose_is_of_git_whenever_it_gets_another_value(secret_site, value):
    """The commit made no row; nor does drift that is put right meanwhile hide that it named it."""
    site = secret_site
    site.rule = NOT_GIT
    site.write_configuration()
    del site.environ["ACME_STORAGE_OTHER"]
    if value is not None:
        site.environ["ACME_STORAGE_OTHER"] = value
    site.named = "{env: ACME_STORAGE_OTHER}"
    commit = site.commit("images")
    site.start()
    site.wait_for_end(commit, "success")
    site.kill()
    site.environ["ACME_STORAGE_OTHER"] = ROTATED_KEY
    site.start()
    site.hold("plugin/detection", "git", "secret")
    assert site.live_token == STORAGE_KEY


@pytest.mark.parametrize("takes_target", [True, False], ids=["target", "token"])
def test_a_token_that_a_commit_names_no_more_stays_closed(secret_site, takes_target):
    """Neither by taking its target away nor by giving that another token, until it is opened."""
    site, opened = secret_site, "{env: ACME_STORAGE_OTHER}"
    other = f"  other: {{url: 'http://127.0.0.1:9', token: {opened}}}\n"
    project = site.checkout / "synapse-apply.yaml"
    text = project.read_text()
    project.write_text(text + other)
    first = site.commit("images")
    site.start()
    wait_until(lambda: site.list_statuses(first), 60, site.read_log(), pause=0.2)
    wait_until(lambda: "targets=2" in site.read_log(), 60, site.read_log(), pause=0.2)

    project.write_text(
        text + ("" if takes_target else other.replace("STORAGE_OTHER", "OTHER_TOKEN"))
    )
    site.named = opened
    site.commit("other images")
    wait_until(
        lambda: (
            "a target of an earlier commit names it" in str(site.get("/api/v1/targets?source=acme"))
        ),
        60,
        site.read_log(),
        pause=0.2,
    )
    assert site.live_token == STORAGE_KEY

    site.stop()
    may_read = "files: [states/], allow_env: [ACME_STORAGE_OTHER]"
    site.write_configuration(**{"files: [states/]": may_read})
    site.start()
    wait_until(lambda: site.live_token == OTHER_KEY, 60, site.read_log(), pause=0.2)


def test_a_key_in_a_file_of_sops_that_a_commit_names_no_more_stays_closed(secret_site):
    """The state key of another target, which no variable and no file of its own has."""
    site, project = secret_site, secret_site.checkout / "synapse-apply.yaml"
    site.environ |= {"ACME_AGE": sops.KEY, "PATH": sops.install(site.folder / "bin")}
    (site.checkout / "k.yaml").write_text(sops.encrypt(f"keys: {{state: {OTHER_KEY}}}"))
    key = "{sops: {file: k.yaml, key: keys/state}}"
    text = f"{project.read_text()}    sops: {{age: {{env: ACME_AGE}}}}\n"
    other = (
        "  other: {url: 'http://127.0.0.1:9', token: {env: ACME_OTHER}, state: {url: x.dbKEY}}\n"
    )
    project.write_text(text + other.replace("KEY", f", key: {key}"))
    site.commit("images")
    site.start()
    wait_until(lambda: "targets=2" in site.read_log(), 60, site.read_log(), pause=0.2)
    project.write_text(text + other.replace("KEY", ""))
    site.named = key
    site.commit("other images")
    wait_until(
        lambda: (
            "a target of an earlier commit names it" in str(site.get("/api/v1/targets?source=acme"))
        ),
        60,
        site.read_log(),
        pause=0.2,
    )
    assert site.live_token == STORAGE_KEY


def test_another_value_of_the_same_variable_is_no_matter_of_git(secret_site):
    """It is applied by the cause `secret`, since the state knows the place."""
    site = secret_site
    site.rule = NOT_GIT
    site.write_configuration()
    site.environ["ACME_STORAGE_KEY"] = ROTATED_KEY
    site.start()
    wait_until(lambda: site.live_token == ROTATED_KEY, 60, site.read_log(), pause=0.2)
    assert site.list_holds() == []


def test_no_author_approves_a_secret_that_the_own_commit_names(secret_site):
    """While the row waits the commit is not done, so that its author is known."""
    site = secret_site
    site.rule = "mode: approve, not_author: true"
    site.write_configuration()
    before = site.run_git("rev-parse", "HEAD").strip()
    site.start()
    site.wait_for_end(before, "success")
    site.named = "{env: ACME_STORAGE_OTHER}"
    site.commit("images", push=False)
    site.run_git("commit", "-q", "--amend", "--no-edit", "--author", "Ops <ops@acme.example>")
    site.run_git("push", "-q", "origin", "HEAD:main")
    commit = site.run_git("rev-parse", "HEAD").strip()
    held = site.hold("plugin/detection", "git", "secret")
    target = site.get_target()
    assert (target["applied_commit"], target["progress"]) == (before, "held")
    answer = site.send("approve", "ops", target="acme/dev", rows=[held["digest"]])
    assert answer.status_code == 409, answer.text
    assert site.live_token == STORAGE_KEY
    site.approve([held], "second")
    site.wait_for_end(commit, "success")
    assert site.live_token == OTHER_KEY


def test_no_author_approves_what_was_rejected_by_a_rollback(tmp_path):
    """Of a commit of which only another row was ever approved, and which never was live whole."""
    with ApplyingSite(tmp_path, rule="mode: approve, not_author: true") as site:
        before = site.run_git("rev-parse", "HEAD").strip()
        site.start()
        site.wait_for_end(before, "success")
        site.storages = 1
        site.commit("evil", push=False)
        author = ["--author", "second <second@acme.example>"]
        site.run_git("commit", "-q", "--amend", "--no-edit", *author)
        site.run_git("push", "-q", "--force", "origin", "HEAD:main")
        commit = site.run_git("rev-parse", "HEAD").strip()
        rows = {held["address"]: held for held in site.wait_for_holds(2)}
        site.approve([rows["storage/s-0"]])
        evil = rows["plugin/detection"]["digest"]
        wait_until(lambda: "S 0" in site.list_live_names(), 60, "the storage is there", pause=0.2)
        wait_until(lambda: len(site.list_holds()) == 1, 60, "the plugin's row waits", pause=0.2)
        site.act("reject", "ops", target="acme/dev", rows=[evil], reason="evil")
        site.wait_for_end(site.commit("images"), "success")
        asked = {"target": "acme/dev", "revision": commit, "reason": "mine"}

        def read_plan() -> str:
            return site.send("rollback", "second", **asked).json().get("digest") or ""

        wait_until(read_plan, 60, "the rollback is planned", pause=0.2)
        assert site.send("rollback", "second", **asked, plan=read_plan()).status_code == 200
        (held,) = site.wait_for_holds(1)
        answer = site.send("approve", "second", target="acme/dev", rows=[held["digest"]])
        assert answer.status_code == 409, answer.text
        assert "An author cannot approve" in answer.text
        assert site.live_description == "images"


class KeptSite(ApplyingSite):
    """A site whose plugin has this `lifecycle:`."""

    lifecycle = "{}"

    def build_manifest(self, description: str) -> str:
        text = super().build_manifest(description)
        return text.replace("detection}", f"detection}}\nlifecycle: {self.lifecycle}", 1)

    def hold(self, *causes: str) -> dict[str, Any]:
        """The row of the plugin, once it is held for these causes."""
        wait_until(
            lambda: [hold["causes"] for hold in self.list_holds()] == [list(causes)],
            60,
            f"it is held for {causes}, not {self.list_holds()}\n{self.read_log()}",
            pause=0.2,
        )
        return self.list_holds()[0]


def test_drift_that_a_commit_keeps_no_more_is_of_git(tmp_path):
    """It waits, at each look, until somebody approves it who did not write that commit."""
    rule = "mode: auto, auto: {causes: [drift]}, not_author: true"
    with KeptSite(tmp_path, rule=rule, storages=1) as site:
        site.lifecycle = "{ignore_changes: [/description, /author]}"
        before = site.commit("images")
        site.apply()
        site.change_by_hand("by hand")
        site.start()
        site.wait_for_end(before, "success")
        site.lifecycle = "{ignore_changes: [/author]}"
        site.commit("images", push=False)
        site.run_git("commit", "-q", "--amend", "--no-edit", "--author", "Ops <ops@acme.example>")
        site.run_git("push", "-q", "origin", "HEAD:main")
        commit = site.run_git("rev-parse", "HEAD").strip()
        site.hold("git", "drift")
        # The next looks are at the same commit, which the last one was at, too.
        looked = site.get_target()["looked_at"]
        wait_until(lambda: site.get_target()["looked_at"] > looked, 60, "it is looked at again")
        held = site.hold("git", "drift")
        target = site.get_target()
        assert (target["applied_commit"], target["progress"]) == (before, "held")
        assert site.live_description == "by hand"
        answer = site.send("approve", "ops", target="acme/dev", rows=[held["digest"]])
        assert answer.status_code == 409, answer.text
        site.approve([held], "second")
        site.wait_for_end(commit, "success")
        assert site.live_description == "images"
