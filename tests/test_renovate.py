"""The preset for Renovate finds the releases in manifests, and the versions that a backend has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from installed import ROOT
from jsonata import Jsonata

from synapse_apply import EmbeddedServer

PRESET = ROOT / "renovate" / "releases.json"
PUBLISHED, COMMENTED = json.loads(PRESET.read_text("utf-8"))["customManagers"]
DATASOURCE = json.loads(PRESET.read_text("utf-8"))["customDatasources"]["synapse-releases"]
MANIFESTS = """\
kind: Plugin
metadata: {name: yolo}
spec: {code: yolo-v8, name: YOLO}
---
kind: Release
spec: {plugin: yolo, version: "1.0.0", source: published}
---
kind: Release
spec: {plugin: other, version: "2.0.0-rc.1", source: published}
---
kind: Release
spec: {plugin: {id: 12}, version: "3.0.0", source: published}
---
kind: Release
spec: {plugin: ours, version: "4.0.0", source: ./plugins/ours}
---
kind: Release
spec: {plugin: vars, version: "${var.version}", source: published}
---
kind: Release
spec: {plugin: packaged, source: published}
"""


def find_published(text: str) -> Any:
    """What the manager finds in a file, whose documents Renovate gives as a list."""
    [query] = PUBLISHED["matchStrings"]
    return Jsonata(query).evaluate(list(yaml.safe_load_all(text)))


def find_commented(text: str) -> list[dict[str, str | None]]:
    [pattern] = COMMENTED["matchStrings"]
    python = re.compile(pattern.replace("(?<", "(?P<"))
    return [match.groupdict() for match in python.finditer(text)]


def test_releases_that_others_publish_are_found() -> None:
    """By the plugin's code, where the file has it; ours, and versions of variables, are left alone."""
    assert find_published(MANIFESTS) == [
        {"depName": "yolo", "packageName": "yolo-v8", "currentValue": "1.0.0"},
        {"depName": "other", "packageName": "other", "currentValue": "2.0.0-rc.1"},
        {"depName": "id=12", "packageName": "12", "currentValue": "3.0.0"},
    ]
    assert not find_published("kind: Storage\nmetadata: {name: a}\nspec: {provider: gcp}\n")
    assert PUBLISHED["datasourceTemplate"] == "custom.synapse-releases"


def test_a_backend_says_which_versions_there_are(tmp_path: Path) -> None:
    """At the address of the preset, with a token that only asks; debug releases are not among them."""
    url = DATASOURCE["defaultRegistryUrlTemplate"]
    assert url.startswith("https://{{arg0}}/")
    with EmbeddedServer(tmp_path, token="t" * 20) as server:
        headers = {"Authorization": f"Token {server.token}"}
        plugin = {"name": "YOLO", "code": "yolo-v8", "description": "d", "version": "1.0.0",
                  "author": "a", "category": "c", "configuration": {}}  # fmt: skip
        made = requests.post(f"{server.url}/plugins/", json=plugin, headers=headers, timeout=60)
        assert made.status_code == 201, made.text
        for version, debug in (("1.0.0", False), ("1.1.0", False), ("2.0.0", True)):
            release = {"plugin": "yolo-v8", "version": version, "debug": debug, "changelog": "c"}
            path = f"{server.url}/plugin_releases/"
            made = requests.post(path, json=release, headers=headers, timeout=60)
            assert made.status_code == 201, made.text
        asked = url.replace("https://{{arg0}}", server.url).replace("{{packageName}}", "yolo-v8")
        answer: Any = requests.get(asked, headers=headers, timeout=60).json()
    for template in DATASOURCE["transformTemplates"]:
        answer = Jsonata(template).evaluate(answer)
    assert sorted(one["version"] for one in answer["releases"]) == ["1.0.0", "1.1.0"]


@pytest.mark.parametrize("answer", [{"results": [{"version": "1.0.0"}]}, [{"version": "1.0.0"}]])
def test_one_version_is_a_list_of_one(answer: Any) -> None:
    """Of a page, and of a server that answers with a list; none is an empty list."""
    [template] = DATASOURCE["transformTemplates"]
    assert Jsonata(template).evaluate(answer) == {"releases": [{"version": "1.0.0"}]}
    assert Jsonata(template).evaluate({"results": []}) == {"releases": []}


def test_a_comment_names_where_versions_come_from() -> None:
    """Of a version or of a ref, quoted or not; docs/renovate.md shows one."""
    page = (ROOT / "docs" / "renovate.md").read_text("utf-8")
    [shown] = find_commented(page)
    assert (shown["datasource"], shown["currentValue"]) == ("git-tags", "1.1.0")
    assert shown["extractVersion"] == "^v(?<version>.+)$"
    text = "  # renovate: datasource=github-releases depName=a/b\n  ref: yolo-v1.2.0\n"
    [plain] = find_commented(text)
    assert (plain["depName"], plain["currentValue"]) == ("a/b", "yolo-v1.2.0")
    assert find_commented("# renovate: datasource=x depName=y\nname: 1.0.0\n") == []


@pytest.mark.parametrize("manager", [PUBLISHED, COMMENTED])
def test_the_files_of_manifests_are_read(manager: dict[str, Any]) -> None:
    """Those of every example, and no other YAML."""
    [pattern] = [re.compile(text.strip("/")) for text in manager["managerFilePatterns"]]
    for path in (ROOT / "examples").rglob("manifests*/*.yaml"):
        assert pattern.search(path.relative_to(ROOT).as_posix())
    assert not pattern.search("synapse-apply.yaml")
    assert not pattern.search(".github/workflows/manifests.yml")
