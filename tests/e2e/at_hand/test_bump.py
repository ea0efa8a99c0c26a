"""`bump` raises a version wherever it is written, and touches nothing else."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from e2e.at_hand.conftest import CONFIG, PLUGIN, RELEASE
from e2e.scenarios.workplace import Workplace
from git_repositories import commit, git
from in_process import run
from installed import run as run_installed

FILES = ("manifests/plugin.yaml", "manifests/release.yaml", "plugins/yolo/config.yaml")


def contents(place: Workplace) -> dict[str, bytes]:
    return {
        str(path.relative_to(place.root)): path.read_bytes()
        for path in sorted(place.root.rglob("*"))
        if path.is_file() and ".synapse-apply" not in path.parts
    }


def test_the_installed_command_edits_every_place_that_must_agree(place: Workplace) -> None:
    """Manifest, config.yaml and the plugin's own version; all other bytes and modes stay."""
    (place.root / FILES[1]).chmod(0o640)
    done = run_installed("bump yolo minor -m Faster", place.root, {})
    assert contents(place) == {
        "synapse-apply.yaml": contents(place)["synapse-apply.yaml"],
        "plugins/yolo/plugin/main.py": b"print('yolo')\n",
        FILES[0]: PLUGIN.replace("'1.0.0'", "'1.1.0'").encode(),
        FILES[1]: RELEASE.replace(
            '"1.0.0"  # what is published\n', '"1.1.0"  # what is published\n  changelog: Faster\n'
        ).encode(),
        FILES[2]: CONFIG.replace("1.0.0", "1.1.0").encode(),
    }
    assert stat.S_IMODE((place.root / FILES[1]).stat().st_mode) == 0o640
    assert done.stdout.startswith("release/yolo@1.0.0 -> release/yolo@1.1.0\n")
    assert "  - version: 1.0.0   # keep\n  + version: 1.1.0   # keep\n" in done.stdout
    assert "  +   changelog: Faster\n" in done.stdout
    assert done.stdout.endswith("Next: `synapse-apply plan` shows the new release.\n")
    assert run("validate", place.root, {}).stdout == "Valid: 2 resources for embedded.\n"


def test_a_code_fix_is_a_bump_and_one_apply(place: Workplace) -> None:
    """The new version is released; the published one stays and makes no noise."""
    place.apply()
    place.edit("plugins/yolo/plugin/main.py", "yolo", "yolo, mended")
    assert "unreleased changes (1 file; next version 1.0.1)" in place.plan().out
    place.run("bump", "yolo", "patch", code=0)
    assert "1 added, 1 changed" in place.apply().out
    place.unchanged()


def test_a_version_in_config_yaml_alone(place: Workplace) -> None:
    """One line in one file; a file behind a link is written, and the link stays."""
    place.edit("manifests/release.yaml", '  version:   "1.0.0"  # what is published\n', "")
    config, real = place.root / FILES[2], place.root / "plugins/yolo/plugin/real.yaml"
    config.rename(real)
    config.symlink_to("plugin/real.yaml")
    made = place.run("bump", "yolo", "--to", "2.0", "--json", code=0).document
    assert [edit["file"] for edit in made["edits"]] == [FILES[0], "plugins/yolo/plugin/real.yaml"]
    assert config.is_symlink()
    assert real.read_bytes() == CONFIG.replace("1.0.0 ", '"2.0" ').encode()
    assert "release/yolo@2.0" in place.plan().out


def test_a_dry_run_shows_and_writes_nothing(place: Workplace) -> None:
    """The document has every edit with the value before and after."""
    before = contents(place)
    made = place.run("bump", "yolo", "major", "-m", "New", "--dry-run", "--json", code=0).document
    assert contents(place) == before
    assert (made["before"], made["after"], made["written"]) == (
        "release/yolo@1.0.0", "release/yolo@2.0.0", False,
    )  # fmt: skip
    assert made["edits"] == [
        {"file": FILES[0], "path": "/spec/version", "before": "1.0.0", "after": "2.0.0"},
        {"file": FILES[1], "path": "/spec/version", "before": "1.0.0", "after": "2.0.0"},
        {"file": FILES[1], "path": "/spec/changelog", "before": None, "after": "New"},
        {"file": FILES[2], "path": "/version", "before": "1.0.0", "after": "2.0.0"},
    ]
    assert "Nothing was written" in place.run("bump", "yolo", "patch", "--dry-run", code=0).out


@pytest.mark.parametrize(
    ("now", "typed", "following"),
    [
        ("1.2.3", ("patch",), "1.2.4"),
        ("1.2.3", ("minor",), "1.3.0"),
        ("1.2.3", ("major",), "2.0.0"),
        ("1.2.0-rc.1", ("patch",), "1.2.0"),
        ("1.2.0-rc.1", ("minor",), "1.2.0"),
        ("1.2.3-rc.1", ("minor",), "1.3.0"),
        ("2.0.0-rc.1", ("major",), "2.0.0"),
        ("1.2.0-rc.1", ("major",), "2.0.0"),
        ("1.2.3+linux", ("patch",), "1.2.4"),
        ("1.2.0", ("--to", "1.3.0-rc.1"), "1.3.0-rc.1"),
        ("next", ("--to", "1.0.0"), "1.0.0"),
    ],
)
def test_what_follows(place: Workplace, now: str, typed: tuple[str, ...], following: str) -> None:
    """Semantic versioning's own rules; a prerelease leads up to its version."""
    for name in FILES:
        place.edit(name, "1.0.0", now)
    assert place.run("bump", "yolo", *typed, "--json", code=0).document["version"] == following
    assert f'version:   "{following}"' in (place.root / FILES[1]).read_text()


def test_a_message_is_taken_as_it_is(place: Workplace) -> None:
    """Several lines, quotes and what looks like a variable or a comment."""
    message = 'Faster: 20 % "on" é\n\n# no comment ${var.none}, $${x}\n- and: more'
    place.run("bump", "yolo", "patch", "-m", message, code=0)
    place.apply()
    shown = place.run("state", "show", "release/yolo@1.0.1", "--json", code=0).out
    assert json.dumps(message, ensure_ascii=False) in shown


def test_what_is_left_to_do_is_said(place: Workplace) -> None:
    """A changelog that is older than the version; a Git ref that still names the old code."""
    place.edit(FILES[1], "is_stable: true", "is_stable: true\n  changelog: First one")
    assert (
        "'First one'. To change it, use -m TEXT." in place.run("bump", "yolo", "patch", code=0).out
    )
    (place.root / FILES[2]).write_text("name: Yolo\ncode: yolo\n")
    commit(place.root)
    git(place.root, "tag", "v1")
    place.edit(FILES[1], "./plugins/yolo", "{path: plugins/yolo, ref: v1}")
    assert "still plugins/yolo at v1" in place.run("bump", "yolo", "patch", code=0).out


def test_of_several_releases_one_is_named(place: Workplace) -> None:
    """By its version, or by the file it stands in."""
    other = RELEASE.replace("1.0.0", "0.9.0").replace("./plugins/yolo", "published")
    place.write("manifests/old.yaml", other)
    said = place.run("bump", "yolo", "patch", code=1).err
    assert "2 documents declare a release of yolo: manifests/old.yaml:1:1, " in said
    place.run("bump", "yolo@0.9.0", "patch", code=0)
    assert '"0.9.1"' in (place.root / "manifests/old.yaml").read_text()
    assert (place.root / FILES[1]).read_text() == RELEASE
    place.run("bump", "yolo", "patch", "-f", FILES[1], "-f", FILES[0], code=0)
    assert '"1.0.1"' in (place.root / FILES[1]).read_text()


def test_a_plugin_with_another_version_is_left_alone(place: Workplace) -> None:
    """Only what says the release's version follows it."""
    place.edit(FILES[0], "1.0.0", "3.0.0")
    place.run("bump", "plugin/yolo", "patch", code=0)
    assert "3.0.0" in (place.root / FILES[0]).read_text()


def test_a_release_of_a_plugin_by_id(place: Workplace) -> None:
    """It is named as in its address."""
    place.edit(FILES[1], "plugin: yolo", "plugin: {id: 7}")
    made = place.run("bump", "id=7", "patch", "--json", code=0).document
    assert made["after"] == "release/id=7@1.0.1"


def test_usage(place: Workplace, tmp_path: Path) -> None:
    """A part or a version, one of the two: else 64, and nothing is read."""
    for typed in ([], ["patch", "--to", "2.0.0"], ["huge"]):
        place.run("bump", "yolo", *typed, code=64)
