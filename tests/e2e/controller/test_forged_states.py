"""A state in Git that somebody without its key has written, followed by a controller."""

from __future__ import annotations

from pathlib import Path

import pytest
from attack.test_unverified_states import KEYS, SIGNATURES, forge_record
from e2e.controller.test_loosened_by_a_commit import LIVE, site
from e2e.scenarios.canaries import forms
from git_repositories import git, make_bare_repository
from in_process import run

__all__ = ["site"]

PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: Y, code: y, version: "1", category: export, configuration: {auth: {blob: VALUE}}}
"""
NAMED = "lifecycle: {sensitive: [/configuration/auth/blob]}\n"


@pytest.mark.parametrize("mode", ["auto", "observe"])
@pytest.mark.parametrize("where", ["its own ref", "a branch that the commit names"])
def test_no_run_keeps_a_live_secret(site, tmp_path, mode, where):
    """Neither what is shown nor the controller's store, which its API serves, has the value."""
    site.environ["ACME_KEY"] = KEYS[0]
    remote = make_bare_repository(tmp_path / "states" / "state.git")
    url = f"git:file://{remote}?pace=0"

    def commit(url: str, manifest: str) -> None:
        target = site.describe("dev", state=f'{{url: "{url}", key: {{env: ACME_KEY}}}}')
        project = f"apiVersion: synapse-apply/v1\nkind: Project\ntargets: {{dev: {target}}}\n"
        site.upstream.commit({"synapse-apply.yaml": project, "manifests/a.yaml": manifest})

    commit(url, PLUGIN.replace("VALUE", "{valueFrom: {env: ACME_PW}}") + NAMED)
    checkout = tmp_path / "checkout"
    git(checkout, "pull", "-q", "origin", "main")
    run("state init -t dev", checkout, site.environ)
    assert site.follow()["dev"].startswith("in sync"), site.said
    if mode == "observe":
        configuration = tmp_path / "controller.yaml"
        configuration.write_text(configuration.read_text().replace("mode: auto", "mode: observe"))
    if where == "its own ref":
        forge_record(url, checkout, SIGNATURES["forged"], target="dev")
    else:
        ref = "refs/heads/evil"
        copy = str(tmp_path / "copy.db")
        run(f"state backup {copy} -t dev", checkout, site.environ)
        url += f"&ref={ref}"
        forge_record(url, checkout, "", target="dev", copy=copy)
        Path(copy).unlink()
    commit(url, PLUGIN.replace("VALUE", "x"))
    assert site.follow()["dev"] != "in sync", site.said
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and tmp_path / "dev" not in p.parents]
    assert any(path.name == "controller.db" for path in kept)
    for text in (site.said.encode(), *(path.read_bytes() for path in kept)):
        assert not [form for form in forms(LIVE) if form in text]
