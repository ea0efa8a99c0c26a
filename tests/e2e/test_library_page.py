"""docs/library.md tells the truth: its examples are run, and it names all there is."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from forking import ForkedProcess
from installed import ROOT, copied, environment, variables

from synapse_apply import OpenTarget, open_target
from synapse_apply.library import TargetJobs, TargetLive, TargetPackages, TargetState
from synapse_apply.model import errors

PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_examples_print_what_stands_below_them(tmp_path: Path) -> None:
    """One after the other, in a copy of the quickstart; nothing else is printed."""
    folder = copied(ROOT / "examples" / "quickstart", tmp_path)
    examples = EXAMPLE.findall(PAGE)
    assert len(examples) == PAGE.count("```python\n") >= 7
    for code, shown in examples:
        with ForkedProcess(
            [sys.executable, "-c", f"import warnings; warnings.simplefilter('error')\n{code}"],
            cwd=folder,
            env=environment(variables(folder / "example.env")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.communicate(timeout=60) == (shown, ""), code


def test_every_method_is_in_the_table() -> None:
    """With the name that it has, as the first word of a row or beside another."""
    table = PAGE.partition("\n## Methods\n")[2].partition("\n## ")[0]
    first_cells = "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
    named = re.findall(r"`([\w.]+)[(`]", first_cells)
    parts = {
        "jobs": TargetJobs,
        "live": TargetLive,
        "packages": TargetPackages,
        "state": TargetState,
    }
    methods = {name for name in dir(OpenTarget) if not name.startswith("_")} - parts.keys()
    for part, methods_of_part in parts.items():
        methods |= {f"{part}.{name}" for name in vars(methods_of_part) if not name.startswith("_")}
    assert sorted(named) == sorted(methods)


def test_every_argument_of_open_target_is_in_the_table() -> None:
    """In the order of the signature."""
    table = PAGE.partition("\n## Open a target\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert named == list(inspect.signature(open_target).parameters)


@pytest.mark.parametrize("method", ["plan", "apply"])
def test_every_option_of_a_plan_is_named(method: str) -> None:
    """By the page and by the class, which says what each of them does."""
    parameters = set(inspect.signature(getattr(OpenTarget, method)).parameters)
    options = parameters & set(inspect.signature(OpenTarget.plan).parameters) - {"self", "progress"}
    assert len(options) >= 10
    assert {option for option in options if f"`{option}`" not in PAGE} == set()
    described = f"{OpenTarget.__doc__}{OpenTarget.plan.__doc__}"
    assert {option for option in options if f"`{option}`" not in described} == set()


def test_every_error_is_in_the_table() -> None:
    """Each class of errors that this tool ends a command with."""
    section = PAGE.partition("\n## Errors\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    defined = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.SynapseApplyError)
    }
    assert set(named) == defined - {"SynapseApplyError"}
