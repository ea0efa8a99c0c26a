"""What a commit loosens for itself: a secret's description, and the name that a rule protects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from controllers.forked_workers import fork_workers
from e2e.controller.test_moved_targets import TOKENS, Site
from e2e.scenarios.canaries import forms
from git_repositories import git

from synapse_apply import EmbeddedServer

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
LIVE = "cAn4ry-of-the-nas/7777"
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: nas}
spec: {name: nas, provider: my, category: external, configuration: {host: h, door: VALUE}}
"""
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: NAME}
spec: {name: Main, code: main, version: "1", category: export, author: AUTHOR}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Target `dev`, in mode auto, where all that a commit asks for is done at once."""
    fork_workers(monkeypatch)
    token = TOKENS["ACME_DEV_TOKEN"]
    with EmbeddedServer(tmp_path / "dev", token=token, profile="page") as backend:
        made = Site(tmp_path, {"dev": backend, "prod": backend}, "")
        made.environ |= {"ACME_PW": LIVE, "ACME_KEY": KEY}
        yield made


def commit(site: Site, manifest: str, project: str) -> None:
    state = f'{{url: "{site.folder}/states/dev.db", key: {{env: ACME_KEY}}}}'
    target = site.describe("dev", state=state)
    head = f"apiVersion: synapse-apply/v1\nkind: Project\ntargets: {{dev: {target}}}\n"
    site.upstream.commit({"synapse-apply.yaml": head + project, "manifests/a.yaml": manifest})


@pytest.mark.parametrize("value", ["{a: b}", "plain", "[a]"])
def test_no_run_keeps_a_live_secret(site, tmp_path, value):
    """A commit calls the key public: neither what is shown nor the controller's store has the value."""
    closed = "providers: {my: {keys: {host: {}, door: {secret: true}}}}\n"
    commit(site, STORAGE.replace("VALUE", "{valueFrom: {env: ACME_PW}}"), closed)
    assert site.follow()["dev"].startswith("in sync"), site.said
    commit(site, STORAGE.replace("VALUE", value), closed.replace("{secret: true}", "{}"))
    assert site.follow()["dev"] != "in sync", site.said
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and tmp_path / "dev" not in p.parents]
    assert any(path.name == "controller.db" for path in kept)
    for text in (site.said.encode(), *(path.read_bytes() for path in kept)):
        assert not [form for form in forms(LIVE) if form in text]


def test_a_protected_object_of_a_pin(site, tmp_path):
    """`moved` in a commit, with a change beside it or one commit before."""
    configuration = tmp_path / "controller.yaml"
    text = configuration.read_text()
    rule = 'policy: {rules: [{rule: protected, addresses: ["plugin/main"]}]}\n'
    first = PLUGIN.replace("NAME", "main")
    commit(site, first.replace("AUTHOR", "one"), "")
    assert site.follow()["dev"].startswith("in sync"), site.said
    commit(site, first.replace("AUTHOR", "one"), rule)
    checkout = tmp_path / "checkout"
    git(checkout, "pull", "-q", "origin", "main")
    git(checkout, "push", "-q", "origin", "HEAD:base")
    configuration.write_text(text.replace("    poll: 1s\n", "    poll: 1s\n    pin: git:base\n", 1))
    moved = "moved: [{from: plugin/main, to: plugin/other}]\n"
    for author in ("one", "two"):
        commit(site, PLUGIN.replace("NAME", "other").replace("AUTHOR", author), moved)
        assert "refused" in site.follow()["dev"], site.said
    commit(site, PLUGIN.replace("NAME", "other").replace("AUTHOR", "two"), "")
    assert "refused" in site.follow()["dev"], site.said
    headers = {"Authorization": f"Token {TOKENS['ACME_DEV_TOKEN']}"}
    url = f"{site.backends['dev'].url}/_emulator/objects/plugin/"
    rows = requests.get(url, headers=headers, timeout=60).json()["results"]
    assert [row["body"]["author"] for row in rows] == ["one"]
