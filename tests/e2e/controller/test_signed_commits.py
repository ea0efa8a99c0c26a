"""A source whose commits must be signed: what is live, and what people are told, over restarts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from controllers.forked_workers import fork_workers
from controllers.signers import Signers, open_signers
from e2e.controller.test_moved_targets import TOKENS, Site
from forges.loopback_server import wait_until
from git_repositories import git

from synapse_apply import EmbeddedServer

RULES = """
      dev: {mode: auto, interval: 1s}
    signed: {allowed_signers: signers/allowed_signers, mode: MODE}
"""


@pytest.fixture
def signers(tmp_path: Path) -> Iterator[Signers]:
    with open_signers(tmp_path / "signers") as made:
        made.make_ssh_key("ann")
        made.make_ssh_key("eve", is_allowed=False)
        yield made


@pytest.mark.parametrize("mode", ["head", "since_live"])
def test_nothing_unsigned_is_applied(tmp_path, monkeypatch, signers, mode):
    """The commit is named with the reason, the target stays where it was, and goes on after."""
    fork_workers(monkeypatch)
    token = TOKENS["ACME_DEV_TOKEN"]
    with EmbeddedServer(tmp_path / "dev", token=token) as backend:
        site = Site(tmp_path, {"dev": backend, "prod": backend}, "")
        site.write_configuration(RULES.replace("MODE", mode))

        def head() -> str:
            return git(site.upstream.path, "rev-parse", "refs/heads/main")

        def refused(why: str) -> None:
            site.follow()
            assert f"{head()[:12]} by " in site.said, site.said
            assert why in site.said

        # There is no target yet: the head alone counts in both modes.
        refused("has no signature")
        assert site.list_live("dev") == []
        site.commit("first", dev=site.describe("dev"))
        signers.sign(site.upstream, head(), "ann")
        assert site.follow()["dev"].startswith("in sync"), site.said
        assert site.list_live("dev") == ["first"]
        live = head()
        for name, why in (("eve", "is not in"), ("", "has no signature")):
            site.commit("second", dev=site.describe("dev"))
            if name:
                signers.sign(site.upstream, head(), name)
            refused(why)
            assert site.list_live("dev") == ["first"]
        # A signed commit upon unsigned ones.
        site.commit("third", dev=site.describe("dev"))
        signers.sign(site.upstream, head(), "ann")
        if mode == "since_live":
            site.follow()
            assert "has no signature" in site.said
            assert site.list_live("dev") == ["first"]
            # The refused commits are taken out of the branch: no target has them.
            git(site.upstream.path, "update-ref", "refs/heads/main", live)
            site.commit("third", dev=site.describe("dev"))
            signers.sign(site.upstream, head(), "ann")
        assert site.follow()["dev"].startswith("in sync"), site.said
        assert "third" in site.list_live("dev")


def test_a_pin_that_moves_to_an_unsigned_commit_stops_nothing(tmp_path, monkeypatch, signers):
    """Its source fails, and what is live is restored: whoever may push could end the controller."""
    fork_workers(monkeypatch)
    token = TOKENS["ACME_DEV_TOKEN"]
    with EmbeddedServer(tmp_path / "dev", token=token) as backend:
        site = Site(tmp_path, {"dev": backend, "prod": backend}, "")
        site.write_configuration(f"{RULES.replace('MODE', 'head')}    pin: git:settings\n")
        site.commit("first", dev=site.describe("dev"))
        upstream = site.upstream.path
        head = signers.sign(site.upstream, git(upstream, "rev-parse", "refs/heads/main"), "ann")
        git(upstream, "update-ref", "refs/heads/settings", head)
        site.follow()
        assert site.list_live("dev") == ["first"], site.said
        unsigned = git(upstream, "commit-tree", "-p", head, f"{head}^{{tree}}", input=b"x")
        git(upstream, "update-ref", "refs/heads/settings", unsigned)
        headers = {"Authorization": f"Token {token}"}
        requests.delete(f"{backend.url}/_emulator/objects/storage/1/", headers=headers, timeout=60)
        # Rounds may come within the interval of a look.
        wait_until(lambda: site.follow() and site.list_live("dev"), 60, "the storage is restored")
        assert f"{unsigned[:12]} by x has no signature" in site.said
