"""What a commit declares is what its checkout would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from git_repositories import commit
from installed import ROOT, copied
from unit.packages.trees import write

from synapse_apply import Invocation, open_target, open_targets, validate

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").rglob("synapse-apply.yaml"))


def list_declared(folder: Path, ref: str) -> list[tuple[object, ...]]:
    """All that each target declares, without where it stands."""
    has_targets = "\ntargets:" in (folder / "synapse-apply.yaml").read_text(encoding="utf-8")
    names = ["*"] if has_targets else ["embedded"]
    return [
        (
            target.name,
            replace(one, position=None, positions={}, source=None, package=None),
            one.package.digest if one.package else None,
        )
        for target in open_targets(names, folder=folder, ref=ref)
        for _, one in sorted(target.read_manifests().items())
    ]


def list_findings(folder: Path, ref: str) -> list[str]:
    return [one.summary for one in validate(Invocation(folder, as_of=ref)).diagnostics]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_a_commit_reads_as_its_checkout(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every example, for every target: the same resources, packages and warnings."""
    folder = copied(example, tmp_path)
    commit(folder)
    monkeypatch.chdir(folder)
    assert list_declared(folder, "HEAD") == list_declared(folder, "")
    assert list_findings(folder, "HEAD") == list_findings(folder, "")


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
    assert list_declared(tmp_path, "HEAD") == list_declared(tmp_path, "")
    assert list_findings(tmp_path, "HEAD") == list_findings(tmp_path, "") == []
    with open_target("embedded", folder=tmp_path, ref="HEAD") as target:
        places = sorted(str(one.position) for one in target.read_manifests().values())
    assert len(places) == 6
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
    for ref in ("", "HEAD"):
        found = validate(Invocation(tmp_path, as_of=ref))
        told = {str(one.position).rpartition("/")[2] for one in found.diagnostics}
        assert {name.split(":")[-3] for name in told} == broken.keys()
        assert found.counts == {"embedded": 1}
