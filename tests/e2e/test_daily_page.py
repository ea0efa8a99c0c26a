"""docs/daily.md tells the truth: its ten commands are run, and their output is compared."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from e2e.test_adoption_page import TOKEN, backend, followed
from e2e.test_readme import FENCE
from in_process import run
from installed import ROOT, copied

PAGE = (ROOT / "docs" / "daily.md").read_text(encoding="utf-8")
KEY_ID = {"RAW_DATA_KEY_ID": "AKIAEXAMPLE"}
PROJECT = next(text for language, text in FENCE.findall(PAGE) if language == "yaml")


def build_edit_script(url: str) -> str:
    """A line for a shell that changes the plugin's author, as somebody does in Synapse."""
    headers = {"Synapse-Access-Token": f"Token {TOKEN['SYNAPSE_PROD_TOKEN']}"}
    code = f"""
import json
from urllib.request import ProxyHandler, Request, build_opener
opener = build_opener(ProxyHandler({{}}))
url, headers = {url!r} + "/plugins/1/", {headers!r} | {{"Content-Type": "application/json"}}
plugin = json.load(opener.open(Request(url, None, headers))) | {{"author": "Platform Team"}}
opener.open(Request(url, json.dumps(plugin).encode(), headers, method="PUT"))
"""
    return shlex.join([sys.executable, "-c", code])


def test_the_page_is_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a project that was applied with another quality; who applied it differs by machine."""
    project = copied(ROOT / "examples" / "quickstart", tmp_path)
    for name, value in KEY_ID.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("USER", "ops")
    with backend(tmp_path / "data") as server:
        before = PROJECT.replace("https://api.example.com", server.url).replace("0.9", "0.8")
        (project / "synapse-apply.yaml").write_text(before)
        run("state init", project, TOKEN)
        run("apply --auto-approve", project, TOKEN)
        followed(PAGE, server.url, project, {"apply drift": build_edit_script(server.url)})
        assert json.loads(run("drift --json", project, TOKEN).stdout)["resource_drift"] == []
    assert (tmp_path / "prod.backup").is_file()


def test_there_are_ten_commands_and_each_is_run() -> None:
    """A heading names a command, and the block below it runs that command."""
    sections = re.findall(
        r"^## (\d+)\. `([^`]+)`.*?^```console\n\$ (.*?)$", PAGE, re.MULTILINE | re.DOTALL
    )
    assert [int(number) for number, _, _ in sections] == list(range(1, 11))
    assert all(line.startswith(f"synapse-apply {name}") for _, name, line in sections)
