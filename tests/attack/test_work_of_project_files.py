"""What a project file makes the tool do: as much again for a file of twice the size, no more.

Calls of functions are counted, not seconds: they are the same on each machine.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attack.hostile_projects import GENERATORS, OF_ONE_TARGET, Files
from counting import calls_of
from in_process import run_in_process
from installed import environment

N = 100
MOST = 2.2


def checked(folder: Path, files: Files, *typed: str) -> tuple[int, str]:
    """How many calls `validate` makes on these files, and what it says."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    said: list[str] = []

    def validate() -> None:
        done = run_in_process(["validate", *typed], folder, environment({}))
        said.append(done.stdout + done.stderr)

    return calls_of(validate), said[0]


@pytest.mark.parametrize("case", [*GENERATORS, *OF_ONE_TARGET])
def test_twice_the_rows_are_twice_the_work(tmp_path, case):
    """Or end in a finding that says the bound; nothing ends in an internal error."""
    make = {**GENERATORS, **OF_ONE_TARGET}[case]
    typed = ("-t", "t0") if case in OF_ONE_TARGET else ()
    # What is imported and compiled once is none of it.
    checked(tmp_path / "0", make(3), *typed)
    once, text = checked(tmp_path / "1", make(N), *typed)
    twice, _ = checked(tmp_path / "2", make(2 * N), *typed)
    assert twice <= MOST * once, f"{twice / once:.2f} times"
    assert "Internal error" not in text


def test_a_chain_of_moves_that_is_too_long(tmp_path):
    """It is told where it begins, with the bound; one of 100 moves is fine."""
    name = "synapse-apply.yaml"
    _, text = checked(tmp_path, GENERATORS["a chain of moves"](101))
    assert f"Too many moves in a row\n  on {name}:1:" in text
    assert "storage/a0 becomes storage/a101 through a chain of 101 moves" in text
    assert "keep at most 100" in text
    _, text = checked(tmp_path, GENERATORS["a chain of moves"](100))
    assert text.startswith("Valid")


def test_overlays_of_one_resource_lie_over_each_other(tmp_path):
    """A hundred of them: each field has the place where it was set last."""
    files = GENERATORS["overlays that match all"](100)
    files["m.yaml"] = files["m.yaml"].partition("\n---\n")[0]
    settings = json.loads(files["synapse-apply.yaml"])
    list(settings["targets"]["prod"]["overlays"].values())[57]["spec"]["description"] = 7
    files["synapse-apply.yaml"] = json.dumps(settings, indent=1)
    line = files["synapse-apply.yaml"][: files["synapse-apply.yaml"].index('"description"')]
    _, text = checked(tmp_path, files)
    assert f"on synapse-apply.yaml:{line.count(chr(10)) + 1}:" in text
    assert "`spec.description` is a number (7) where a string is needed" in text


def test_more_overlays_than_are_compared_with_one_resource(tmp_path):
    """One finding, with the bound and its place."""
    _, text = checked(tmp_path, GENERATORS["overlays that begin alike"](101))
    assert text.count("Error: ") == 1
    assert (
        "101 overlays share the start of plugin/p0, and the tool compares at most 100 with"
    ) in text
    assert "on synapse-apply.yaml:1:" in text
    _, text = checked(tmp_path, GENERATORS["overlays by pattern that match nothing"](300))
    assert "Error: " not in text


def test_more_rules_than_all_targets_may_have(tmp_path):
    """One finding at the target where the bound is passed."""
    files = GENERATORS["targets with a policy"](3163)
    _, text = checked(tmp_path, files)
    assert text.count("Error: ") == 1
    assert "all targets together have more than 10,000,000 rules" in text


def test_many_mistakes_are_all_told_and_the_first_with_what_was_meant(tmp_path):
    """Looking for what was meant is what takes time."""
    _, text = checked(tmp_path, GENERATORS["undeclared variables"](60))
    assert text.count("Undeclared variable\n") == 60
    assert text.count("Hint: declare it under `variables:`") == 40
