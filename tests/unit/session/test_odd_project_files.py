"""What is called synapse-apply.yaml and is no file: it is named, and never passed over."""

from __future__ import annotations

import os

import pytest
from failing import fails

from synapse_apply import Invocation, validate

NAME = "synapse-apply.yaml"


def make_folder(path):
    path.mkdir()
    return "Is a directory"


def make_dangling_link(path):
    path.symlink_to("nowhere.yaml")
    return "No such file or directory"


def make_link_to_itself(path):
    path.symlink_to(path.name)
    return "Too many levels of symbolic links"


def make_pipe(path):
    os.mkfifo(path)
    return "it is a pipe"


def make_link_to_a_folder(path):
    (path.parent / "folder").mkdir()
    path.symlink_to("folder")
    return "Is a directory"


MAKERS = [
    make_folder,
    make_dangling_link,
    make_link_to_itself,
    make_pipe,
    make_link_to_a_folder,
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("below", ["", "a/b"])
def test_it_is_named_and_no_project_above_is_taken(tmp_path, make, below):
    """The project above would be another one: with other targets and another state."""
    (tmp_path / NAME).write_text("apiVersion: synapse-apply/v1\nkind: Project\n")
    inside = tmp_path / "inside"
    (inside / below).mkdir(parents=True)
    why = make(inside / NAME)
    with fails("InputError") as problem:
        validate(Invocation(inside / below))
    (finding,) = problem.value.diagnostics
    assert finding.summary == "The project file cannot be read"
    assert str(inside / NAME) in finding.detail
    assert why in finding.detail
