"""`--only` and `--exclude` against a real backend: what they leave out, and the way on."""

from __future__ import annotations

import re

import pytest
from e2e.scenarios.test_api_v2 import PLUGIN, RELEASE
from e2e.scenarios.workplace import CONFIG, Server, Workplace, project


def test_what_is_needed_is_not_selected(ready: Workplace, server: Server) -> None:
    """Nothing is wrong with it: the options that are printed take it along."""
    only = ["--only", "release/yolo@1.0.0"]
    ran = ready.apply(*only, code=5)
    assert "it depends on plugin/yolo, which does not exist yet and is not selected" in ran.out
    added = re.search(r"add `([^`]+)`", ran.out)
    assert added is not None
    ready.apply(*only, *added[1].split())
    assert server.counts == (1, 1, 0)


def test_what_is_made_along_is_not_selected(ready: Workplace, server: Server) -> None:
    """On API v2 a plugin is made with its first release, which is left out."""
    ready.write("synapse-apply.yaml", project(server.url, api="v2"))
    ready.write("manifests/plugin.yaml", PLUGIN, RELEASE)
    ready.write("plugins/yolo/config.yaml", CONFIG.replace('version: "1.0.0"\n', ""))
    ran = ready.apply("--only", "plugin", code=5)
    assert "solve " not in ran.out
    added = re.search(r"add `([^`]+)`", ran.out)
    assert added is not None
    ready.apply("--only", "plugin", *added[1].split())
    assert server.counts == (1, 1, 0)


@pytest.mark.parametrize("command", [["plan"], ["apply", "--auto-approve"]])
def test_an_empty_selection(ready: Workplace, command: list[str]) -> None:
    """It does not claim that what is live matches."""
    ran = ready.run(*command, "--only", "plugin", "--exclude", "plugin")
    assert "No changes. This plan contains no resources." in ran.out
    assert "matches" not in ran.text
    assert "3 of 3 addresses are not selected" in ran.text
