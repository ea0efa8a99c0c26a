"""Commands of before do what takes their place, and say its name on stderr alone."""

from __future__ import annotations

import re

import pytest
from e2e.scenarios.workplace import Server, Workplace

RENAMED = [
    ("plugins get yolo", "get plugin yolo"),
    ("plugins get id=1 --json", "get plugin id=1 -o json"),
    ("releases get yolo@1.0.0 --expand plugin", "get release/yolo@1.0.0 --expand plugin"),
    ("releases list --json id=1", "get releases --plugin id=1 --json"),
    ("storages get raw-data", "get storage/raw-data"),
    ("storages list --json", "get storages -o json"),
    ("storages get nothing", "get storage nothing"),
    ("settle storage/raw-data --absent", "state settle storage/raw-data --absent"),
    ("settle --json", "state settle --json"),
    ("history --json", "state history --json"),
    ("unlock no-such-lock", "state unlock no-such-lock"),
    ("state recover no-such-file", "state record no-such-file"),
]


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_the_old_name_gives_what_the_new_one_does(
    applied: Workplace, server: Server, old: str, new: str
) -> None:
    """The same stdout and exit code; the warning is on stderr and names the new command."""
    expected = applied.run(*new.split(), code=None)
    ran = applied.run(*old.split(), code=expected.code)
    assert ran.out == expected.out
    told, *_ = ran.err.splitlines()
    old_name, new_name = re.fullmatch("Warning: `(.+)` is now `(.+)`", told).groups()
    assert old.startswith(old_name)
    assert new.startswith(new_name.split()[0])
    assert "Warning: " not in expected.err


def test_no_help_lists_an_old_name(applied: Workplace) -> None:
    """And `plugins` alone says what its commands are called."""
    listed = applied.run("--help", code=0).out
    assert re.search(r"^  get +\S", listed, re.MULTILINE)
    assert not re.search(r"^  (plugins|releases|storages) ", listed, re.MULTILINE)
    said = applied.run("releases", code=64).err
    assert "`releases list` is now `get releases --plugin`" in said


@pytest.mark.parametrize("kind", ["plugin", "release", "storage"])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_old_get_still_requires_a_name(
    applied: Workplace, kind: str, more: tuple[str, ...]
) -> None:
    """What listed nothing before is a usage error still."""
    ran = applied.run(f"{kind}s", "get", *more, code=64)
    assert f"`{kind}s get` takes the NAME of one object." in ran.err
    assert ran.out == ""


def test_a_list_of_releases_without_a_plugin_shows_a_command_that_works(
    applied: Workplace,
) -> None:
    """The usage line is of the command that takes its place."""
    err = applied.run("releases", "list", code=64).err
    assert "Usage: synapse-apply get releases [OPTIONS] --plugin PLUGIN" in err
    assert "The old name will be removed in the next version." in err


def test_the_old_name_of_an_option_does_the_same(applied: Workplace) -> None:
    """With the warning, and no help lists it."""
    expected = applied.run("drift", "--write", "plugin/yolo", code=None)
    ran = applied.run("drift", "--accept", "plugin/yolo", code=expected.code)
    assert ran.out == expected.out
    assert ran.err.startswith("Warning: `--accept` is now `--write`\n")
    assert ran.err.endswith(expected.err)
    assert "--accept" not in applied.run("drift", "--help", code=0).out
