"""Several reviewed plans for one apply: what they agree on, and what each of them must be."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import pytest
from e2e.saved.test_single_use import tamper
from e2e.scenarios.workplace import Ran, Workplace

# What the second of three plans was made with, and what is said of it.
OPTIONS = {
    "--prune": "--prune is off in 1.plan, 3.plan; on in 2.plan.",
    "--no-adopt": "--adopt is on in 1.plan, 3.plan; off in 2.plan.",
    "--recreate": "--recreate is off in 1.plan, 3.plan; on in 2.plan.",
    "--resend-secrets": "--resend-secrets is off in 1.plan, 3.plan; on in 2.plan.",
    "--no-verify": "--no-verify is off in 1.plan, 3.plan; on in 2.plan.",
    "--revert-drift": "--revert-drift is off in 1.plan, 3.plan; on in 2.plan.",
    "--prune --allow-locked": "--allow-locked is off in 1.plan, 3.plan; on in 2.plan.",
    "--no-package-check package:code": (
        "--no-package-check is none in 1.plan, 3.plan; package:code in 2.plan."
    ),
    "--override-guard recreate --override-guard adopt": (
        "--override-guard is none in 1.plan, 3.plan; adopt, recreate in 2.plan."
    ),
}


def plan_each(place: Workplace, *options: str) -> None:
    """A plan for each of these options, `1.plan` being the oldest."""
    place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    for number, typed in enumerate(options, 1):
        place.plan(*typed.split(), "--out", f"{number}.plan", code=0)


def apply_reviewed(place: Workplace, *names: str, code: int = 4, more: tuple[str, ...] = ()) -> Ran:
    files = [word for name in names for word in ("--reviewed", f"{name}.plan")]
    return place.run("apply", *files, *more, code=code)


def read_errors(ran: Ran) -> list[str]:
    return [line[7:] for line in ran.err.splitlines() if line.startswith("Error: ")]


@pytest.mark.parametrize("options", OPTIONS)
def test_other_options_are_refused(two: Workplace, options: str) -> None:
    """By name, with the plans that have each choice, and what to do."""
    plan_each(two, "", options, "")
    ran = apply_reviewed(two, "1", "2", "3")
    assert set(read_errors(ran)) == {"These plans were created with different options"}
    said = " ".join(ran.err.split())
    assert OPTIONS[options] in said.replace(f"{two.root}/", "")
    assert "the oldest first" in said


def test_all_that_is_in_the_way_is_told(two: Workplace) -> None:
    plan_each(two, "", "--prune --no-adopt")
    ran = apply_reviewed(two, "1", "2", "1")
    assert read_errors(ran) == [
        "A reviewed plan is specified more than once",
        "These plans were created with different options",
        "These plans were created with different options",
    ]


def test_plans_of_two_targets_are_refused(two: Workplace) -> None:
    """Each is named with its plan."""
    text = json.loads((two.root / "synapse-apply.yaml").read_text())
    text["targets"]["second"] = text["targets"]["prod"]
    two.write("synapse-apply.yaml", json.dumps(text))
    two.run("state", "init", "-t", "second", code=0)
    plan_each(two, "-t prod", "-t second")
    ran = apply_reviewed(two, "1", "2")
    assert read_errors(ran) == ["These plans were created for different targets"]
    said = " ".join(ran.err.split())
    assert "(prod), state " in said
    assert "(second), state " in said
    ran = two.run("apply", "--reviewed", "1.plan", "-t", "second", code=4)
    assert read_errors(ran) == ["This plan is for another target"]


@pytest.mark.parametrize("altered", ["1", "2", "3"])
def test_each_is_checked(two: Workplace, altered: str) -> None:
    """One that was changed stops all, whichever it is; the good ones lend it nothing."""
    plan_each(two, "", "", "")
    tamper(two.root / f"{altered}.plan", '"Finds more"', '"Finds all"')
    ran = apply_reviewed(two, "1", "2", "3", more=("--allow-unsigned",))
    assert read_errors(ran) == ["The signature of this plan is wrong"]
    assert f"{altered}.plan was changed after it was signed" in " ".join(ran.err.split())


def sign_as(place: Workplace, name: str, signature: dict[str, str] | None) -> None:
    with zipfile.ZipFile(place.root / name) as archive:
        document: dict[str, Any] = json.loads(archive.read("plan.json"))
    with zipfile.ZipFile(place.root / name, "w") as archive:
        archive.writestr("plan.json", json.dumps({**document, "signature": signature}))


def test_all_that_fail_the_check_are_told(two: Workplace) -> None:
    plan_each(two, "", "", "")
    sign_as(two, "1.plan", None)
    sign_as(two, "3.plan", {"key_id": "other", "mac": "0" * 64})
    assert read_errors(apply_reviewed(two, "1", "2", "3")) == [
        "This plan is not signed",
        "The signature of this plan cannot be checked",
    ]
    ran = apply_reviewed(two, "1", "2", "3", code=0, more=("--allow-unsigned",))
    assert "Warning: This plan is not signed" in ran.err
    assert "Warning: The signature of this plan cannot be checked" in ran.err
