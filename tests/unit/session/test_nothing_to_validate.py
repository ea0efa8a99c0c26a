"""validate where there is no manifest: nobody is told that a wrong folder is valid."""

from __future__ import annotations

import pytest

from synapse_apply.cli.main import run
from synapse_apply.operations.validate import validate
from synapse_apply.workspace.invocation import Invocation

PROJECT = "apiVersion: synapse-apply/v1\nkind: Project\n"
STORAGE = (
    "apiVersion: synapse-apply/v1\nkind: Storage\nmetadata: {name: raw}\n"
    "spec: {name: Raw, provider: file_system, category: internal, "
    "configuration: {location: /data}}\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(folder, **where):
    return validate(Invocation(folder, **where)).diagnostics


def test_json_has_the_error(folder, capsys):
    """A program sees it as it sees every other."""
    assert run(["validate", "--json"]) == 1
    assert '"There is nothing to validate"' in capsys.readouterr().out


def test_an_empty_folder_that_was_named_is_an_error_without_a_project(folder):
    (folder / "m").mkdir()
    (finding,) = found(folder, paths=(folder / "m",))
    assert finding.is_error
    assert str(folder / "m") in finding.detail


@pytest.mark.parametrize("strict", [False, True])
def test_an_empty_folder_of_a_project_is_a_warning(folder, strict):
    """With --strict it is an error, as every warning."""
    (folder / "synapse-apply.yaml").write_text(PROJECT + "manifests: [manifests/, more/]\n")
    (folder / "manifests").mkdir()
    (folder / "more" / "inside").mkdir(parents=True)
    (folder / "manifests" / "raw.yaml").write_text(STORAGE)
    (finding,) = found(folder, strict=strict)
    assert finding.is_error is strict
    assert "`more/`" in finding.detail
    assert finding.position.line == 3
    assert run(["validate", *["--strict"] * strict]) == int(strict)


def test_files_without_a_manifest_are_a_warning(folder):
    """The folder has files, and none of them is ours or has a document."""
    (folder / "synapse-apply.yaml").write_text(PROJECT)
    (folder / "other.yaml").write_text("a: 1\n")
    (finding,) = found(folder)
    assert not finding.is_error
    assert finding.summary == "Nothing is declared"
