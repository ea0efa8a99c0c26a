"""A project file or a file of variables that cannot be read, because it is a link in a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

from synapse_apply.model.errors import InputError
from synapse_apply.operations.validate import validate
from synapse_apply.workspace.configuration import load_valid_project_or_defaults
from synapse_apply.workspace.invocation import Invocation


def test_a_project_file_that_is_a_link_in_a_circle_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(InputError) as caught:
        load_valid_project_or_defaults(Invocation(tmp_path, project=tmp_path / "loop.yaml"))
    (found,) = caught.value.diagnostics
    assert found.summary == "The project file cannot be read"
    assert f"{tmp_path / 'loop.yaml'}: Too many levels of symbolic links" in found.detail


def test_a_file_of_variables_that_is_a_link_in_a_circle_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    loop = tmp_path / "loop.yaml"
    loop.symlink_to("loop.yaml")
    with pytest.raises(InputError) as caught:
        validate(Invocation(tmp_path, variable_files=(loop,)))
    assert str(loop) in caught.value.diagnostics[0].detail
