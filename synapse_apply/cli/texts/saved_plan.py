"""What `show FILE` prints of a saved plan: its rows, and what changed since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from synapse_apply.cli.console import Console
from synapse_apply.cli.reports import Reports
from synapse_apply.model.command import Command, Text, name_target
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import Exit, SynapseApplyError
from synapse_apply.operations.saved_plan import SavedPlan, find_state_mismatches, read_saved_plan
from synapse_apply.planning.package import get_uploaded_digest_or_empty
from synapse_apply.views.grammar import pluralize
from synapse_apply.views.json.documents import plan_document
from synapse_apply.views.text.plan import render_plan
from synapse_apply.workspace.configuration import DeclaredTarget
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession


def print_saved_plan_and_write_reports(
    console: Console,
    invocation: Invocation,
    path: Path,
    reports: Reports | None,
    *,
    show_unchanged: bool,
) -> int:
    """Print a saved plan as `plan` did, with warnings of known changes; returns the exit code."""
    saved_plan = read_saved_plan(path)
    findings = _find_changes_since_plan(invocation, saved_plan)
    if console.as_json:
        console.write_document(plan_document(saved_plan.plan))
    else:
        color, width = console.is_output_colored, console.terminal_width
        console.write_output(
            render_plan(saved_plan.plan, color=color, width=width, show_unchanged=show_unchanged)
        )
        signature_text = (
            f"signed with state key {saved_plan.mac.key_id}" if saved_plan.mac else "not signed"
        )
        console.write_stderr(
            f"\nPlan {saved_plan.plan.id}, made at {saved_plan.plan.created}, {signature_text}.\n"
        )
    # The commands are for the target of the plan, whatever the default is.
    console.write_findings(
        name_target(tuple(findings), invocation.target or saved_plan.plan.base.target)
    )
    if reports is None:
        return Exit.OK
    # It is the plan that is reported: a comment takes the place of the plan's own.
    return replace(reports, command="plan").write_plan(saved_plan.plan, Exit.OK)


def _find_changes_since_plan(invocation: Invocation, saved_plan: SavedPlan) -> list[Diagnostic]:
    """Warnings from the local state and manifests; none where these cannot be read."""
    plan_invocation = replace(invocation, target=invocation.target or saved_plan.plan.base.target)
    findings: list[Diagnostic] = []
    try:
        with TargetSession(plan_invocation) as session:
            if not session.store.exists():
                return findings
            problems = find_state_mismatches(session.store, saved_plan, session.target.name)
            findings += [
                warning_finding(problem.summary, problem.detail, problem.hint)
                for problem in problems
            ]
            declared_target = session.declared_target
    except SynapseApplyError:
        return findings
    return [*findings, *_iter_source_change_warnings(saved_plan, declared_target)]


def _iter_source_change_warnings(
    saved_plan: SavedPlan, declared_target: DeclaredTarget
) -> Iterator[Diagnostic]:
    errors = sum(finding.is_error for finding in declared_target.diagnostics)
    if errors:
        yield warning_finding(
            "The planned manifests or packages are no longer here",
            Text(
                "The manifests here, or packages that they name, have "
                f"{pluralize(errors, 'error')}: ",
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
        digest = get_uploaded_digest_or_empty(change) if change.changes_server else None
        package = declared_target.packages.get(change.address)
        if digest and package is not None and package.digest != digest:
            yield warning_finding(
                "A package changed since this plan was made",
                f"{package.source} holds other files than the plan uploads for {change.address}.",
                "Plan again.",
            )
