"""What `bump` cannot edit safely it says, and writes nothing at all."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.at_hand.conftest import PLUGIN, PROJECT, RELEASE
from e2e.at_hand.test_bump import FILES, contents
from e2e.scenarios.workplace import Workplace
from git_repositories import commit, git

VERSION = '  version:   "1.0.0"  # what is published\n'
SOURCE = "  source: ./plugins/yolo\n"
OVERLAYS = PROJECT + "targets: {embedded: {overlays: {%s}}}\n"


def set_version(text: str) -> Callable[[Workplace], None]:
    return lambda place: place.edit(FILES[1], VERSION, text)


def overlay(text: str) -> Callable[[Workplace], None]:
    return lambda place: place.write("synapse-apply.yaml", OVERLAYS % text) and None


def at_a_ref(place: Workplace) -> None:
    commit(place.root)
    git(place.root, "tag", "v1")
    place.edit(FILES[1], SOURCE, "  source: {path: plugins/yolo, ref: v1}\n")


def in_a_zip(place: Workplace) -> None:
    with zipfile.ZipFile(place.root / "yolo.zip", "w") as archive:
        archive.writestr("config.yaml", "version: 1.0.0\n")
    place.edit(FILES[1], SOURCE, "  file: yolo.zip\n")


def with_variable(place: Workplace) -> None:
    place.write("synapse-apply.yaml", PROJECT + "variables: {v: {default: 1.0.0-a}}\n")
    for name in (FILES[0], FILES[2]):
        place.edit(name, "1.0.0", "1.0.0-a")
    place.edit(FILES[1], '"1.0.0"', '"${var.v}"')


REFUSALS: dict[str, tuple[Callable[[Workplace], object], tuple[str, ...], str]] = {
    "no release": (lambda p: (p.root / FILES[1]).unlink(), ("patch",), "No manifest declares a rel"),
    "two releases": (
        lambda p: p.write("manifests/z.yaml", RELEASE.replace("1.0.0", "1.0.1")),
        ("patch",),
        "2 documents declare a release of yolo",
    ),
    "no semantic version": (
        lambda p: [p.edit(name, "1.0.0", "next") for name in FILES],
        ("patch",),
        "next is not a semantic version",
    ),
    "lower": (lambda _: None, ("--to", "0.9.0"), "0.9.0 does not come after 1.0.0"),
    "the same": (lambda _: None, ("--to", "1.0.0"), "1.0.0 does not come after 1.0.0"),
    "malformed": (lambda _: None, ("--to", "1 0"), "has characters that a version cannot have"),
    "declared already": (
        lambda p: p.write("manifests/z.yaml", RELEASE.replace("1.0.0", "1.0.1")),
        ("@1.0.0", "patch"),
        "release/yolo@1.0.1 is declared at manifests/z.yaml:1:1",
    ),
    "a variable": (with_variable, ("patch",), "spec.version is ${var.v}"),
    "an anchor": (set_version("  version: &v 1.0.0\n"), ("patch",), "an anchor or a tag (&v)"),
    "an alias": (
        lambda p: p.edit(
            FILES[1], VERSION, "  version: *v\n  config: {of: 1}\n"
        ) or p.edit(FILES[1], "kind: Release", "metadata: {labels: {v: &v 1.0.0}}\nkind: Release"),
        ("patch",),
        "the alias *v",
    ),
    "an overlay of the version": (
        overlay('"release/yolo@*": {spec: {version: 1.0.0}}'),
        ("patch",),
        "sets spec.version",
    ),
    "an overlay of the changelog": (
        overlay('"release/yolo@*": {spec: {changelog: x}}'),
        ("patch", "-m", "y"),
        "sets spec.changelog",
    ),
    "an overlay of one version": (
        overlay("release/yolo@1.0.0: {spec: {is_stable: false}}"),
        ("patch",),
        "Write release/yolo@* in the project file",
    ),
    "a package that disagrees": (
        lambda p: p.edit(FILES[2], "1.0.0", "0.9.0"),
        ("patch",),
        "Manifest and package disagree",
    ),
    "a Git ref": (at_a_ref, ("patch",), "The config.yaml of plugins/yolo at v1 has version 1.0.0"),
    "a zip": (in_a_zip, ("patch",), "build the zip again"),
    "a broken file": (
        lambda p: p.edit(FILES[1], SOURCE, SOURCE + "  source: again\n"),
        ("patch",),
        "Duplicate key",
    ),
    "a release that does not validate": (
        lambda p: p.edit(FILES[1], "is_stable: true", "is_stable: maybe"),
        ("patch",),
        "is_stable",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_nothing_is_written(place: Workplace, name: str) -> None:
    """Exit 1, the reason in words, and every file byte for byte as it was."""
    spoil, typed, words = REFUSALS[name]
    spoil(place)
    before = contents(place)
    at, rest = (typed[0], typed[1:]) if typed[0].startswith("@") else ("", typed)
    ran = place.run("bump", f"yolo{at}", *rest, code=1)
    assert words in ran.err
    assert ran.out == ""
    assert contents(place) == before


def test_a_target_whose_overlay_takes_another_package(place: Workplace) -> None:
    """Every target must have no error afterwards that it has not now."""
    place.write("plugins/other/config.yaml", "name: Yolo\n")
    place.write(
        "synapse-apply.yaml",
        OVERLAYS % '"release/yolo@*": {spec: {source: ./plugins/other}}',
    )
    place.run("bump", "yolo", "patch", code=0)
    assert "1.0.0" in (place.root / FILES[2]).read_text(), "no target releases this folder"
    place.run("validate", code=0)


def test_errors_elsewhere_do_not_matter(place: Workplace) -> None:
    """A storage that is not finished is no reason to wait with a release."""
    place.write("manifests/other.yaml", "apiVersion: synapse-apply/v1\nkind: Storage\nspec: {}\n")
    place.run("bump", "yolo", "patch", code=0)
    place.run("validate", code=1)


def test_a_folder_that_takes_no_new_file(place: Workplace, tmp_path: Path) -> None:
    """A name that is taken stops all, and nothing is left beside the files."""
    taken = place.root / f"plugins/yolo/.config.yaml.{os.getpid()}.part"
    taken.mkdir()
    before = contents(place)
    assert "config.yaml: File exists" in place.run("bump", "yolo", "patch", code=1).err
    assert contents(place) == before
    assert not list((place.root / "manifests").glob(".*"))


def test_a_plugin_that_nobody_declares(place: Workplace) -> None:
    """The nearest name is offered."""
    assert "did you mean `yolo`?" in place.run("bump", "yollo", "patch", code=1).err
    said = place.run("bump", "yolo@9.9.9", "patch", code=1).err
    assert "No manifest declares release/yolo@9.9.9" in said
    (place.root / FILES[0]).write_text(PLUGIN + "a: [\n")
    (place.root / FILES[1]).unlink()
    assert "YAML syntax" in place.run("bump", "yolo", "patch", code=1).err
