"""What is known here to have changed since a saved plan was made, without asking the backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.operations.saved_plan import SavedPlan, list_state_errors
from synapse_apply.planning.package import uploaded_digest
from synapse_apply.workspace.configuration import DeclaredTarget
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession


def list_changes_since(invocation: Invocation, saved_plan: SavedPlan) -> list[Diagnostic]:
    """Warnings from the local state and manifests; none where these cannot be read."""
    plan_invocation = replace(invocation, target=invocation.target or saved_plan.plan.base.target)
    findings: list[Diagnostic] = []
    try:
        with TargetSession(plan_invocation) as session:
            if not session.store.exists():
                return findings
            problems = list_state_errors(session.store, saved_plan, session.target.name)
            findings += [
                warning_finding(problem.summary, problem.detail, problem.hint)
                for problem in problems
            ]
            declared_target = session.declared_target
    except SynapseApplyError:
        return findings
    return [*findings, *_iter_source_warnings(saved_plan, declared_target)]


def _iter_source_warnings(
    saved_plan: SavedPlan, declared_target: DeclaredTarget
) -> Iterator[Diagnostic]:
    errors = sum(finding.is_error for finding in declared_target.diagnostics)
    if errors:
        yield warning_finding(
            "The planned manifests or packages are no longer here",
            Text(
                "The manifests here, or packages that they name, have "
                f"{format_count_and_noun(errors, 'error')}: ",
                Command("validate"),
                " shows them.",
            ),
            "Show and apply it where they are as they were, or plan again.",
        )
    elif declared_target.manifests.manifests_digest != saved_plan.plan.base.manifests_digest:
        yield warning_finding(
            "The manifests changed since this plan was made",
            "What is declared here is not what was planned.",
            "Plan again, or give the same variables and files as for the plan.",
        )
    for change in saved_plan.plan.changes:
        digest = uploaded_digest(change) if change.has_unrefused_call_or_run else None
        package = declared_target.packages.get(change.address)
        if digest and package is not None and package.digest != digest:
            yield warning_finding(
                "A package changed since this plan was made",
                f"{package.source} holds other files than the plan uploads for {change.address}.",
                "Plan again.",
            )
