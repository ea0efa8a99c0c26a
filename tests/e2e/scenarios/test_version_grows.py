"""The rule `version-grows`, before releases that are live and that no state records."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from e2e.scenarios.workplace import (
    PLUGIN,
    PLUGIN_V2,
    RELEASE,
    RELEASE_V2,
    Server,
    Workplace,
    project,
)

GROWS = {"rule": "version-grows"}
NOT_NEWER = "version 1.0.0 is not newer than 5.0.0, which is live but not recorded"


@pytest.fixture
def ruled(ready: Workplace, server: Server) -> Callable[..., Workplace]:
    """Version 1.0.0 is declared under the rule; the state is empty."""

    def made(plugin: str, release: str, *rules: dict[str, Any], **of_target: Any) -> Workplace:
        file = json.loads(project(server.url, **of_target))
        file["policy"] = {"rules": rules or [GROWS]}
        ready.write("synapse-apply.yaml", json.dumps(file))
        ready.write("manifests/plugin.yaml", plugin, release)
        ready.write("plugins/yolo/config.yaml", "name: Yolo\ncode: yolo\n")
        return ready

    return made


def publish(server: Server, *versions: str, code: str = "yolo") -> None:
    """By hand, on API v1."""
    body = {"name": "Yolo", "description": "Finds things", "version": "1.0.0"}
    made = server.call("POST", "plugins/", {**body, "category": "pre_annotation", "code": code})
    for version in versions:
        server.call("POST", "plugin_releases/", {"plugin": made["id"], "version": version})


def asked(server: Server) -> dict[str, int]:
    counts: dict[str, int] = server.call("GET", "_emulator/requests/")["counts"]
    return {at: count for at, count in counts.items() if "release" in at}


def test_api_v1_by_the_code_of_the_plugin(ruled, server):
    """Adopted with its release, the plugin has a higher one that nobody declared."""
    publish(server, "0.1.0", "5.0.0")
    ran = ruled(PLUGIN, RELEASE).apply("--adopt", code=5)
    assert NOT_NEWER in ran.out
    assert {row["body"]["version"] for row in server.objects("release")} == {"0.1.0", "5.0.0"}


def test_api_v1_lets_a_higher_version_go(ruled, server):
    """So does one that was published by another plugin's code."""
    publish(server, "0.1.0")
    publish(server, "5.0.0", code="other")
    place = ruled(PLUGIN, RELEASE)
    place.apply("--adopt")
    place.unchanged()


def test_api_v2_in_one_list_for_all(ruled, server, serve):
    """What was published and is forgotten counts as what was never recorded."""
    place = ruled(PLUGIN_V2, RELEASE_V2.replace("1.0.0", "5.0.0"), api="v2")
    place.apply()
    place.run("state", "rm", "release/yolo@5.0.0", code=0)
    place.write("manifests/plugin.yaml", PLUGIN_V2, RELEASE_V2)
    assert NOT_NEWER in place.apply(code=5).out
    place.run("state", "rm", "plugin/yolo", code=0)
    before = asked(server)
    assert NOT_NEWER in place.plan(code=0).out
    after = asked(server)
    lists = [at for at in after if at.startswith("GET") and after[at] != before.get(at)]
    assert [after[at] - before.get(at, 0) for at in lists] == [1]


def test_nothing_is_asked_where_no_rule_asks_or_nothing_is_made(ruled, server):
    """A release that is there already is not judged, nor is one that the rule spares."""
    publish(server, "5.0.0")
    place = ruled(PLUGIN, RELEASE, {**GROWS, "except": ["release/yolo@1.0.0"]})
    place.run("import", "plugin/yolo", "1", code=0)
    place.plan(code=0)
    assert "GET /plugin_releases/" not in asked(server)
    place.apply("--adopt")
    place.edit("synapse-apply.yaml", '"except": ["release/yolo@1.0.0"]', '"severity": "deny"')
    place.unchanged()
    # Once, for a second release of the recorded version; the rule asks for nothing.
    assert asked(server)["GET /plugin_releases/"] == 1


def test_a_backend_without_such_a_list(ruled, server):
    """405 says that there is none: the plan says what it could not look at, and goes on."""
    publish(server, "5.0.0")
    place = ruled(PLUGIN, RELEASE)
    place.run("import", "plugin/yolo", "1", code=0)
    fault = {"match": {"path": "/plugin_releases/", "method": "GET"}, "do": {"status": 405}}
    server.call("PUT", "_emulator/faults/", {"rules": [fault]})
    ran = place.plan(code=0)
    assert "A policy rule sees only recorded releases" in ran.out
    assert "release/yolo@1.0.0: this backend does not show" in ran.text
    place.apply()


def test_a_list_that_cannot_be_read(ruled, server):
    """No answer is no permission: the plan is in error and nothing is sent."""
    publish(server, "5.0.0")
    place = ruled(PLUGIN, RELEASE)
    place.run("import", "plugin/yolo", "1", code=0)
    fault = {"match": {"path": "/plugin_releases/", "method": "GET"}, "do": {"status": 403}}
    server.call("PUT", "_emulator/faults/", {"rules": [fault]})
    before = server.writes
    ran = place.apply(code=1)
    assert "Reading the live state failed" in ran.text
    assert server.writes == before
