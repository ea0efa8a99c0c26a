"""A rule of the policy holds for a release, whether its plugin is written by its name or its id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE, TOKEN, Server, Workplace, project
from git_repositories import commit

from synapse_apply import EmbeddedServer

BY_ID = RELEASE.replace("plugin: yolo", "plugin: {id: 1}").replace("1.0.0", "3.0.0")
BY_NAME = RELEASE.replace("1.0.0", "3.0.0")
Ruled = Callable[..., Workplace]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with EmbeddedServer(tmp_path / "backend", token=TOKEN, tenant="acme") as running:
        yield Server(running.url)


@pytest.fixture
def ruled(tmp_path: Path, server: Server) -> Ruled:
    """A project whose plugin is applied; its rules stand in the base, which commits cannot change."""

    def made(*rules: dict[str, Any]) -> Workplace:
        place = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN})
        file = json.loads(project(server.url))
        place.write("synapse-apply.yaml", json.dumps(file))
        place.write("manifests/plugin.yaml", PLUGIN)
        place.write("plugins/yolo/config.yaml", CONFIG.replace("1.0.0", "3.0.0"))
        commit(place.root, "plugin", with_ignored=False)
        place.run("state", "init", code=0)
        place.apply()
        place.write("synapse-apply.yaml", json.dumps(file | {"policy": {"rules": rules}}))
        commit(place.root, "rules", with_ignored=False)
        place.write("synapse-apply.yaml", json.dumps(file))
        return place

    return made


def apply(place: Workplace, release: str, code: int) -> str:
    place.write("manifests/release.yaml", release)
    return place.apply("--project-from", "git:HEAD", code=code).text


def releases(server: Server) -> list[str]:
    rows = server.call("GET", "_emulator/objects/release/")["results"]
    return [row["body"]["version"] for row in rows]


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "protected", "addresses": ["plugin/yolo", "release/yolo@*"]},
        {"rule": "protected", "addresses": ["release/yolo@3.*"]},
        {"rule": "protected", "addresses": ["release/id=1@*"]},
        {"rule": "no-debug-releases", "only": ["release/yolo@*"]},
        {"rule": "freeze", "only": ["release/yolo@*"], "cron": "* * * * *", "duration": "1h"},
        {"rule": "max-changes", "only": ["release/yolo@*"], "limit": 0},
        # An exception by id is none where the plugin has a name here.
        {"rule": "protected", "addresses": ["release/*"], "except": ["release/id=*"]},
    ],
    ids=lambda rule: "-".join(map(str, rule.values())),
)
def test_both_ways_are_refused(ruled: Ruled, server: Server, rule: dict[str, Any]) -> None:
    place = ruled(rule)
    is_debug = rule["rule"] == "no-debug-releases"
    for release in (BY_ID, BY_NAME):
        said = apply(place, release + "  debug: true\n" * is_debug, 5)
        assert rule["rule"] in said
        assert releases(server) == []


@pytest.mark.parametrize("other", ["01", "001", "0_1", "1_", "0_"])
def test_a_number_has_one_spelling(ruled: Ruled, server: Server, other: str) -> None:
    """The backend reads others as the same number; no rule would know it."""
    place = ruled({"rule": "protected", "addresses": ["release/yolo@*"]})
    assert "a number as the server writes it" in apply(
        place, BY_ID.replace("1}", f'"{other}"}}'), 1
    )
    assert releases(server) == []


@pytest.mark.parametrize("gone", ["the manifest", "nothing"])
def test_the_record_of_the_plugin_tells_as_well(ruled: Ruled, server: Server, gone: str) -> None:
    place = ruled({"rule": "protected", "addresses": ["release/yolo@*"]})
    if gone == "the manifest":
        (place.root / "manifests" / "plugin.yaml").unlink()
    assert "it is protected" in apply(place, BY_ID, 5)
    assert releases(server) == []


@pytest.mark.parametrize("release", [BY_ID, BY_NAME])
def test_an_exception_by_name_holds_for_both(ruled: Ruled, server: Server, release: str) -> None:
    """It is the one that the refusal prints."""
    rule = {"rule": "no-debug-releases", "except": ["release/yolo@3.0.0"]}
    apply(ruled(rule), release + "  debug: true\n", 0)
    assert releases(server) == ["3.0.0"]


def test_the_printed_exception_is_the_one_by_name(ruled: Ruled) -> None:
    said = apply(ruled({"rule": "no-debug-releases"}), BY_ID + "  debug: true\n", 5)
    assert "add `except: [release/yolo@3.0.0]` to rule no-debug-releases" in said


def test_another_plugin_is_not_held(ruled: Ruled, server: Server) -> None:
    place = ruled({"rule": "protected", "addresses": ["release/other@*", "release/id=2@*"]})
    apply(place, BY_ID, 0)
    assert releases(server) == ["3.0.0"]
