"""Older releases, deleted or forgotten: only once the one that follows them is there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from e2e.scenarios.workplace import PLUGIN, PLUGIN_V2, RELEASE, RELEASE_V2, Server, Workplace


def declare(there: Workplace, plugin: str, release: str, version: str) -> None:
    there.write("manifests/plugin.yaml", plugin, release.replace("1.0.0", version))
    config = "name: Yolo\ncode: yolo\ncategory: pre_annotation\n"
    there.write("plugins/yolo/config.yaml", config)


def refuse_new(server: Server, path: str, status: int = 400) -> None:
    """The backend takes no more releases; status 0 ends that."""
    fault = {"match": {"path": path, "method": "POST"}, "do": {"status": status}}
    server.call("PUT", "_emulator/faults/", {"rules": [fault] if status else []})


def live(server: Server) -> set[str]:
    return {row["body"]["version"] for row in server.objects("release")}


def recorded(there: Workplace) -> set[str]:
    return {
        line.split()[0].partition("@")[2]
        for line in there.run("state", "show", code=0).out.splitlines()
        if line.startswith("release/")
    }


@pytest.fixture
def v2(server: Server, make: Callable[..., Workplace]) -> Workplace:
    """Releases 3.0.0 and 4.0.0 on API v2; 4.0.0 alone is declared."""
    there = make(server, api="v2")
    there.run("state", "init", code=0)
    for version in ("3.0.0", "4.0.0"):
        declare(there, PLUGIN_V2, RELEASE_V2, version)
        there.apply()
    return there


def test_none_is_deleted_where_the_new_one_cannot_be_made(v2: Workplace, server: Server) -> None:
    """`5.0` is not a semantic version, so it supersedes nothing: all others are no longer declared."""
    declare(v2, PLUGIN_V2, RELEASE_V2, "5.0")
    refuse_new(server, "/v2/plugin-releases/")
    said = v2.apply("--prune", code=3)
    assert ". release/yolo@4.0.0 was skipped: it depends on release/yolo@5.0" in said.out
    assert live(server) == recorded(v2) == {"3.0.0", "4.0.0"}
    refuse_new(server, "/v2/plugin-releases/", 0)
    v2.apply("--prune")
    assert live(server) == recorded(v2) == {"5.0"}


def test_none_is_deleted_where_the_new_one_is_refused(v2: Workplace, server: Server) -> None:
    """Each row says for what it would have to wait."""
    declare(v2, PLUGIN_V2, RELEASE_V2, "1.2")
    v2.edit(
        "synapse-apply.yaml",
        '"manifests"',
        '"policy": {"rules": [{"rule": "version-grows"}]}, "manifests"',
    )
    said = v2.apply("--prune", code=5).text
    assert "release/yolo@4.0.0 cannot be destroyed: it depends on release/yolo@1.2" in said
    assert live(server) == recorded(v2) == {"3.0.0", "4.0.0"}


def test_none_is_deleted_while_the_new_one_is_left_out(v2: Workplace, server: Server) -> None:
    """A part of the plan does not part what belongs together."""
    declare(v2, PLUGIN_V2, RELEASE_V2, "5.0")
    v2.apply("--prune", "--only", "release/yolo@3.0.0", code=5)
    assert live(server) == {"3.0.0", "4.0.0"}


@pytest.fixture
def v1(server: Server, make: Callable[..., Workplace]) -> Workplace:
    """Releases 1.0.0 and 1.1.0 on API v1, which deletes nothing; 1.1.0 alone is declared."""
    there = make(server)
    there.run("state", "init", code=0)
    for version in ("1.0.0", "1.1.0"):
        declare(there, PLUGIN, RELEASE, version)
        there.apply()
    return there


@pytest.mark.parametrize("version", ["0.9", "banana"])
def test_none_is_forgotten_where_the_new_one_cannot_be_made(
    v1: Workplace, server: Server, version: str
) -> None:
    """What is known of the published bytes is known after it, too."""
    before = v1.run("state", "show", "--inventory", code=0).out
    declare(v1, PLUGIN, RELEASE, version)
    refuse_new(server, "/plugin_releases/")
    v1.apply(code=3)
    assert v1.run("state", "show", "--inventory", code=0).out == before
    refuse_new(server, "/plugin_releases/", 0)
    v1.apply()
    assert recorded(v1) == {version}


def test_none_is_forgotten_where_the_new_one_is_refused(v1: Workplace) -> None:
    """The plan says that the records stay, and until when."""
    before = v1.run("state", "show", "--inventory", code=0).out
    declare(v1, PLUGIN, RELEASE, "0.9")
    v1.edit(
        "synapse-apply.yaml",
        '"manifests"',
        '"policy": {"rules": [{"rule": "version-grows"}]}, "manifests"',
    )
    said = v1.apply(code=5).out
    assert "kept in the state until release/yolo@0.9 exists" in said
    assert v1.run("state", "show", "--inventory", code=0).out == before


def test_none_is_forgotten_by_a_saved_plan_whose_new_one_moved(v1: Workplace) -> None:
    """The row of the new release is stale; those that wait for it go no more than it does."""
    declare(v1, PLUGIN, RELEASE, "banana")
    v1.plan("--out", "saved.plan", code=0)
    v1.write("plugins/yolo/plugin/main.py", "print('other bytes')\n")
    v1.run("apply", "saved.plan", "--allow-unsigned", code=4)
    assert recorded(v1) == {"1.0.0", "1.1.0"}
