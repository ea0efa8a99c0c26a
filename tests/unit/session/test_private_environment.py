"""No value of the environment stands in what a debugger or an error tracker shows of a command."""

from __future__ import annotations

import traceback
from pathlib import Path

from synapse_apply import Invocation, SynapseApplyError, open_target

CANARY = "c4n4ry-of-the-environment"


def test_an_invocation_shows_no_value() -> None:
    invocation = Invocation(environ={"TOKEN": CANARY})
    assert CANARY not in repr(invocation)
    assert CANARY not in str(invocation)
    assert invocation.environ["TOKEN"] == CANARY


def test_locals_of_a_traceback_show_no_value(tmp_path: Path) -> None:
    """As error trackers and test runners print them."""
    project = "apiVersion: synapse-apply/v1\nkind: Project\nmanifests: [nowhere/]\n"
    (tmp_path / "synapse-apply.yaml").write_text(project)
    try:
        with open_target("embedded", folder=tmp_path, environ={"TOKEN": CANARY}) as target:
            target.plan()
    except SynapseApplyError as problem:
        shown = traceback.TracebackException.from_exception(problem, capture_locals=True)
        text = "".join(shown.format())
    assert "invocation" in text
    assert CANARY not in text
