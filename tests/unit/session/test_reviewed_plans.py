"""Several reviewed plans for one apply: what they agree on, and what each of them must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.applying.bench import Bench, widget

from synapse_apply import ApprovedPlans, Plan, PlanOptions
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Stale
from synapse_apply.model.state import BackendIdentity
from synapse_apply.model.values import Mac
from synapse_apply.operations import saved_plan
from synapse_apply.operations.saved_plan import SavedPlan
from synapse_apply.workspace.target_session import TargetSession


def save_plans(bench: Bench, folder: Path, *choices: PlanOptions) -> list[SavedPlan]:
    """A plan file for each of these options, `1.plan` being the oldest."""
    context, plan = bench.context(widget("a")), bench.plan(widget("a")).plan
    files = []
    for number, each in enumerate(choices, 1):
        file = folder / f"{number}.plan"
        saved_plan.save_plan_to_new_file(context, replace(plan, id=f"plan-{number}"), each, file)
        files.append(saved_plan.read_saved_plan_without_verifying_signature(file))
    return files


def require_usable(
    context: TargetSession, plans: Sequence[SavedPlan], *, allow_unsigned: bool
) -> tuple[Diagnostic, ...]:
    approved = ApprovedPlans(tuple(plans), plans[0], reviewed=True)
    return approved.require_usable(context, allow_unsigned=allow_unsigned)


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "prune": ({"prune": True}, "--prune is off in 1.plan, 3.plan; on in 2.plan."),
    "adopt": ({"adopt": True}, "--adopt is off in 1.plan, 3.plan; on in 2.plan."),
    "recreate": ({"recreate": True}, "--recreate is off in 1.plan, 3.plan; on in 2.plan."),
    "secrets": ({"resend_secrets": True}, "--resend-secrets is off in 1.plan, 3.plan; on in"),
    "verify": ({"verify": False}, "--no-verify is off in 1.plan, 3.plan; on in 2.plan."),
    "drift": ({"revert_drift": True}, "--revert-drift is off in 1.plan, 3.plan; on in 2.plan."),
    "locked": ({"allow_locked": True}, "--allow-locked is off in 1.plan, 3.plan; on in 2.plan."),
    "replace": ({"allow_replace": True}, "--allow-replace is off in 1.plan, 3.plan; on in 2.plan."),
    "package": (
        {"no_package_check": frozenset({"package:code"})},
        "--no-package-check is none in 1.plan, 3.plan; package:code in 2.plan.",
    ),
    "guards": (
        {"overridden": frozenset({"recreate", "adopt"})},
        "--override-guard is none in 1.plan, 3.plan; adopt, recreate in 2.plan.",
    ),
}


@pytest.mark.parametrize("which", OPTIONS)
def test_other_options_are_refused(which: str, bench: Bench, tmp_path: Path) -> None:
    """By name, with the plans that have each choice, and what to do."""
    choice, text = OPTIONS[which]
    plans = save_plans(bench, tmp_path, PlanOptions(), PlanOptions(**choice), PlanOptions())
    with pytest.raises(Stale) as caught:
        ApprovedPlans.of_files(plans, reviewed=True)
    (finding,) = caught.value.diagnostics
    assert finding.summary == "These plans were made with different options"
    assert text in finding.detail.replace(f"{tmp_path}/", "")
    assert "the oldest first" in finding.hint


def test_all_that_is_in_the_way_is_told(bench: Bench, tmp_path: Path) -> None:
    plans = save_plans(bench, tmp_path, PlanOptions(), PlanOptions(prune=True, adopt=True))
    with pytest.raises(Stale) as caught:
        ApprovedPlans.of_files([*plans, plans[0]], reviewed=True)
    summaries = [finding.summary for finding in caught.value.diagnostics]
    assert summaries == [
        "A reviewed plan is given more than once",
        "These plans were made with different options",
        "These plans were made with different options",
    ]
    assert "1.plan, " in caught.value.diagnostics[0].detail


BASES: dict[str, dict[str, Any]] = {
    "another target": {"target": "staging"},
    "another backend": {"binding": BackendIdentity("https://elsewhere.example")},
    "another state": {"lineage": "another"},
}


@pytest.mark.parametrize("which", BASES)
def test_other_targets_are_refused(which: str, bench: Bench, tmp_path: Path) -> None:
    first, second = save_plans(bench, tmp_path, PlanOptions(), PlanOptions())
    base = replace(second.plan.base, **BASES[which])
    moved = replace(second, plan=replace(second.plan, base=base))
    with pytest.raises(Stale, match="different targets") as caught:
        ApprovedPlans.of_files([first, moved], reviewed=True)
    (finding,) = caught.value.diagnostics
    assert "1.plan" in finding.detail
    assert "2.plan" in finding.detail


@pytest.mark.parametrize("altered", [0, 1, 2])
def test_each_is_checked(altered: int, bench: Bench, tmp_path: Path) -> None:
    """One that was changed stops all, whichever it is; the good ones lend it nothing."""
    plans = save_plans(bench, tmp_path, PlanOptions(), PlanOptions(), PlanOptions())
    context = bench.context(widget("a"))
    assert require_usable(context, plans, allow_unsigned=False) == ()
    plans[altered] = replace(plans[altered], signed_text=plans[altered].signed_text + " ")
    with pytest.raises(Stale, match="is wrong") as caught:
        require_usable(context, plans, allow_unsigned=True)
    assert plans[altered].file.name in caught.value.diagnostics[0].detail


def test_all_that_fail_the_check_are_told(bench: Bench, tmp_path: Path) -> None:
    first, second, third = save_plans(bench, tmp_path, PlanOptions(), PlanOptions(), PlanOptions())
    plans = [replace(first, mac=None), second, replace(third, mac=Mac("other", "0" * 64))]
    context = bench.context(widget("a"))
    with pytest.raises(Stale) as caught:
        require_usable(context, plans, allow_unsigned=False)
    assert [finding.summary for finding in caught.value.diagnostics] == [
        "This plan is not signed",
        "The signature of this plan cannot be checked",
    ]
    warnings = require_usable(context, plans, allow_unsigned=True)
    assert len(warnings) == 2


def test_a_plan_of_another_target_is_told_once(bench: Bench, tmp_path: Path) -> None:
    """All of them are for it: one sentence is enough."""

    def elsewhere(plan: Plan) -> Plan:
        return replace(plan, base=replace(plan.base, binding=BackendIdentity("https://x.example")))

    plans = save_plans(bench, tmp_path, PlanOptions(), PlanOptions())
    moved = [replace(each, plan=elsewhere(each.plan)) for each in plans]
    context = bench.context(widget("a"))
    with pytest.raises(Stale) as caught:
        require_usable(context, moved, allow_unsigned=True)
    assert [finding.summary for finding in caught.value.diagnostics] == [
        "This plan is for another target"
    ]
