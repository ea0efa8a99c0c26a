"""Where the options of the environment go."""

from __future__ import annotations

import pytest

from synapse_apply.cli.params.environment_options import ARGUMENTS_VARIABLE, add_environment_options

GROUPS = frozenset({"state"})
ENVIRON = {
    ARGUMENTS_VARIABLE: "-t dev",
    f"{ARGUMENTS_VARIABLE}_plan": "--json",
    f"{ARGUMENTS_VARIABLE}_state_list": "--no-color",
}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["plan", "-t", "prod"], ["plan", "-t", "dev", "--json", "-t", "prod"]),
        (["apply"], ["apply", "-t", "dev"]),
        (["state", "list"], ["state", "list", "-t", "dev", "--no-color"]),
        (["state", "--help"], ["state", "--help"]),
        (["state"], ["state"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_they_stand_right_after_the_command(typed: list[str], meant: list[str]) -> None:
    """What was typed comes later, so it wins; a command that is not named gets none."""
    assert add_environment_options(typed, ENVIRON, GROUPS) == meant


def test_without_a_variable_nothing_changes() -> None:
    """The command line is taken as typed."""
    assert add_environment_options(["plan", "--json"], {}, GROUPS) == ["plan", "--json"]


@pytest.mark.parametrize(
    ("added", "left"),
    [
        ("--reviewed a", []),
        ("--reviewed=a --json", ["--json"]),
        ("--json --reviewed a -t dev --reviewed b", ["--json", "-t", "dev"]),
        ("--json --reviewed", ["--json"]),
        ("--var=--reviewed", ["--var=--reviewed"]),
    ],
)
def test_plans_that_are_typed_take_the_place_of_others(added: str, left: list[str]) -> None:
    """An approval never comes from two places: the typed plans alone count."""
    environ = {f"{ARGUMENTS_VARIABLE}_apply": added}
    for typed in (["--reviewed", "c"], ["--reviewed=c", "--reviewed=d"]):
        assert add_environment_options(["apply", *typed], environ, GROUPS) == [
            "apply",
            *left,
            *typed,
        ]
    assert add_environment_options(["apply"], environ, GROUPS) == ["apply", *added.split()]
