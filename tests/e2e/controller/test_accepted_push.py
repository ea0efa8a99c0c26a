"""A force push that was intended, accepted with a command on the controller's machine."""

from __future__ import annotations

from controllers.forked_workers import fork_workers
from e2e.controller.test_moved_targets import CONFIGURATION, Site
from forges.loopback_server import wait_until
from git_repositories import git

from synapse_apply import EmbeddedServer

RULES = '\n      "*": {mode: auto, interval: 1s}'


def test_a_force_push_is_held_accepted_and_applied(tmp_path, monkeypatch):
    """The held commit is applied once its id is given with a reason; other ids are refused."""
    fork_workers(monkeypatch)
    with EmbeddedServer(tmp_path / "dev", token="token-of-dev-1234567890") as backend:
        site = Site(tmp_path, {"dev": backend, "prod": backend}, "")
        text = CONFIGURATION.replace("RULES", RULES).replace("jitter: 0", "second_look: 1s")
        (tmp_path / "controller.yaml").write_text(text)
        base = git(site.upstream.path, "rev-parse", "main")
        site.commit("second", dev=site.describe("dev"))
        site.follow()
        assert site.list_live("dev") == ["second"], site.said
        git(site.upstream.path, "update-ref", "refs/heads/main", base)
        site.commit("third", dev=site.describe("dev"))
        commit = git(site.upstream.path, "rev-parse", "main")
        held = "The branch was rewound or rewritten"
        wait_until(lambda: held in site.type("run --once", 0, 1), 60, "the push is held")
        assert site.list_live("dev") == ["second"]
        refused = site.type(f"accept-push acme {base} --reason typo", 1)
        assert f"For source acme, it is holding back {commit}." in refused
        assert "Missing option '--reason'" in site.type(f"accept-push acme {commit}", 64)
        assert "not the whole id" in site.type(f"accept-push acme {commit[:39]} --reason x", 64)
        said = site.type(f"accept-push acme {commit} --reason cleaned")
        assert said == f"The next fetch makes {commit} the head of acme.\n"
        site.follow()
        assert site.list_live("dev") == ["second", "third"]
        assert f"{commit[:12]}: cleaned" in site.type("audit")
