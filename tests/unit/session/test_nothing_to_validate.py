"""validate where there is no manifest: nobody is told that a wrong folder is valid."""

from __future__ import annotations

import pytest
from in_process import run_command

from synapse_apply import Invocation, validate


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(folder, **where):
    return validate(Invocation(folder, **where)).diagnostics


def test_json_has_the_error(folder, capsys):
    """A program sees it as it sees every other."""
    assert run_command(["validate", "--json"]) == 1
    assert '"There is nothing to validate"' in capsys.readouterr().out


def test_an_empty_folder_that_was_named_is_an_error_without_a_project(folder):
    (folder / "m").mkdir()
    (finding,) = found(folder, paths=(folder / "m",))
    assert finding.is_error
    assert str(folder / "m") in finding.detail
