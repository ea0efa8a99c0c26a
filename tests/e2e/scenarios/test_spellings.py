"""One spelling of a resource for every command: an address, its series, a name, a pattern."""

from __future__ import annotations

import pytest
from e2e.scenarios.workplace import Server, Workplace

SPELLINGS = ["release/yolo@1.0.0", "release/yolo", "yolo@1.0.0", "release/y*"]


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_release_is_called_the_same_everywhere(applied: Workplace, name: str) -> None:
    """Whatever the command takes: files, the state, the backend, or all of them."""
    commands = [
        ["show", name],
        ["state", "show", name],
        ["package", "show", name],
        ["package", "show", "--digest", name],
        ["package", "diff", name],
        ["plan", "--only", name],
        ["drift", "--only", name],
        ["state", "accept", name],
        ["state", "rm", name],
    ]
    for command in commands:
        ran = applied.run(*command)
        assert ran.code == 0, (command, ran.text)
    assert "release/yolo" not in applied.run("state", "show", code=0).out


def test_a_bare_name_of_one_kind(applied: Workplace) -> None:
    """`raw-data` is a storage and nothing else."""
    assert "raw-data" in applied.run("show", "raw-data", code=0).out
    applied.run("state", "rm", "raw-data", code=0)
    applied.run("import", "raw-data", "1", code=0)
    assert "storage/raw-data" in applied.run("state", "show", code=0).out


@pytest.mark.parametrize(
    "command",
    [["show"], ["state", "show"], ["state", "rm"], ["state", "accept"], ["plan", "--only"]],
)
def test_a_name_of_two_kinds_is_asked_back(applied: Workplace, command: list[str]) -> None:
    """Nothing is done, and both are named."""
    before = applied.run("state", "show", code=0).out
    ran = applied.run(*command, "yolo", code=1)
    assert "`yolo` may be plugin/yolo, release/yolo@1.0.0" in ran.err
    assert applied.run("state", "show", code=0).out == before


@pytest.mark.parametrize(
    "command",
    [["show"], ["state", "show"], ["state", "rm"], ["state", "settle"], ["drift", "--write"]],
)
def test_a_pattern_of_nothing_is_an_error(applied: Workplace, command: list[str]) -> None:
    """Nothing matched is never taken for all of it."""
    assert "`nothing/*` is not an address" in applied.run(*command, "nothing/*", code=1).err


def test_a_pattern_forgets_what_it_fits(applied: Workplace) -> None:
    """Each is named."""
    ran = applied.run("state", "rm", "storage/*", "release/yolo", code=0)
    assert "Forgot storage/raw-data" in ran.out
    assert "Forgot release/yolo@1.0.0" in ran.out
    assert "plugin/yolo" in applied.run("state", "show", code=0).out


def test_drift_is_accepted_by_pattern(applied: Workplace, server: Server) -> None:
    """All that drifted, and nothing of what did not."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    ran = applied.run("drift", "--write", "*", code=0)
    assert "description: By hand" in (applied.root / "manifests/plugin.yaml").read_text()
    assert "storage/raw-data" not in ran.out
    assert (
        "No resource that matches `*` has drifted"
        in applied.run("drift", "--write", "*", code=1).err
    )


def test_verify_takes_the_plugins_name(applied: Workplace) -> None:
    """Only a release can be run, so nothing is ambiguous."""
    ran = applied.run("verify", "yolo")
    assert "Which one?" not in ran.text
    assert "release/yolo@1.0.0" in ran.text


def test_run_takes_a_release(applied: Workplace) -> None:
    """The version goes along; without one there is no telling which is meant."""
    ran = applied.run("run", "release/yolo@1.0.0", "--json", code=0)
    assert ran.document["job_id"]
    assert "release/yolo@VERSION" in applied.run("run", "release/yolo", code=64).err
