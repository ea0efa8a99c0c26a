"""docs/adoption.md tells the truth: its commands are run against a backend made by hand."""

from __future__ import annotations

import re
from pathlib import Path

from e2e.scenarios.workplace import Server
from e2e.test_readme import FENCE, MARK, Block, commands, normal, shell, write
from installed import ROOT

from synapse_apply.emulator.serve import EmbeddedServer

PAGE = (ROOT / "docs" / "adoption.md").read_text(encoding="utf-8")
BLOCKS = [Block(*found) for found in FENCE.findall(PAGE)]
TOKEN = {"SYNAPSE_PROD_TOKEN": "a-token-of-tests"}
URL = "https://api.example.com"
LINEAGE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def by_hand(server: Server) -> None:
    """What somebody made in the product: two storages, a plugin with two releases."""
    keys = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "made-up"}
    raw = {"name": "Raw Data", "provider": "amazon_s3", "category": "external"}
    server.call("POST", "storages/", {**raw, "configuration": {"bucket_name": "raw", **keys}})
    nas = {"name": "저장소", "provider": "file_system", "category": "internal"}
    server.call("POST", "storages/", {**nas, "configuration": {"base_path": "/data"}})
    server.call("POST", "plugins/", {"name": "Yolo", "code": "yolo", "category": "neural_net"})
    for version in ("1.0.0", "1.1.0"):
        server.call("POST", "plugin_releases/", {"plugin": 1, "version": version})


def test_the_page_is_what_happens(tmp_path: Path) -> None:
    """Every console block, in order, prints what it shows; files are as the page has them."""
    tokens = {next(iter(TOKEN.values())): "acme"}
    switches = {"secrets": "masked"}
    with EmbeddedServer(tmp_path / "data", tokens=tokens, tenant="acme", switches=switches) as up:
        by_hand(Server(up.url, next(iter(TOKEN.values()))))
        folder = tmp_path / "project"
        told: list[tuple[str, str]] = []
        script = ""
        for block in BLOCKS:
            if block.language == "yaml":
                aside = f".{len(told)}"  # put in place when its turn comes, as a reader does
                text = block.text.replace(URL, up.url)
                write(Block("yaml", text), folder / aside)
                script += f"cp -r {aside}/. .\n"
            for command, output in commands(block.text) if block.language == "console" else ():
                told.append((command, output))
                script += f"{command}\nprintf '{MARK}'\n"
        printed = [text.replace(up.url, URL) for text in shell(script, folder, TOKEN)]
    assert [command for command, _ in told if "export" in command]
    for (command, output), real in zip(told, printed, strict=True):
        assert steady(real) == steady(output), command


def steady(text: str) -> str:
    return LINEAGE.sub("LINEAGE", normal(text)).rstrip()
