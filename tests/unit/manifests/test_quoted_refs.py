"""References are found in files that nobody parses: those that a whole reading finds, and quickly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from installed import ROOT

from synapse_apply.manifests.decode.loading import load_manifests
from synapse_apply.manifests.files import scan_secret_refs
from synapse_apply.manifests.project.project import build_default_project, read_project_or_findings
from synapse_apply.model.project import Target
from synapse_apply.model.values import SecretRef, is_map

PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
variables: {which: {default: RAW}}
targets:
  prod: {url: "http://127.0.0.1:9", allow_env: ["*"]}
"""


def found_in(folder: Path, text: str, project: str = PROJECT) -> set[tuple[str, str, str]]:
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "manifests" / "a.yaml").write_text(text, encoding="utf-8")
    file = folder / "synapse-apply.yaml"
    file.write_text(project, encoding="utf-8")
    read, _ = read_project_or_findings(file, str(file))
    assert read is not None
    return {
        (ref.source, ref.name, ref.format) for ref in scan_secret_refs(read, read.targets["prod"])
    }


@pytest.mark.parametrize(
    "text",
    [
        "k: {valueFrom: {sops: {file: secrets/prod.yaml, key: a/b}}}",
        "k:\n  valueFrom:\n    sops:\n      key: 'a/b'\n      file: secrets/prod.yaml\n",
        '{"k": {"valueFrom": {"sops": {"file": "secrets/${var.which}.yaml", "key": "a/b"}}}}',
    ],
)
def test_a_value_of_an_encrypted_file_is_found(tmp_path: Path, text: str) -> None:
    """And the file as a whole is not taken for a secret."""
    project = PROJECT.replace("default: RAW", "default: prod")
    found = found_in(tmp_path, text, project)
    assert found == {("sops", "a/b of secrets/prod.yaml", "text")}


@pytest.mark.parametrize(
    "text",
    [
        "k:\n  valueFrom:\n    # env: RAW_OLD\n    env: RAW_KEY\n",
        "k:\n  valueFrom: # not env: RAW_OLD\n    env: RAW_KEY\n",
        "k:\n  valueFrom:\n    # was file: raw.txt\n    env: RAW_KEY\n",
        "k:\n  valueFrom:\n    env: # which one\n      RAW_KEY\n",
        "k:\n  valueFrom:\n    env: >-\n      RAW_KEY\n",
        "k:\n  valueFrom:\n    env: &name RAW_KEY\n",
        "k:\n  valueFrom:\n    ? env\n    : RAW_KEY\n",
        'k:\n  valueFrom:\n    "\\x65nv": RAW_KEY\n',
        'k:\n  "value\\x46rom":\n    env: RAW_KEY\n',
        f"k:\n  valueFrom:\n    # {'x' * 1100}\n    env: RAW_KEY\n",
        "a: &a {env: RAW_KEY}\nk: {valueFrom: *a}\n",
    ],
)
def test_a_reference_of_any_valid_form_is_found(tmp_path: Path, text: str) -> None:
    """What a search of the text would miss, or take for another name."""
    assert ("env", "RAW_KEY", "text") in found_in(tmp_path, text)


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    """A folder, a link that points nowhere, bytes that are no text."""
    (tmp_path / "manifests" / "b.yaml").mkdir(parents=True)
    (tmp_path / "manifests" / "c.yaml").symlink_to("nowhere")
    (tmp_path / "manifests" / "d.yaml").write_bytes(b"\xff\xfe valueFrom: {env: BINARY}")
    text = "k: {valueFrom: {env: RAW_KEY}}"
    assert ("env", "RAW_KEY", "text") in found_in(tmp_path, text)


def test_a_folder_without_a_project_is_not_searched(tmp_path: Path) -> None:
    """Nobody said that its YAML is ours, and it may be a home folder."""
    (tmp_path / "a.yaml").write_text("k: {valueFrom: {env: RAW_KEY}}", encoding="utf-8")
    project = build_default_project(tmp_path)
    assert scan_secret_refs(project, next(iter(project.targets.values()), Target("x"))) == set()


def references_of(tree: Any) -> set[SecretRef]:
    if isinstance(tree, SecretRef):
        return {tree}
    inner = tree.values() if is_map(tree) else tree if isinstance(tree, list | tuple) else ()
    return set().union(*map(references_of, inner))


@pytest.mark.parametrize(
    "example", sorted(path.parent for path in (ROOT / "examples").rglob("synapse-apply.yaml"))
)
def test_no_reference_of_an_example_is_missed(example: Path) -> None:
    """Against what the manifests are really read as."""
    project, _ = read_project_or_findings(example / "synapse-apply.yaml", "x")
    assert project is not None
    for target in project.targets.values():
        declared = load_manifests(project, target).desired.values()
        wanted = references_of([desired.spec for desired in declared])
        wanted = {ref for ref in wanted if ref.source in {"env", "file"}}
        assert wanted <= scan_secret_refs(project, target)


@pytest.mark.parametrize(
    "piece", ["valueFrom", "valueFrom: {env: ", "valueFrom: {env: '", "${", "\\"]
)
def test_a_hostile_file_takes_no_longer(tmp_path: Path, piece: str) -> None:
    """Megabytes of what begins like a reference."""
    begun = time.process_time()
    found_in(tmp_path, "valueFrom: {env: " + piece * (2_000_000 // len(piece)))
    assert time.process_time() - begun < 60
