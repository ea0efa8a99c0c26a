"""What `show FILE` prints of a saved plan: its rows, its packages, and what changed since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synapse_apply.cli.console import Console
from synapse_apply.cli.reports import Reports
from synapse_apply.model.command import Command, Text, name_target
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import Exit, SynapseApplyError
from synapse_apply.operations import saved_plan_packages
from synapse_apply.operations.saved_plan import SavedPlan, find_state_mismatches, read_saved_plan
from synapse_apply.operations.saved_plan_packages import CarriedPackage
from synapse_apply.views.grammar import format_byte_size, pluralize
from synapse_apply.views.json.documents import plan_document
from synapse_apply.views.text.plan import render_plan
from synapse_apply.views.text.tables import render_table
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
    findings = [
        *_list_unexpected_entry_warnings(saved_plan),
        *_find_changes_since_plan(invocation, saved_plan),
    ]
    if console.as_json:
        console.write_document(
            {**plan_document(saved_plan.plan), **_build_packages_document(saved_plan)}
        )
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
        if saved_plan.carrier is not None:
            console.write_stderr(
                _format_carried_packages(
                    saved_plan_packages.list_carried_packages(saved_plan.carrier, saved_plan.plan)
                )
            )
    # The commands are for the target of the plan, whatever the default is.
    console.write_findings(
        name_target(tuple(findings), invocation.target or saved_plan.plan.base.target)
    )
    if reports is None:
        return Exit.OK
    # It is the plan that is reported: a comment takes the place of the plan's own.
    return replace(reports, command="plan").write_plan(
        saved_plan.plan, Exit.OK, _build_packages_document(saved_plan)
    )


def _build_packages_document(saved_plan: SavedPlan) -> dict[str, Any]:
    """The `packages` entry of the plan's document (plan.schema.json)."""
    if saved_plan.carrier is None:
        return {}
    packages = saved_plan_packages.list_carried_packages(saved_plan.carrier, saved_plan.plan)
    return {
        "packages": [
            {
                "digest": package.digest,
                "size": package.size,
                "addresses": [str(address) for address in package.addresses],
            }
            for package in packages
        ]
    }


def _format_carried_packages(packages: Sequence[CarriedPackage]) -> str:
    """A table of the packages that a plan carries."""
    if not packages:
        return "It carries no packages: it uploads none.\n"
    size = format_byte_size(sum(package.size or 0 for package in packages))
    rows = [
        (
            address,
            "missing" if package.size is None else format_byte_size(package.size),
            package.digest,
        )
        for package in packages
        for address in package.addresses
    ]
    table = render_table(("for", "size", "package"), rows, right_columns=(1,))
    return f"It carries {pluralize(len(packages), 'package')} ({size}):\n{table}"


def _list_unexpected_entry_warnings(saved_plan: SavedPlan) -> list[Diagnostic]:
    findings = (
        saved_plan_packages.build_unexpected_entry_findings(saved_plan.carrier, saved_plan.plan)
        if saved_plan.carrier
        else []
    )
    return [warning_finding(finding.summary, finding.detail, finding.hint) for finding in findings]


def _find_changes_since_plan(invocation: Invocation, saved_plan: SavedPlan) -> list[Diagnostic]:
    """Warnings from the local state and manifests; none where these cannot be read."""
    plan_invocation = replace(invocation, target=invocation.target or saved_plan.plan.base.target)
    findings: list[Diagnostic] = []
    try:
        with TargetSession(plan_invocation, saved_plan.carrier) as session:
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
    for digest, addresses in saved_plan_packages.group_uploads_by_digest(saved_plan.plan).items():
        for address in addresses:
            package = declared_target.packages.get(address)
            if package is not None and package.digest != digest:
                yield warning_finding(
                    "A package changed since this plan was made",
                    f"{package.source} holds other files than the plan uploads for {address}.",
                    "Plan again.",
                )
