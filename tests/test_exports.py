"""The public face: small, complete, typed, and cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import ROOT, copied, environment, variables

import synapse_apply
from synapse_apply import Invocation, PlanOptions, SilentProgress, apply, check, open_context, plan

FACE = Path(synapse_apply.__file__)
FORMER_NAMES = {"Choices": "PlanOptions", "Silent": "SilentProgress", "Where": "Invocation"}
# The README's example of the version before.
FORMER_EXAMPLE = """
from pathlib import Path

from synapse_apply import Choices, Silent, Where, apply, check, open_context, plan

with open_context(Where(Path.cwd(), target="embedded")) as context:
    with context.store.lock("nightly script"):
        planned = plan(context, Choices())
        check(planned.plan)  # raises what must stop an apply, by the target's rules
        report = apply(context, planned, Silent())
print(report.exit_code)
"""
# The README's example before there was `open_target`.
PARTS_EXAMPLE = """
from pathlib import Path

from synapse_apply import Invocation, PlanOptions, SilentProgress, apply, check, open_context, plan

with open_context(Invocation(Path.cwd(), target="embedded")) as session:
    with session.store.lock("nightly script"):
        result = plan(session, PlanOptions())
        check(result.plan)  # raises what must stop an apply, by the target's rules
        report = apply(session, result, SilentProgress())
print(report.exit_code)
"""
HEAVY = ("requests", "urllib3", "yaml", "jsonschema", "jsonschema_rs", "click", "rich", "sqlite3",
         "starlette", "uvicorn", "deepdiff")  # fmt: skip


@pytest.fixture
def run_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Runs a script in a copy of the quickstart, and gives what it prints."""

    def run(script: str) -> str:
        folder = copied(ROOT / "examples" / "quickstart", tmp_path)
        monkeypatch.chdir(folder)
        for name, value in variables(folder / "example.env").items():
            monkeypatch.setenv(name, value)
        exec(compile(script, "example.py", "exec"), {})
        return capsys.readouterr().out

    return run


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


@pytest.mark.parametrize("former_name", FORMER_NAMES)
def test_a_former_name_works_and_says_the_new_one(former_name: str) -> None:
    """For one version; where it is used is where the warning points to."""
    new_name = FORMER_NAMES[former_name]
    with pytest.warns(DeprecationWarning, match=f"{former_name} is now {new_name}$") as warnings:
        value = getattr(synapse_apply, former_name)
    assert value is getattr(synapse_apply, new_name)
    assert [warning.filename for warning in warnings] == [__file__]
    assert former_name not in synapse_apply.__all__


def test_the_example_of_the_readme_runs(run_example: Callable[[str], str]) -> None:
    """With warnings as errors: it uses no former name."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = readme.partition("## Python library\n\n```python\n")[2].partition("```")[0]
    assert run_example(example) == "0\n"


def test_the_example_of_the_parts_runs(run_example: Callable[[str], str]) -> None:
    """Plan, check and apply by themselves, as scripts have them that were written with these."""
    assert run_example(PARTS_EXAMPLE) == "0\n"


def test_the_example_of_the_version_before_runs(run_example: Callable[[str], str]) -> None:
    """A script that was written for it goes on working, and each old name is warned of."""
    with pytest.warns(DeprecationWarning, match="^synapse_apply") as warnings:
        assert run_example(FORMER_EXAMPLE) == "0\n"
    assert {str(warning.message).split()[0] for warning in warnings} == {
        f"synapse_apply.{name}" for name in FORMER_NAMES
    }


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
    where = Invocation(folder, target="embedded", environ=variables(folder / "example.env"))
    with open_context(where) as context:
        with context.store.lock("a script"):
            planned = plan(context, PlanOptions())
            check(planned.plan)
            report = apply(context, planned, SilentProgress())
        assert report.exit_code == 0
        assert len(report.outcomes) == 4
        assert not plan(context, PlanOptions()).plan.has_changes


def test_the_library_is_held_to_the_policy_of_the_project(tmp_path: Path) -> None:
    """Choices of its own take no rule away."""
    folder = copied(ROOT / "examples" / "quickstart", tmp_path)
    file = folder / "synapse-apply.yaml"
    file.write_text(f"{file.read_text()}policy: {{rules: [{{rule: max-changes, limit: 3}}]}}\n")
    where = Invocation(folder, target="embedded", environ=variables(folder / "example.env"))
    with open_context(where) as context:
        planned = plan(context, PlanOptions())
    assert [trip.name for trip in planned.plan.guards] == ["policy:max-changes"]
