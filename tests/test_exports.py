"""The public face: small, complete, typed, and cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from installed import ROOT, copied, environment, variables

import synapse_apply
from synapse_apply import Choices, Silent, Where, apply, check, open_context, plan

FACE = Path(synapse_apply.__file__)
HEAVY = ("requests", "urllib3", "yaml", "jsonschema", "jsonschema_rs", "click", "rich", "sqlite3",
         "starlette", "uvicorn", "deepdiff")  # fmt: skip


def test_the_face_is_small() -> None:
    """`__init__.py` stays under 60 lines: it names things, it does nothing."""
    assert FACE.read_text(encoding="utf-8").count("\n") < 60


@pytest.mark.parametrize("name", synapse_apply.__all__)
def test_every_public_name_can_be_used(name: str) -> None:
    """Each name is there, says what it is, and is the thing its home defines."""
    assert getattr(synapse_apply, name)
    if not name.startswith("__"):
        assert getattr(synapse_apply, name).__doc__


def test_type_checkers_see_the_same_names() -> None:
    """The names imported for type checkers are the names imported on use."""
    tree = ast.parse(FACE.read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name for node in ast.walk(block) if isinstance(node, ast.ImportFrom)
             for alias in node.names}  # fmt: skip
    assert typed == {name for name in synapse_apply.__all__ if not name.startswith("__")}
    assert sorted(synapse_apply.__all__) == sorted(dir(synapse_apply))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy imports do not change what a wrong name does."""
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        synapse_apply.Manager  # noqa: B018 - looking it up is the test


def test_importing_the_package_imports_nothing_else() -> None:
    """`import synapse_apply` pulls in no third-party package and no layer of ours."""
    code = (
        "import sys, synapse_apply; "
        f"print([name for name in {HEAVY!r} if name in sys.modules], "
        "sorted(name for name in sys.modules if name.startswith('synapse_apply.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment({}),
    )
    assert done.stdout == "[] []\n"


def test_the_library_does_what_the_commands_do(tmp_path: Path) -> None:
    """Plan and apply through the public names alone, as CONTRIBUTING and the README show."""
    folder = copied(ROOT / "examples" / "quickstart", tmp_path)
    where = Where(folder, target="embedded", environ=variables(folder / "example.env"))
    with open_context(where) as context:
        with context.store.lock("a script"):
            planned = plan(context, Choices())
            check(planned.plan)
            report = apply(context, planned, Silent())
        assert report.exit_code == 0
        assert len(report.outcomes) == 4
        assert not plan(context, Choices()).plan.has_changes


def test_the_library_is_held_to_the_policy_of_the_project(tmp_path: Path) -> None:
    """Choices of its own take no rule away."""
    folder = copied(ROOT / "examples" / "quickstart", tmp_path)
    file = folder / "synapse-apply.yaml"
    file.write_text(f"{file.read_text()}policy: {{rules: [{{rule: max-changes, limit: 3}}]}}\n")
    where = Where(folder, target="embedded", environ=variables(folder / "example.env"))
    with open_context(where) as context:
        planned = plan(context, Choices())
    assert [trip.name for trip in planned.plan.guards] == ["policy:max-changes"]
