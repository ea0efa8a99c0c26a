"""What `show FILE` prints of a saved plan: its rows, and what changed since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from synapse_apply import Invocation
from synapse_apply.cli.console import Console
from synapse_apply.cli.flows.command_target import open_command_target
from synapse_apply.cli.reports import Reports
from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.errors import Exit
from synapse_apply.views.json.documents import plan_document
from synapse_apply.views.text.plan import render_plan


def report_saved_plan(
    console: Console,
    invocation: Invocation,
    path: Path,
    reports: Reports | None,
    *,
    show_unchanged: bool,
) -> int:
    """Print a saved plan as `plan` did, with warnings of known changes; returns the exit code."""
    with open_command_target(invocation) as target:
        plans = target.read_saved_plan(path)
        findings = target.find_changes_since(plans)
    saved_plan = plans.united_plan
    if console.as_json:
        console.write_or_keep_document(plan_document(saved_plan.plan))
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
        name_target_in_commands(tuple(findings), invocation.target or saved_plan.plan.base.target)
    )
    if reports is None:
        return Exit.OK
    # It is the plan that is reported: a comment takes the place of the plan's own.
    return replace(reports, command="plan").write_plan(saved_plan.plan, Exit.OK)
