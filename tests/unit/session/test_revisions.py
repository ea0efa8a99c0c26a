"""What a commit declares is what its checkout would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from git_repositories import commit
from installed import ROOT, copied
from unit.packages.trees import write

from synapse_apply import Invocation
from synapse_apply.workspace.configuration import (
    DeclaredTarget,
    load_valid_project_or_defaults,
    read_declared_target,
)

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").rglob("synapse-apply.yaml"))


def said(found: DeclaredTarget) -> list[tuple[object, ...]]:
    """All that is declared, without where it stands."""
    return [
        (
            replace(one, position=None, positions={}, source=None, package=None),
            one.package.digest if one.package else None,
        )
        for _, one in sorted(found.desired.items())
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_a_commit_reads_as_its_checkout(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every example, for every target: the same resources, packages and warnings."""
    folder = copied(example, tmp_path)
    commit(folder)
    monkeypatch.chdir(folder)
    project = load_valid_project_or_defaults(Invocation(folder))
    for target in project.targets.values():
        here = read_declared_target(Invocation(folder), project, target)
        there = read_declared_target(Invocation(folder, as_of="HEAD"), project, target)
        assert said(there) == said(here)
        assert [one.summary for one in there.diagnostics] == [
            one.summary for one in here.diagnostics
        ]


ONE = "apiVersion: synapse-apply/v1\nkind: Storage\nmetadata: {name: NAME}\nspec: {name: NAME, \
provider: file_system, category: internal, configuration: {base_path: /x}}\n"


def test_the_same_files_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden names, folders of tools, other endings, and other YAML beside an unlisted manifest."""
    names = (
        *("a.yaml", "b.yml", "sub/c.yaml", "한국/d.yaml", "sp ace/e.yaml"),
        *(".hidden.yaml", ".git-not/f.yaml", "node_modules/g.yaml", "h.txt", "x.yaml.bak"),
    )
    files = {name: ONE.replace("NAME", f"s{at}") for at, name in enumerate(names)}
    write(tmp_path, {**files, "other.yaml": "services: {}\n", "sub/deep/er/i.yaml": ONE})
    write(tmp_path, {"sub/deep/er/i.yaml": ONE.replace("NAME", "deep")})
    write(tmp_path, {"synapse-apply.yaml": "apiVersion: synapse-apply/v1\nkind: Project\n"})
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    project = load_valid_project_or_defaults(Invocation(tmp_path))
    target = project.targets["embedded"]
    here = read_declared_target(Invocation(tmp_path), project, target)
    there = read_declared_target(Invocation(tmp_path, as_of="HEAD"), project, target)
    assert said(there) == said(here)
    assert len(here.desired) == 6
    assert here.diagnostics == there.diagnostics == ()
    places = sorted(str(one.position) for one in there.desired.values())
    assert places[0] == "HEAD:a.yaml:1:1"
    assert "HEAD:sub/deep/er/i.yaml:1:1" in places


def test_an_inventory_among_listed_manifests_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder, here and in a commit; a broken one and one with more in it are told."""
    listed = "apiVersion: synapse-apply/v1\nkind: Project\nmanifests: [.]\n"
    rows = "inventory:\n  - {address: storage/a, id: 1}\n"
    broken = {"b.yaml": rows + "\t-", "c.yaml": rows + "more: 1\n", "d.yaml": f"{rows}---\n{rows}"}
    write(tmp_path, {"synapse-apply.yaml": listed, "a.yaml": ONE.replace("NAME", "a")})
    write(tmp_path, {"inventory.yaml": rows, **broken})
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    project = load_valid_project_or_defaults(Invocation(tmp_path))
    target = project.targets["embedded"]
    for as_of in ("", "HEAD"):
        found = read_declared_target(Invocation(tmp_path, as_of=as_of), project, target)
        told = {str(one.position).rpartition("/")[2] for one in found.diagnostics}
        assert {name.split(":")[-3] for name in told} == broken.keys()
        assert [str(address) for address in found.desired] == ["storage/a"]
