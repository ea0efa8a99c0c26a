"""docs/adoption.md tells the truth: its commands are run against a backend made by hand."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from e2e.scenarios.workplace import Server
from e2e.test_readme import FENCE, MARK, Block, commands, normal, shell, write
from installed import ROOT

from synapse_apply import EmbeddedServer

PAGE = (ROOT / "docs" / "adoption.md").read_text(encoding="utf-8")
TOKEN = {"SYNAPSE_PROD_TOKEN": "a-token-of-tests"}
URL = "https://api.example.com"
LINEAGE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def by_hand(server: Server) -> None:
    """What somebody made in Synapse: two storages, a plugin with two releases."""
    keys = {"access_key": "AKIAEXAMPLE", "secret_key": "made-up"}
    raw = {"name": "Raw Data", "provider": "amazon_s3", "category": "external"}
    server.call("POST", "storages/", {**raw, "configuration": {"bucket_name": "raw", **keys}})
    nas = {"name": "저장소", "provider": "file_system", "category": "internal"}
    server.call("POST", "storages/", {**nas, "configuration": {"base_path": "/data"}})
    server.call("POST", "plugins/", {"name": "Yolo", "code": "yolo", "category": "neural_net"})
    for version in ("1.0.0", "1.1.0"):
        server.call("POST", "plugin_releases/", {"plugin": 1, "version": version})


def test_the_page_is_what_happens(tmp_path: Path) -> None:
    """Every console block, in order, prints what it shows; files are as the page has them."""
    with backend(tmp_path / "data", secrets="masked") as server:
        by_hand(server)
        later = {"export --unmanaged": made_by_hand(server)}
        told = followed(PAGE, server.url, tmp_path / "project", later)
    assert [command for command in told if "export" in command]


def made_by_hand(server: Server) -> str:
    """A line for a shell that makes one more storage, as somebody does in Synapse."""
    nas = {"name": "Scratch", "provider": "file_system", "category": "internal"}
    body = json.dumps({**nas, "configuration": {"base_path": "/scratch"}})
    headers = {
        "Synapse-Access-Token": f"Token {server.token}",
        "Content-Type": "application/json",
    }
    request = f"Request('{server.url}/storages/', {body.encode()}, {headers})"
    code = f"from urllib.request import *; build_opener(ProxyHandler({{}})).open({request})"
    return shlex.join([sys.executable, "-c", code])


@contextmanager
def backend(data: Path, **switches: str) -> Iterator[Server]:
    token = next(iter(TOKEN.values()))
    tokens = {token: "acme"}
    with EmbeddedServer(data, tokens=tokens, tenant="acme", switches=switches) as up:
        yield Server(up.url, token)


def followed(
    page: str, url: str, folder: Path, before: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Do what a page says in a folder; every command, each of which printed what is shown.

    `before` has what happens elsewhere before the command with such words in it.
    """
    told: list[tuple[str, str]] = []
    script = ""
    for block in (Block(*found) for found in FENCE.findall(page)):
        if block.language == "yaml":
            aside = f".{len(told)}"  # put in place when its turn comes, as a reader does
            write(Block("yaml", block.text.replace(URL, url)), folder / aside)
            script += f"cp -r {aside}/. .\n"
        for command, output in commands(block.text) if block.language == "console" else ():
            told.append((command, output))
            script += "".join(f"{line}\n" for words, line in before.items() if words in command)
            script += f"{command}\nprintf '{MARK}'\n"
    printed = [text.replace(url, URL) for text in shell(script, folder, TOKEN)]
    for (command, output), real in zip(told, printed, strict=True):
        assert steady(real) == steady(output), command
    return [command for command, _ in told]


def steady(text: str) -> str:
    return LINEAGE.sub("LINEAGE", normal(text)).rstrip()
