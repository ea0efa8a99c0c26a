"""The sampler of mutants and the measuring of branches see what each process of a test runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import commit

from house import copies, mutants

FILES = {
    "synapse_apply/__init__.py": "",
    "synapse_apply/planning/limits.py": """\
LIMIT = 3


def is_few(count: int) -> bool:
    return count < LIMIT


def refuse() -> None:
    raise ValueError
""",
    "synapse_apply/planning/orders.py": """\
def order(names: list[str]) -> list[str]:
    if names:
        return sorted(names)
    return names
""",
    "tests/test_plans.py": """\
import subprocess
import sys

from synapse_apply.planning.limits import is_few

CODE = "from synapse_apply.planning.orders import order; assert order(['b', 'a']) == ['a', 'b']"


def test_few():
    assert is_few(2)


def test_order_in_a_process_that_is_given_nothing():
    subprocess.run([sys.executable, "-I", "-c", CODE], env={}, check=True)


def test_that_fails():
    assert is_few(3)
""",
}
TABLE = """
planning: 7 of 7 mutants, 0 left
    3 killed
    2 survived
    2 not run
"""
SURVIVORS = {
    "limits.py:1: `3` -> `4`  (survived: 1 of 1 tests)",
    "limits.py:5: `count < LIMIT` -> `(count <= LIMIT)`  (survived: 1 of 1 tests)",
    "limits.py:9: `raise ValueError` -> `pass`  (not run: 0 of 0 tests)",
    "orders.py:4: `return names` -> `return None`  (not run: 0 of 0 tests)",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # What plugins import is most of what so small a run takes.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p _hypothesis_pytestplugin")
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    commit(tmp_path)
    return tmp_path


def test_mutants_are_killed_and_survive(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that had no time left is gone on with, and what is done is not done again."""
    mutants.main(["planning", "--minutes", "0"], root)
    out = capsys.readouterr().out
    assert "2 tests pass, and 1 do not." in out
    assert "planning: 7 of 7 mutants, 7 left" in out
    mutants.main(["planning"], root)
    found, table, rows = capsys.readouterr().out.partition(TABLE)
    assert table, found
    assert (
        "killed   synapse_apply/planning/limits.py:5: `return count < LIMIT` -> `return None`"
        in found
    )
    assert {row.removeprefix("synapse_apply/planning/") for row in rows.splitlines()} == SURVIVORS
    mutants.main(["planning"], root)
    assert capsys.readouterr().out == f"2 tests pass, and 1 do not.\n{TABLE}{rows}"


def test_branches_are_counted_by_part(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of other processes too, and of files that nothing imports."""
    copies.main([], root)
    planning, *_, everything = capsys.readouterr().out.splitlines()
    assert " ".join(planning.split()) == "planning 50.0 % 1 of 2 branches 7 of 9 lines"
    assert everything.split()[1:] == planning.split()[1:]
